import { v4 as uuid } from 'uuid';
import type { TaskEvent, TaskReply, TaskRejection, TaskRequest } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import type { Hub, TaskListener, TaskStream } from '../hub/controller.ts';
import { ApiError } from '../http/errors.ts';
import { rejectionOf } from './rejections.ts';

export type Asked = NonNullable<TaskRequest['request']>;
export type Answered = Exclude<NonNullable<TaskReply['reply']>, { readonly $case: 'rejected' }>;
export type Outcome = Answered | { readonly $case: 'rejected'; readonly value: TaskRejection };

/** Hears what happens at agents without being asked. */
export interface AgentEvents {
  event(runnerName: string, event: NonNullable<TaskEvent['event']>): void;
  /** Its stream to this pod has ended: tickets there are withdrawn, and nothing is told of tasks there until they are watched again. */
  lost(runnerName: string): void;
  /** Its slots are others than before, or known for the first time. */
  slotsChanged?(runnerName: string): void;
}

interface Pending {
  readonly stream: TaskStream;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

/** An agent that does not answer so long is given up: its stream is slow or dead. */
const answerMs = 10_000;
/** Requests that may wait for one pod's agents at once. */
const mostPending = 20_000;

/** Asks agents about tasks over their streams to this pod, and pairs what they answer with what they were asked. */
export class Agents implements TaskListener {
  readonly #hub: Pick<Hub, 'taskStream'>;
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();
  readonly #listeners = new Set<AgentEvents>();

  constructor(hub: Pick<Hub, 'taskStream' | 'subscribeTasks'>, clock: Clock) {
    this.#hub = hub;
    this.#clock = clock;
    hub.subscribeTasks(this);
  }

  subscribe(listener: AgentEvents): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  isReached(runnerName: string): boolean {
    return this.#hub.taskStream(runnerName) !== undefined;
  }

  /**
   * What the agent answers, a rejection among it. @throws ApiError `RunnerUnreachable` when it was certainly not asked, `OutcomeUnknown` when nobody
   * can say whether it was.
   */
  async ask(runnerName: string, asked: Asked): Promise<Outcome> {
    const stream = this.#hub.taskStream(runnerName);
    if (stream === undefined) throw new ApiError('RunnerUnreachable', `The runner ${runnerName} is not connected to this operator pod.`);
    if (this.#pending.size >= mostPending) throw new ApiError('TooManyWaiting');
    const requestId = uuid();
    return new Promise<Outcome>((resolve, reject) => {
      const timer = this.#clock.after(answerMs, () => this.#fail(requestId, `The agent of ${runnerName} did not answer.`));
      this.#pending.set(requestId, { stream, resolve, reject, timer });
      stream.ask({ requestId, request: asked });
    });
  }

  /** As `ask`; a rejection is thrown as what the API answers for it. */
  async demand(runnerName: string, asked: Asked): Promise<Answered> {
    const outcome = await this.ask(runnerName, asked);
    if (outcome.$case === 'rejected') throw rejectionOf(outcome.value);
    return outcome;
  }

  reply(_runnerName: string, { requestId, reply }: TaskReply): void {
    const pending = this.#take(requestId);
    if (reply === undefined) pending?.reject(new ApiError('OutcomeUnknown', 'The agent gave an answer of a newer version.'));
    else pending?.resolve(reply);
  }

  event(runnerName: string, { event }: TaskEvent): void {
    if (event === undefined) return;
    for (const listener of [...this.#listeners]) listener.event(runnerName, event);
  }

  slotsChanged(runnerName: string): void {
    for (const listener of [...this.#listeners]) listener.slotsChanged?.(runnerName);
  }

  ended(runnerName: string, stream: TaskStream): void {
    for (const [requestId, pending] of this.#pending)
      if (pending.stream === stream) this.#fail(requestId, `The connection to the agent of ${runnerName} was lost before it answered.`);
    for (const listener of [...this.#listeners]) listener.lost(runnerName);
  }

  #fail(requestId: string, message: string): void {
    this.#take(requestId)?.reject(new ApiError('OutcomeUnknown', message));
  }

  #take(requestId: string): Pending | undefined {
    const pending = this.#pending.get(requestId);
    pending?.timer.cancel();
    this.#pending.delete(requestId);
    return pending;
  }
}
