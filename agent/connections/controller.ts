import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics } from '../../process/metrics.ts';
import type { Counter, Gauge, Metrics } from '../../process/metrics.ts';
import { stableLines } from '../../process/stable-log-lines.ts';
import type { CopyController } from '../copies/controller.ts';
import type { TaskService } from '../tasks/peer.ts';
import type { Unclaimed, Welcome } from '../proto/gen/berth/agent/v1/agent.ts';
import { instanceIDOf } from './address-id.ts';
import type { AgentIdentity } from './handshake.ts';
import { OperatorDiscovery, type DiscoveryOptions } from './discovery.client.ts';
import { systemResolver } from './dns.client.ts';
import { Session } from './session.client.ts';
import type { Dialer, StreamEnd } from './stream.ts';
import type { TokenSource } from './token.client.ts';

export interface ConnectionsOptions {
  /** The operator pods, as host:port. Names are looked up again and again. */
  readonly addresses: readonly string[];
  /** How the others are found. Default: as the machine looks up names, at the times of the discovery. */
  readonly discovery?: Partial<Pick<DiscoveryOptions, 'resolver' | 'lookupMs' | 'forgetMs' | 'mayLeaveMachine'>>;
  readonly identity: AgentIdentity;
  readonly dialer: Dialer;
  readonly token: TokenSource;
  readonly copies: Pick<CopyController, 'attach' | 'deliver' | 'inventory' | 'prepareAhead'>;
  /** What runs tasks. Default: nothing. */
  readonly tasks?: TaskService;
  /** Told of what the leader says about copies that nobody claims. */
  readonly unclaimed?: (said: Unclaimed) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

/** What is known of the connection to one operator pod. */
export interface ConnectionState {
  readonly address: string;
  readonly instanceID: string;
  readonly status: 'Connecting' | 'Connected' | 'Lost' | 'Refused';
  /** Why it is not connected; the operator's name when it is. */
  readonly message: string;
}

const reconnectBackoff = { initialMs: 250, maxMs: 5_000, jitter: 0.5 };
/** A connection that lasted so long was a good one: the next try after it comes soon. */
const goodMs = 2_000;

/** An address of an operator pod that is connected under another one is dialled when that one has been away for so long. */
const twinMs = 2_000;

/** One stream to each operator pod. Each comes and goes by itself: nothing that happens to one touches another. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #discovery: OperatorDiscovery;
  readonly #connections = new Map<string, Connection>();
  readonly #listeners = new Set<() => void>();
  readonly #connected: Gauge;
  #managed = '';
  #hasEnded = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#connected = (options.metrics ?? noMetrics).gauge({
      name: 'berth_agent_connected_operators',
      help: 'Operator pods with a stream of this agent.',
    });
    const { addresses: entries, clock, random, log, metrics, discovery } = options;
    this.#discovery = new OperatorDiscovery({
      ...{ entries, resolver: systemResolver, clock, random, log, ...(metrics && { metrics }), ...discovery },
      changed: (addresses) => this.#use(addresses),
    });
    options.token.onChange((token) => {
      for (const connection of this.#connections.values()) connection.renew(token);
    });
  }

  /** Dials every operator and stays connected until `stop`. */
  start(): void {
    this.#options.log.info({}, stableLines.agentStarted(this.#options.identity.agentID));
    this.#discovery.start();
  }

  /** Closes every stream. */
  stop(): void {
    this.#hasEnded = true;
    this.#discovery.stop();
    for (const connection of this.#connections.values()) connection.stop();
    this.#changed();
  }

  /** One for each operator pod: what is a further address of a connected one is left out. */
  states(): readonly ConnectionState[] {
    return [...this.#connections.values()].flatMap(({ state, isTwin }) => (isTwin ? [] : [state]));
  }

  /** Calls `listener` after each change of `states`. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** These are the operator pods now: new ones are dialled, those that are gone are left, the others do not notice. */
  #use(addresses: readonly string[]): void {
    if (this.#hasEnded) return;
    for (const address of addresses) if (!this.#connections.has(address)) this.#connections.set(address, this.#connectionTo(address));
    const gone = [...this.#connections.keys()].filter((address) => !addresses.includes(address));
    for (const address of gone) {
      this.#options.log.info({}, stableLines.removed(address));
      this.#connections.get(address)?.stop();
      this.#connections.delete(address);
    }
    for (const connection of this.#connections.values()) connection.start();
    this.#changed();
    for (const address of gone) this.#discovery.untold(address);
  }

  #connectionTo(address: string): Connection {
    return new Connection(address, this.#options, {
      changed: () => this.#changed(),
      peers: (peers) => this.#discovery.told(address, peers),
      ended: () => this.#discovery.untold(address),
      welcomed: (newest) => this.#leaveTwins(newest),
      hasTwin: (connection) => this.#twinsOf(connection).some(({ state }) => state.status === 'Connected'),
    });
  }

  /** Two addresses may be of one operator pod, of IPv4 and IPv6 mostly: it needs one stream, and counts the newest. */
  #leaveTwins(newest: Connection): void {
    for (const twin of this.#twinsOf(newest)) twin.standBy(newest.state.address);
  }

  #twinsOf({ operatorID, state }: Connection): readonly Connection[] {
    if (operatorID === '') return [];
    return [...this.#connections.values()].filter((other) => other.state.address !== state.address && other.operatorID === operatorID);
  }

  #changed(): void {
    const states = this.states();
    this.#connected.set(states.filter(({ status }) => status === 'Connected').length);
    const addresses = states.map(({ address }) => address).toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    if (this.#managed !== addresses.join() && states.every(({ status }) => status !== 'Connecting')) {
      this.#managed = addresses.join();
      this.#options.log.info({}, stableLines.managingConnections(addresses));
    }
    for (const listener of this.#listeners) listener();
  }
}

interface ConnectionOwner {
  changed(): void;
  /** The operator pod tells of the others. */
  peers(addresses: readonly string[]): void;
  welcomed(connection: Connection): void;
  ended(): void;
  /** Whether the same operator pod is connected under another address. */
  hasTwin(connection: Connection): boolean;
}

/** The connection to one operator pod, dialled again for as long as it is wanted. */
class Connection {
  readonly #address: string;
  readonly #options: ConnectionsOptions;
  readonly #owner: ConnectionOwner;
  readonly #ends: Counter;
  #state: ConnectionState;
  #session: Session | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #connectedAt: number | undefined;
  #operatorID = '';
  #isTwin = false;
  #isNew = true;

  constructor(address: string, options: ConnectionsOptions, owner: ConnectionOwner) {
    this.#address = address;
    this.#options = options;
    this.#owner = owner;
    this.#ends = (options.metrics ?? noMetrics).counter({
      name: 'berth_agent_connections_ended_total',
      help: 'Streams to operator pods that ended, by why.',
      labels: ['kind'],
    });
    const instanceID = instanceIDOf(options.identity.agentID, address);
    this.#state = { address, instanceID, status: 'Connecting', message: 'It is being dialled for the first time.' };
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Which operator pod answered last; empty while none did. */
  get operatorID(): string {
    return this.#operatorID;
  }

  /** Its operator pod is connected under another address. */
  get isTwin(): boolean {
    return this.#isTwin;
  }

  /** Dials, unless it is under way already. */
  start(): void {
    if (this.#session === undefined && this.#retry === undefined) this.#dial();
  }

  #dial(): void {
    const { identity, dialer, copies, tasks, clock, token, log } = this.#options;
    const address = this.#address;
    if (this.#isNew) log.info({}, stableLines.connecting(address));
    this.#isNew = false;
    this.#retry = undefined;
    this.#connectedAt = undefined;
    this.#session = new Session({
      ...{ address, identity, dialer, copies, tasks, clock },
      token: token.current(),
      owner: {
        welcomed: (welcome) => this.#welcomed(welcome),
        peers: (addresses) => this.#owner.peers(addresses),
        unclaimed: (said) => this.#options.unclaimed?.(said),
        ended: (end) => this.#ended(end),
      },
    });
  }

  renew(token: string): void {
    this.#session?.renew(token);
  }

  stop(): void {
    this.#retry?.cancel();
    this.#session?.close();
    this.#session = undefined;
  }

  /** Ends the stream, as its operator pod has a newer one, and dials again when that has been away for a while. */
  standBy(address: string): void {
    const { clock, log } = this.#options;
    if (!this.#isTwin) log.info({ address: this.#address, as: address }, 'Two addresses are of one operator, one of them is used');
    this.stop();
    this.#isTwin = true;
    this.#state = { ...this.#state, status: 'Connecting', message: 'Its operator is connected under another address.' };
    const look = (wasAway: boolean) => {
      const isAway = !this.#owner.hasTwin(this);
      if (isAway && wasAway) this.#dial();
      else this.#retry = clock.after(twinMs, () => look(isAway));
    };
    look(false);
    this.#owner.ended();
    this.#owner.changed();
  }

  #welcomed({ operatorName, operatorVersion, operatorId }: Welcome): void {
    const { clock, log } = this.#options;
    this.#connectedAt = clock.monotonic();
    this.#operatorID = operatorId;
    this.#isTwin = false;
    log.info({ operatorName, operatorVersion, instanceID: this.#state.instanceID }, stableLines.connected(this.#address));
    this.#become('Connected', `Connected to operator ${operatorName}.`);
    this.#owner.welcomed(this);
  }

  #ended({ kind, message }: StreamEnd): void {
    const { clock, random, log } = this.#options;
    const wasGood = this.#connectedAt !== undefined && clock.monotonic() - this.#connectedAt >= goodMs;
    this.#failures = wasGood ? 1 : this.#failures + 1;
    const wasConnected = this.#connectedAt !== undefined;
    this.#session = undefined;
    this.#ends.inc({ kind });
    if (wasConnected) log.info({ because: message }, stableLines.disconnected(this.#address));
    const inMs = Math.round(backoffDelay(reconnectBackoff, this.#failures, random));
    log.warn({ address: this.#address, kind, because: message, failures: this.#failures, inMs }, 'Connection to an operator ended');
    this.#retry = clock.after(inMs, () => this.#dial());
    this.#become(kind, message);
    this.#owner.ended();
  }

  #become(status: ConnectionState['status'], message: string): void {
    if (this.#state.status === status && this.#state.message === message) return;
    this.#state = { ...this.#state, status, message };
    this.#owner.changed();
  }
}
