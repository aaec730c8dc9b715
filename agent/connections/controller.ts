import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics } from '../../process/metrics.ts';
import type { Counter, Gauge, Metrics } from '../../process/metrics.ts';
import { stableLines } from '../../process/stable-log-lines.ts';
import type { CopyController } from '../copies/controller.ts';
import type { TaskService } from '../tasks/peer.ts';
import type { Unclaimed } from '../proto/gen/berth/agent/v1/agent.ts';
import { instanceIDOf } from './address-id.ts';
import type { AgentIdentity } from './handshake.ts';
import { Session } from './session.client.ts';
import type { Dialer, StreamEnd } from './stream.ts';
import type { TokenSource } from './token.client.ts';

export interface ConnectionsOptions {
  /** The operator pods, as host:port. */
  readonly addresses: readonly string[];
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

const reconnectBackoff = { initialMs: 250, maxMs: 15_000, jitter: 0.5 };
/** A connection that lasted so long was a good one: the next try after it comes soon. */
const goodMs = 10_000;

/** One stream to each operator pod. Each comes and goes by itself: nothing that happens to one touches another. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #connections = new Map<string, Connection>();
  readonly #listeners = new Set<() => void>();
  readonly #peers = new Map<string, readonly string[]>();
  readonly #connected: Gauge;
  #managed = '';
  #hasEnded = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#connected = (options.metrics ?? noMetrics).gauge({
      name: 'berth_agent_connected_operators',
      help: 'Operator pods with a stream of this agent.',
    });
    options.token.onChange((token) => {
      for (const connection of this.#connections.values()) connection.renew(token);
    });
  }

  /** Dials every operator and stays connected until `stop`. */
  start(): void {
    this.#options.log.info({}, stableLines.agentStarted(this.#options.identity.agentID));
    this.use(this.#options.addresses);
  }

  /** These are the operator pods now: new ones are dialled, those that are gone are left, the others do not notice. */
  use(addresses: readonly string[]): void {
    if (this.#hasEnded) return;
    for (const [address, connection] of this.#connections) {
      if (addresses.includes(address)) continue;
      connection.stop();
      this.#connections.delete(address);
      this.#peers.delete(address);
    }
    for (const address of addresses) {
      if (this.#connections.has(address)) continue;
      const connection = new Connection(address, this.#options, {
        changed: () => this.#changed(),
        peers: (peers) => this.#peers.set(address, peers),
      });
      this.#connections.set(address, connection);
      connection.dial();
    }
    this.#changed();
  }

  /** Closes every stream. */
  stop(): void {
    this.#hasEnded = true;
    for (const connection of this.#connections.values()) connection.stop();
    this.#changed();
  }

  states(): readonly ConnectionState[] {
    return [...this.#connections.values()].map(({ state }) => state);
  }

  /** Operator pods that connected ones tell of and that are not dialled. */
  knownPeers(): readonly string[] {
    return [...new Set([...this.#peers.values()].flat())].filter((address) => !this.#connections.has(address)).toSorted();
  }

  /** Calls `listener` after each change of `states`. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #changed(): void {
    const states = this.states();
    this.#connected.set(states.filter(({ status }) => status === 'Connected').length);
    const addresses = states.map(({ address }) => address);
    if (this.#managed !== addresses.join() && states.every(({ status }) => status !== 'Connecting')) {
      this.#managed = addresses.join();
      this.#options.log.info({}, stableLines.managingConnections(addresses));
    }
    for (const listener of this.#listeners) listener();
  }
}

interface ConnectionOwner {
  changed(): void;
  peers(addresses: readonly string[]): void;
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

  dial(): void {
    const { identity, dialer, copies, tasks, clock, token, log } = this.#options;
    const address = this.#address;
    if (this.#state.status === 'Connecting') log.info({}, stableLines.connecting(address));
    this.#connectedAt = undefined;
    this.#session = new Session({
      ...{ address, identity, dialer, copies, tasks, clock },
      token: token.current(),
      owner: {
        welcomed: ({ operatorName, operatorVersion }) => {
          this.#connectedAt = clock.monotonic();
          log.info({ operatorName, operatorVersion, instanceID: this.#state.instanceID }, stableLines.connected(address));
          this.#become('Connected', `Connected to operator ${operatorName}.`);
        },
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

  #ended({ kind, message }: StreamEnd): void {
    const { clock, random, log } = this.#options;
    const wasGood = this.#connectedAt !== undefined && clock.monotonic() - this.#connectedAt >= goodMs;
    this.#failures = wasGood ? 1 : this.#failures + 1;
    this.#session = undefined;
    this.#ends.inc({ kind });
    const inMs = Math.round(backoffDelay(reconnectBackoff, this.#failures, random));
    log.warn({ address: this.#address, kind, because: message, failures: this.#failures, inMs }, 'Connection to an operator ended');
    this.#retry = clock.after(inMs, () => this.dial());
    this.#become(kind, message);
  }

  #become(status: ConnectionState['status'], message: string): void {
    if (this.#state.status === status && this.#state.message === message) return;
    this.#state = { ...this.#state, status, message };
    this.#owner.changed();
  }
}
