import type { TaskEvent, TaskReply, TaskRequest } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Hello, OperatorMessage, Order, Preparation, Refusal, Report, Unclaimed } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Gauge, type Metrics } from '../../process/metrics.ts';
import { copyKey, disconnected, factsOf, type RunnerFacts, type Taken } from './facts.ts';
import { Session, type Told, type ToldOfTasks } from './session.server.ts';
import type { AgentAuthenticator, AgentStream, StreamReceiver } from './stream.ts';

/** What changed in the fleet, for whoever has to look again. */
export interface FleetListener {
  /** Something was said of copies of these sandboxes. */
  copiesChanged(runnerName: string, uids: readonly string[]): void;
  /** The agent connected (its inventory is complete), disconnected, or has other amounts. */
  runnerChanged(runnerName: string, what: 'Connected' | 'Disconnected' | 'Amounts'): void;
}

/** Hears what agents say of tasks on their own streams to this pod. */
export interface TaskListener {
  reply(runnerName: string, reply: TaskReply): void;
  event(runnerName: string, event: TaskEvent): void;
  /** Its slots are others than before, or known for the first time. */
  slotsChanged(runnerName: string): void;
  /** A stream has ended: what was asked on it is not answered any more. */
  ended(runnerName: string, stream: TaskStream): void;
}

/** One stream of an agent, as long as it lasts. */
export interface TaskStream {
  readonly runnerName: string;
  ask(request: TaskRequest): void;
}

/** Hears what one agent says on its own stream to this pod, to pass it on. */
export interface AgentTap {
  /** A stream has begun; an inventory follows. */
  began(hello: Hello): void;
  /** Everything that it has told so far. */
  inventory(facts: RunnerFacts): void;
  report(report: Report): void;
  refused(refusal: Refusal): void;
  /** The stream has ended. */
  gone(): void;
}

export interface HubOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** The operator pod's name. */
  readonly operatorName: string;
  readonly operatorVersion: string;
  /** Of this start of the operator pod: agents know by it that two addresses are of one pod. Default: none. */
  readonly operatorID?: string;
  readonly authenticator: AgentAuthenticator;
  /** How often the token of a stream is checked again, in milliseconds; up to a quarter earlier. Default 300,000. */
  readonly tokenRecheckMs?: number;
  readonly random?: Random;
}

/** One connected agent, as the status of this pod tells it. */
export interface AgentInstance {
  readonly instanceID: string;
  readonly runnerName: string;
  readonly agentID: string;
  readonly storeID: string;
  readonly incarnation: number;
  /** Milliseconds since it last said something. */
  readonly ageMs: number;
}

/** Streams that may wait for their Welcome at once: enough for a large fleet that comes back in one moment. */
const mostStrangers = 1024;

/**
 * The streams of all agents to this operator pod, and what the agents say. Knows no gRPC: `hub.server.ts` feeds it. Decides nothing: it keeps
 * the newest facts of each runner, tells listeners what changed, and sends what it is given.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly #streams = new Map<string, Session>();
  readonly #facts = new Map<string, RunnerFacts>();
  readonly #listeners = new Set<FleetListener>();
  readonly #taskListeners = new Set<TaskListener>();
  readonly #taps = new Map<string, Set<AgentTap>>();
  readonly #sessions = new Set<Session>();
  /** Those that nobody has welcomed yet, the oldest first. */
  readonly #strangers = new Set<Session>();
  readonly #connections: Gauge;
  readonly #relayed: Gauge;
  readonly #ended: Counter;
  #peers: readonly string[] | undefined;
  #closed = false;

  constructor(options: HubOptions) {
    this.#options = options;
    const metrics = options.metrics ?? noMetrics;
    this.#connections = metrics.gauge({ name: 'berth_hub_connected_agents', help: 'Agents with a stream to this operator pod.' });
    this.#relayed = metrics.gauge({
      name: 'berth_hub_relayed_agents',
      help: 'Agents that this operator pod reaches through another one.',
    });
    this.#ended = metrics.counter({
      name: 'berth_hub_streams_ended_total',
      help: 'Streams of agents that ended, by who ended them and why.',
      labels: ['reason'],
    });
  }

  /** Takes on a stream that an agent has opened. */
  accept(stream: AgentStream): StreamReceiver {
    return this.#open(stream, undefined);
  }

  /**
   * Takes on a runner that the operator pod `via` relays. An own stream of its agent always comes before it. What the relay tells counts
   * once it is as new as what was known before.
   */
  acceptRelayed(stream: AgentStream, via: string): StreamReceiver {
    return this.#open(stream, via);
  }

  #open(stream: AgentStream, via: string | undefined): StreamReceiver {
    const session = new Session(stream, via, this.#options, {
      greeted: (one, hello) => this.#replace(one, hello),
      welcomed: (one) => this.#tellPeers(one),
      taken: (one, taken, message) => this.#take(one, taken, message),
      refused: (one, facts, refusal) => this.#refused(one, facts, refusal),
      toldOfTasks: (one, message) => this.#toldOfTasks(one, message),
      factsOf: (runnerName) => this.#facts.get(runnerName),
      ended: (one, reason) => this.#end(one, reason),
    });
    this.#sessions.add(session);
    this.#strangers.add(session);
    if (this.#strangers.size > mostStrangers) this.#turnAway(session);
    if (this.#closed) session.end('Unavailable', 'This operator pod is shutting down.');
    return session;
  }

  /** How the runner's agent is reached. */
  reach(runnerName: string): 'Connected' | 'Relayed' | 'None' {
    const session = this.#streams.get(runnerName);
    if (session === undefined) return 'None';
    return session.via === undefined ? 'Connected' : 'Relayed';
  }

  /** Hears what the agent says on its own stream, beginning with what it has told so far. Returns how to stop. */
  tap(runnerName: string, tap: AgentTap): () => void {
    const taps = this.#taps.get(runnerName) ?? new Set();
    this.#taps.set(runnerName, taps.add(tap));
    const session = this.#streams.get(runnerName);
    const facts = this.#facts.get(runnerName);
    if (session?.via === undefined && session?.hello !== undefined && facts?.isComplete === true) {
      tap.began(session.hello);
      tap.inventory(facts);
    }
    return () => {
      taps.delete(tap);
      if (taps.size === 0 && this.#taps.get(runnerName) === taps) this.#taps.delete(runnerName);
    };
  }

  /** Passes on what another pod has to say to an agent that is connected here; lost when it is not. */
  passOn(runnerName: string, message: OperatorMessage): void {
    const session = this.#streams.get(runnerName);
    if (session?.via === undefined && session?.hello !== undefined) session.stream.send(message);
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

  /** Tells the agent which of its copies nobody claims; lost when it is not connected. */
  tell(runnerName: string, unclaimed: Unclaimed): void {
    this.#streams.get(runnerName)?.stream.send({ message: { $case: 'unclaimed', value: unclaimed } });
  }

  /** These are the other operator pods (host:port): agents are told, and those that come. */
  setPeers(addresses: readonly string[]): void {
    this.#peers = addresses;
    for (const session of this.#sessions) this.#tellPeers(session);
  }

  /** Tells of tasks from now on. Returns the unsubscriber. */
  subscribeTasks(listener: TaskListener): () => void {
    this.#taskListeners.add(listener);
    return () => void this.#taskListeners.delete(listener);
  }

  /** The runner's own stream, if its agent is connected to this pod and knows of tasks. */
  taskStream(runnerName: string): TaskStream | undefined {
    const session = this.#streams.get(runnerName);
    return session?.speaksTasks === true ? session : undefined;
  }

  /** The connected agents by instance id: an agent that dialled two addresses of this pod has two. */
  instances(): readonly AgentInstance[] {
    const now = this.#options.clock.monotonic();
    return [...this.#sessions].flatMap(({ hello, via, heardAt }) =>
      hello === undefined || via !== undefined ? [] : [instanceOf(hello, now - heardAt)],
    );
  }

  /** Ends every stream, so that agents go on with the other pods at once. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions]) session.end('Unavailable', 'This operator pod is shutting down.');
  }

  /** One stream too many waits: one that has said nothing goes first, since an agent begins with its Hello. */
  #turnAway(newest: Session): void {
    const silent = [...this.#strangers].find(({ isSilent }) => isSilent);
    (silent ?? newest).end('ResourceExhausted', `More than ${mostStrangers} streams wait for their Welcome: try again later.`);
  }

  /** A new stream of a runner: it replaces an older one, unless it comes from an older start of the agent, or only through another pod. */
  #replace(session: Session, hello: Hello): boolean {
    const { runnerName } = hello;
    const before = this.#facts.get(runnerName);
    const old = this.#streams.get(runnerName);
    const isOlder = before?.storeID === hello.storeId && before.incarnation > hello.incarnation;
    if (isOlder && (before.isConnected || session.via !== undefined)) {
      session.end('Aborted', `A newer start of the agent of runner "${runnerName}" is connected.`);
      return false;
    }
    if (session.via !== undefined && old !== undefined) {
      session.end('Aborted', `The agent of runner "${runnerName}" is reached already.`);
      return false;
    }
    this.#strangers.delete(session);
    this.#streams.set(runnerName, session);
    this.#facts.set(runnerName, factsOf(hello, before));
    // The agent itself leaves one of two streams on two addresses; until then the newest speaks.
    for (const one of this.#sessionsOf(runnerName)) {
      const isOtherAddress = one.via === undefined && one.hello?.agentId === hello.agentId && one.hello.instanceId !== hello.instanceId;
      if (one !== session && !isOtherAddress) one.end('Aborted', 'A newer stream of this agent has replaced this one.');
    }
    this.#count();
    return true;
  }

  /** The welcome streams of the runner's agent. */
  #sessionsOf(runnerName: string): readonly Session[] {
    return [...this.#sessions].filter(({ hello }) => hello?.runnerName === runnerName);
  }

  #tellPeers({ hello, via, stream }: Session): void {
    if (this.#peers === undefined || hello === undefined || via !== undefined) return;
    stream.send({ message: { $case: 'peers', value: { addresses: [...this.#peers] } } });
  }

  #take(session: Session, taken: Taken & { readonly kind: 'Taken' }, message: Told): void {
    const { runnerName, isComplete } = taken.facts;
    if (this.#streams.get(runnerName) !== session) return;
    const before = this.#facts.get(runnerName);
    this.#facts.set(runnerName, taken.facts);
    const isNew = isComplete && before?.isComplete !== true;
    if (isComplete && session.via === undefined) this.#tellTaps(session, taken.facts, message, isNew);
    if (isNew || taken.facts.tasks?.seq !== before?.tasks?.seq)
      for (const listener of this.#taskListeners) listener.slotsChanged(runnerName);
    this.#tellListeners(runnerName, taken, isNew);
  }

  #tellListeners(runnerName: string, { uids, runnerChanged }: Taken & { readonly kind: 'Taken' }, isNew: boolean): void {
    for (const listener of this.#listeners) {
      if (uids.length > 0) listener.copiesChanged(runnerName, uids);
      if (isNew || runnerChanged) listener.runnerChanged(runnerName, isNew ? 'Connected' : 'Amounts');
    }
  }

  #tellTaps({ hello }: Session, facts: RunnerFacts, message: Told, isNew: boolean): void {
    for (const tap of this.#taps.get(facts.runnerName) ?? []) {
      if (isNew && hello !== undefined) tap.began(hello);
      if (message.$case === 'report') tap.report(message.value);
      else if (message.value.last) tap.inventory(facts);
    }
  }

  #refused(session: Session, facts: RunnerFacts, refusal: Refusal): void {
    if (this.#streams.get(facts.runnerName) !== session) return;
    this.#facts.set(facts.runnerName, facts);
    if (session.via === undefined) for (const tap of this.#taps.get(facts.runnerName) ?? []) tap.refused(refusal);
    for (const listener of this.#listeners) listener.copiesChanged(facts.runnerName, [refusal.uid]);
  }

  #toldOfTasks({ hello }: Session, message: ToldOfTasks): void {
    if (hello === undefined) return;
    for (const listener of this.#taskListeners) {
      if (message.$case === 'taskReply') listener.reply(hello.runnerName, message.value);
      else listener.event(hello.runnerName, message.value);
    }
  }

  #end(session: Session, reason: string): void {
    if (!this.#sessions.delete(session)) return;
    if (session.speaksTasks) for (const listener of this.#taskListeners) listener.ended(session.runnerName, session);
    this.#strangers.delete(session);
    this.#ended.inc({ reason });
    const runnerName = session.hello?.runnerName;
    if (runnerName === undefined || this.#streams.get(runnerName) !== session) return;
    this.#streams.delete(runnerName);
    this.#count();
    const facts = this.#facts.get(runnerName);
    if (facts !== undefined) this.#facts.set(runnerName, disconnected(facts));
    if (session.via === undefined) for (const tap of this.#taps.get(runnerName) ?? []) tap.gone();
    for (const listener of this.#listeners) listener.runnerChanged(runnerName, 'Disconnected');
    // What a stream on another address has told meanwhile was not taken: it begins anew.
    for (const one of this.#sessionsOf(runnerName)) one.end('Aborted', 'The newer stream of this agent has ended: begin again.');
  }

  #count(): void {
    const relayed = [...this.#streams.values()].filter(({ via }) => via !== undefined).length;
    this.#connections.set(this.#streams.size - relayed);
    this.#relayed.set(relayed);
  }
}

function instanceOf(
  { instanceId: instanceID, runnerName, agentId: agentID, storeId: storeID, incarnation }: Hello,
  ageMs: number,
): AgentInstance {
  return { instanceID, runnerName, agentID, storeID, incarnation, ageMs };
}
