import type { AgentMessage, OperatorMessage } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Process } from '../engine/process.ts';
import type { Random } from '../engine/random.ts';
import type { Scheduler } from '../engine/scheduler.ts';

export type Direction = 'orders' | 'reports';

/** What one end of a connection does when something reaches it. */
export interface End<In> {
  message(message: In): void;
  closed(reason: string): void;
}

interface Lane {
  readonly receiver: Process;
  deliver: (message: never) => void;
  readonly waiting: unknown[];
  deliverAt: number;
  frozen: boolean;
}

/** A stream between one run of an agent and one run of an operator: each direction in order and without gaps, until it breaks. */
export class Connection {
  readonly agent: Process;
  readonly operator: Process;
  readonly runner: string;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #lanes: Record<Direction, Lane>;
  readonly #ends: { agent: End<OperatorMessage> | undefined; operator: End<AgentMessage> | undefined } = {
    agent: undefined,
    operator: undefined,
  };
  #isOpen = true;
  readonly #onClose: (() => void)[] = [];

  constructor(runner: string, agent: Process, operator: Process, scheduler: Scheduler, random: Random) {
    this.runner = runner;
    this.agent = agent;
    this.operator = operator;
    this.#scheduler = scheduler;
    this.#random = random;
    const lane = (receiver: Process): Lane => ({ receiver, deliver: idle, waiting: [], deliverAt: 0, frozen: false });
    this.#lanes = { orders: lane(agent), reports: lane(operator) };
    agent.onEnd(() => this.break('the agent ended'));
    operator.onEnd(() => this.break('the operator ended'));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  attachAgent(end: End<OperatorMessage>): void {
    this.#ends.agent = end;
    this.#lanes.orders.deliver = (message: OperatorMessage) => end.message(message);
    this.#flush(this.#lanes.orders);
  }

  attachOperator(end: End<AgentMessage>): void {
    this.#ends.operator = end;
    this.#lanes.reports.deliver = (message: AgentMessage) => end.message(message);
    this.#flush(this.#lanes.reports);
  }

  onClose(close: () => void): void {
    this.#onClose.push(close);
  }

  sendToAgent(message: OperatorMessage): void {
    this.#send(this.#lanes.orders, message);
  }

  sendToOperator(message: AgentMessage): void {
    this.#send(this.#lanes.reports, message);
  }

  /** Nothing of this direction arrives until it is thawed: a full buffer, a stalled switch. */
  freeze(direction: Direction): void {
    this.#lanes[direction].frozen = true;
  }

  thaw(direction: Direction): void {
    const lane = this.#lanes[direction];
    lane.frozen = false;
    this.#flush(lane);
  }

  /** Both ends learn of it, each after a while of its own; what was under way is lost. */
  break(reason: string, noticeMs: readonly [number, number] = [1, 200]): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const lane of Object.values(this.#lanes)) lane.waiting.length = 0;
    const { agent, operator } = this.#ends;
    this.agent.arrive(this.#random.between(...noticeMs), () => agent?.closed(reason));
    this.operator.arrive(this.#random.between(...noticeMs), () => operator?.closed(reason));
    for (const close of this.#onClose) close();
  }

  /** One end closes in good order: what it sent before still arrives. */
  close(by: 'agent' | 'operator', reason: string): void {
    if (!this.#isOpen) return;
    this.#ends[by] = undefined;
    this.#lanes[by === 'agent' ? 'orders' : 'reports'].deliver = () => undefined;
    const lane = by === 'agent' ? this.#lanes.reports : this.#lanes.orders;
    const last = Math.max(lane.deliverAt - this.#scheduler.now, 0) + 1;
    this.#scheduler.after(last, () => this.break(reason, [0, 5]));
  }

  #send(lane: Lane, message: unknown): void {
    if (!this.#isOpen) return;
    lane.waiting.push(message);
    if (lane.frozen) return;
    const at = Math.max(lane.deliverAt, this.#scheduler.now + this.#random.latency(2, 80));
    if (at === lane.deliverAt && lane.waiting.length > 1) return;
    lane.deliverAt = at;
    lane.receiver.arrive(at - this.#scheduler.now, () => this.#flush(lane));
  }

  #flush(lane: Lane): void {
    if (lane.frozen || lane.deliver === idle) return;
    for (const message of lane.waiting.splice(0)) if (this.#isOpen) lane.deliver(message as never);
  }
}

function idle(): void {
  return undefined;
}

/** All streams, and who cannot reach whom. */
export class Network {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #open = new Set<Connection>();
  /** `runner|operator` pairs between which nothing passes. */
  readonly cut = new Set<string>();

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** Undefined when nothing answers there. */
  connect(runner: string, agent: Process, operatorName: string, operator: Process | undefined): Connection | undefined {
    if (operator === undefined || this.cut.has(`${runner}|${operatorName}`)) return undefined;
    const connection = new Connection(runner, agent, operator, this.#scheduler, this.#random);
    this.#open.add(connection);
    connection.onClose(() => this.#open.delete(connection));
    return connection;
  }

  between(runner: string, operatorName: string): Connection[] {
    return [...this.#open].filter((one) => one.runner === runner && one.operator.name.startsWith(operatorName));
  }

  get connections(): readonly Connection[] {
    return [...this.#open];
  }
}
