import type { AgentMessage, Hello, Order, Preparation } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Gauge, type Metrics } from '../../process/metrics.ts';
import { stableLines } from '../../process/stable-log-lines.ts';
import {
  copyKey,
  disconnected,
  emptyInbox,
  factsOf,
  takeInventory,
  takeRefusal,
  takeReport,
  type Inbox,
  type RunnerFacts,
  type Taken,
} from './facts.ts';
import { PROTOCOL_VERSION, shakeHands } from './handshake.ts';
import type { AgentAuthenticator, AgentIdentity, AgentStream, Authentication, StreamEnd, StreamReceiver } from './stream.ts';

/** What changed in the fleet, for whoever has to look again. */
export interface FleetListener {
  /** Something was said of copies of these sandboxes. */
  copiesChanged(runnerName: string, uids: readonly string[]): void;
  /** The agent connected (its inventory is complete), disconnected, or has other amounts. */
  runnerChanged(runnerName: string, what: 'Connected' | 'Disconnected' | 'Amounts'): void;
}

export interface HubOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** The operator pod's name. */
  readonly operatorName: string;
  readonly operatorVersion: string;
  readonly authenticator: AgentAuthenticator;
}

/** One connected agent, as the status of this pod tells it. */
export interface AgentInstance {
  readonly instanceID: string;
  readonly runnerName: string;
  readonly agentID: string;
}

/** How long an order waits for its acceptance before it is sent again on the same stream. */
const resendMs = 10_000;

/**
 * The streams of all agents to this operator pod, and what the agents say. Knows no gRPC: `hub.server.ts` feeds it. Decides nothing: it keeps
 * the newest facts of each runner, tells listeners what changed, and sends what it is given.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly #streams = new Map<string, Session>();
  readonly #facts = new Map<string, RunnerFacts>();
  readonly #listeners = new Set<FleetListener>();
  readonly #sessions = new Set<Session>();
  readonly #connections: Gauge;
  readonly #ended: Counter;
  #closed = false;

  constructor(options: HubOptions) {
    this.#options = options;
    const metrics = options.metrics ?? noMetrics;
    this.#connections = metrics.gauge({ name: 'berth_hub_connected_agents', help: 'Agents with a stream to this operator pod.' });
    this.#ended = metrics.counter({
      name: 'berth_hub_streams_ended_total',
      help: 'Streams of agents that ended, by who ended them and why.',
      labels: ['reason'],
    });
  }

  /** Takes on a stream that an agent has opened. */
  accept(stream: AgentStream): StreamReceiver {
    const session = new Session(stream, this.#options, {
      greeted: (one, hello) => this.#replace(one, hello),
      taken: (one, taken) => this.#take(one, taken),
      refused: (one, facts, uid) => this.#refused(one, facts, uid),
      factsOf: (runnerName) => this.#facts.get(runnerName),
      ended: (one, reason) => this.#end(one, reason),
    });
    this.#sessions.add(session);
    if (this.#closed) session.end('Unavailable', 'This operator pod is shutting down.');
    return session;
  }

  /** Tells of changes from now on. Returns the unsubscriber. */
  subscribe(listener: FleetListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** What the newest agent of the runner has said; undefined when none ever connected to this pod. */
  facts(runnerName: string): RunnerFacts | undefined {
    return this.#facts.get(runnerName);
  }

  /** The number of the last order about a copy that was sent on the runner's present stream; 0: none was. */
  sentOrder(runnerName: string, uid: string, epoch: number): number {
    return this.#streams.get(runnerName)?.sentOrder(copyKey(uid, epoch)) ?? 0;
  }

  /**
   * Sends an order, once on each stream for each number; again after a while as long as it is not accepted. False when the runner is not
   * connected: the order is sent when it is, because the decision is made again then.
   */
  send(runnerName: string, order: Order, { isAccepted }: { readonly isAccepted: boolean }): boolean {
    return this.#streams.get(runnerName)?.sendOrder(order, isAccepted) ?? false;
  }

  /** Sends a preparation, which may be lost. */
  prepare(runnerName: string, preparation: Preparation): void {
    this.#streams.get(runnerName)?.stream.send({ message: { $case: 'preparation', value: preparation } });
  }

  /** The connected agents by instance id. */
  instances(): readonly AgentInstance[] {
    return [...this.#streams.values()].flatMap(({ hello }) =>
      hello === undefined ? [] : [{ instanceID: hello.instanceId, runnerName: hello.runnerName, agentID: hello.agentId }],
    );
  }

  /** Ends every stream, so that agents go on with the other pods at once. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions]) session.end('Unavailable', 'This operator pod is shutting down.');
  }

  /** A new stream of a runner: it replaces an older one, unless it comes from an older start of the agent. */
  #replace(session: Session, hello: Hello): boolean {
    const { runnerName } = hello;
    const before = this.#facts.get(runnerName);
    if (before?.isConnected === true && before.storeID === hello.storeId && before.incarnation > hello.incarnation) {
      session.end('Aborted', `A newer start of the agent of runner "${runnerName}" is connected.`);
      return false;
    }
    const old = this.#streams.get(runnerName);
    this.#streams.set(runnerName, session);
    this.#facts.set(runnerName, factsOf(hello, before));
    old?.end('Aborted', 'A newer stream of this agent has replaced this one.');
    this.#connections.set(this.#streams.size);
    return true;
  }

  #take(session: Session, taken: Taken & { readonly kind: 'Taken' }): void {
    const { runnerName, isComplete } = taken.facts;
    if (this.#streams.get(runnerName) !== session) return;
    const wasComplete = this.#facts.get(runnerName)?.isComplete === true;
    this.#facts.set(runnerName, taken.facts);
    const isNew = isComplete && !wasComplete;
    for (const listener of this.#listeners) {
      if (taken.uids.length > 0) listener.copiesChanged(runnerName, taken.uids);
      if (isNew || taken.runnerChanged) listener.runnerChanged(runnerName, isNew ? 'Connected' : 'Amounts');
    }
  }

  #refused(session: Session, facts: RunnerFacts, uid: string): void {
    if (this.#streams.get(facts.runnerName) !== session) return;
    this.#facts.set(facts.runnerName, facts);
    for (const listener of this.#listeners) listener.copiesChanged(facts.runnerName, [uid]);
  }

  #end(session: Session, reason: string): void {
    if (!this.#sessions.delete(session)) return;
    this.#ended.inc({ reason });
    const runnerName = session.hello?.runnerName;
    if (runnerName === undefined || this.#streams.get(runnerName) !== session) return;
    this.#streams.delete(runnerName);
    this.#connections.set(this.#streams.size);
    const facts = this.#facts.get(runnerName);
    if (facts !== undefined) this.#facts.set(runnerName, disconnected(facts));
    for (const listener of this.#listeners) listener.runnerChanged(runnerName, 'Disconnected');
  }
}

interface SessionOwner {
  /** False when the session was ended instead. */
  greeted(session: Session, hello: Hello): boolean;
  taken(session: Session, taken: Taken & { readonly kind: 'Taken' }): void;
  refused(session: Session, facts: RunnerFacts, uid: string): void;
  factsOf(runnerName: string): RunnerFacts | undefined;
  ended(session: Session, reason: string): void;
}

/** One stream: Hello, the check of the token, Welcome, then inventory and reports in their sequence. */
class Session implements StreamReceiver {
  readonly stream: AgentStream;
  /** Set once the agent is welcome. */
  hello: Hello | undefined;
  readonly #options: HubOptions;
  readonly #owner: SessionOwner;
  readonly #sent = new Map<string, { readonly order: number; readonly at: number }>();
  #inbox: Inbox = emptyInbox;
  #nodeName: string | undefined;
  #expiry: Timer | undefined;
  #state: 'Opened' | 'Checking' | 'Welcome' | 'Ended' = 'Opened';

  constructor(stream: AgentStream, options: HubOptions, owner: SessionOwner) {
    this.stream = stream;
    this.#options = options;
    this.#owner = owner;
  }

  received({ message }: AgentMessage): void {
    if (this.#state === 'Ended') return;
    if (this.#state === 'Opened' && message?.$case === 'hello') {
      this.#state = 'Checking';
      void this.#greet(message.value);
      return;
    }
    if (this.#state !== 'Welcome' || this.hello === undefined) {
      this.end('InvalidArgument', 'The first message must be a Hello, and the next waits for the Welcome.');
      return;
    }
    this.#read(message, this.hello);
  }

  closed(reason: string): void {
    this.#finish('closed');
    this.#options.log.debug({ instanceID: this.hello?.instanceId, reason }, 'Stream of an agent closed');
  }

  /** Ends the stream from this side. */
  end(code: StreamEnd, message: string): void {
    if (this.#state === 'Ended') return;
    const { runnerName, instanceId } = this.hello ?? {};
    this.#options.log.info({ runner: runnerName, instanceID: instanceId, code, reason: message }, 'Stream of an agent ended');
    this.#finish(code);
    this.stream.end(code, message);
  }

  sentOrder(key: string): number {
    return this.#sent.get(key)?.order ?? 0;
  }

  sendOrder(order: Order, isAccepted: boolean): boolean {
    if (this.#state !== 'Welcome') return false;
    const key = copyKey(order.uid, order.epoch);
    const now = this.#options.clock.monotonic();
    const before = this.#sent.get(key);
    const isDue = before?.order !== order.order || (!isAccepted && now - before.at >= resendMs);
    if (!isDue) return true;
    this.#sent.set(key, { order: order.order, at: now });
    const { uid, epoch, order: number } = order;
    this.#options.log.debug({ runner: this.hello?.runnerName, uid, epoch, order: number }, 'Order sent');
    this.stream.send({ message: { $case: 'order', value: order } });
    return true;
  }

  async #greet(hello: Hello): Promise<void> {
    const authentication = await this.#authenticate(this.stream.token);
    if (this.#isEnded()) return;
    if (authentication.kind !== 'Authenticated') {
      this.#options.log.warn({ runner: hello.runnerName, code: authentication.code, reason: authentication.message }, 'Agent refused');
      this.end(authentication.code, authentication.message);
      return;
    }
    const { operatorName, operatorVersion } = this.#options;
    const offer = { minVersion: PROTOCOL_VERSION, maxVersion: PROTOCOL_VERSION, capabilities: [], operatorName, operatorVersion };
    const handshake = shakeHands(hello, authentication.identity, offer);
    if (handshake.kind === 'Refused') {
      this.#options.log.warn({ runner: hello.runnerName, code: handshake.code, reason: handshake.message }, 'Agent refused');
      this.end(handshake.code, handshake.message);
      return;
    }
    if (!this.#owner.greeted(this, hello)) return;
    this.hello = hello;
    this.#state = 'Welcome';
    this.#nodeName = authentication.identity.nodeName;
    this.#expireWith(authentication.identity);
    this.stream.send({ message: { $case: 'welcome', value: handshake.welcome } });
    const { runnerName, storeId: storeID, incarnation } = hello;
    this.#options.log.info({ runner: runnerName, storeID, incarnation }, stableLines.agentConnected(hello.instanceId));
  }

  #read(message: AgentMessage['message'], { runnerName }: Hello): void {
    const facts = this.#owner.factsOf(runnerName);
    if (facts === undefined) return;
    const now = this.#options.clock.monotonic();
    switch (message?.$case) {
      case 'inventory':
        this.#keep(takeInventory(facts, this.#inbox, message.value, now));
        return;
      case 'report':
        for (const { uid, epoch, order, state } of message.value.copies)
          this.#options.log.debug({ runner: runnerName, uid, epoch, order, state }, 'Report received');
        this.#keep(takeReport(facts, this.#inbox, message.value, now));
        return;
      case 'refusal':
        this.#options.log.debug({ runner: runnerName, ...message.value }, 'Order not taken by the agent');
        this.#owner.refused(this, takeRefusal(facts, message.value), message.value.uid);
        return;
      case 'tokenRenewal':
        void this.#renew(message.value.token);
        return;
      case 'hello':
        this.end('InvalidArgument', 'A stream has one Hello.');
        return;
      case undefined:
        this.#options.log.debug({ runner: runnerName }, 'Message of a newer agent passed over');
    }
  }

  #keep(taken: Taken): void {
    if (taken.kind === 'Gap') {
      this.end('Aborted', `${taken.message} Begin again with an inventory.`);
      return;
    }
    this.#inbox = taken.inbox;
    this.#owner.taken(this, taken);
  }

  /** The stream ends when its token does, unless a new one comes first. */
  async #renew(token: string): Promise<void> {
    const authentication = await this.#authenticate(token);
    if (this.#isEnded()) return;
    if (authentication.kind !== 'Authenticated') {
      this.#options.log.warn({ runner: this.hello?.runnerName, reason: authentication.message }, 'Renewed token of an agent refused');
    } else if (authentication.identity.nodeName !== this.#nodeName) {
      this.end('PermissionDenied', `The renewed token is bound to another node than "${this.#nodeName ?? ''}".`);
    } else {
      this.#expireWith(authentication.identity);
    }
  }

  async #authenticate(
    token: string | undefined,
  ): Promise<Authentication | { readonly kind: 'Unknown'; readonly code: 'Unavailable'; readonly message: string }> {
    try {
      return await this.#options.authenticator.authenticate(token);
    } catch (err) {
      this.#options.log.error({ err }, 'Token of an agent not checked');
      return { kind: 'Unknown', code: 'Unavailable', message: `The token can not be checked now: ${messageOf(err)}` };
    }
  }

  #expireWith({ expiresAt }: AgentIdentity): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (expiresAt === undefined) return;
    const { clock } = this.#options;
    this.#expiry = clock.after(Math.max(0, expiresAt - clock.now()), () =>
      this.end('Unauthenticated', 'The token of this stream has expired.'),
    );
  }

  #finish(reason: string): void {
    if (this.#state === 'Ended') return;
    this.#state = 'Ended';
    this.#expiry?.cancel();
    this.#owner.ended(this, reason);
  }

  /** As a call, since the state changes while one awaits. */
  #isEnded(): boolean {
    return this.#state === 'Ended';
  }
}
