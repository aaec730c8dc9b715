import type { Clock } from '../../process/clock.ts';
import type { RecordFile } from '../journal/record-file.client.ts';
import type { TaskReply, TaskState } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskFiles } from './files.client.ts';
import { mostInlineOutput, stateMessage, type InlineOutput } from './messages.ts';
import type { TaskPeer } from './peer.ts';
import type { TaskEntry, TaskJournalState, TaskRecord } from './record.ts';
import { rejected } from './replies.ts';
import type { TaskRun } from './task-run.client.ts';

export interface TaskNewsOptions {
  readonly journal: Pick<RecordFile<TaskJournalState, TaskRecord>, 'state'>;
  readonly files: TaskFiles;
  readonly clock: Clock;
  /** The task while it has not ended, durably. */
  readonly runOf: (taskID: string) => TaskRun | undefined;
}

const nothingWritten = Buffer.alloc(0);

/** What is told of tasks: to whoever asks, and to the streams that follow them. */
export class TaskNews {
  readonly #options: TaskNewsOptions;
  readonly #followers = new Map<string, Set<TaskPeer>>();

  constructor(options: TaskNewsOptions) {
    this.#options = options;
  }

  /** The tasks that somebody follows. */
  get followed(): number {
    return this.#followers.size;
  }

  /** Tells the stream what becomes of the task. Of one that has ended nothing more comes. */
  follow(taskID: string, peer: TaskPeer): void {
    if (this.#options.runOf(taskID) === undefined) return;
    this.#followers.set(taskID, (this.#followers.get(taskID) ?? new Set()).add(peer));
  }

  /** The stream has ended. */
  leave(peer: TaskPeer): void {
    for (const [taskID, peers] of this.#followers) if (peers.delete(peer) && peers.size === 0) this.#followers.delete(taskID);
  }

  /** There never was such a task. */
  forget(taskID: string): void {
    this.#followers.delete(taskID);
  }

  async tell(taskID: string): Promise<void> {
    const state = await this.#state(taskID);
    if (state === undefined) return;
    for (const peer of this.#followers.get(taskID) ?? []) peer.event({ event: { $case: 'task', value: state } });
    if (state.end !== undefined) this.#followers.delete(taskID);
  }

  async reply(taskID: string, repeated: boolean): Promise<TaskReply['reply']> {
    const state = await this.#state(taskID);
    return state === undefined ? rejected('TaskGone') : { $case: 'task', value: { ...state, repeated } };
  }

  async #state(taskID: string): Promise<TaskState | undefined> {
    const { journal, clock, runOf } = this.#options;
    const entry = journal.state().tasks.get(taskID);
    if (entry === undefined) return undefined;
    const run = runOf(taskID);
    // A result that is not durable yet is nobody's.
    const told = run === undefined ? entry : { ...entry, result: undefined };
    const { stdout, stderr } = run?.outputBytes ?? { stdout: 0, stderr: 0 };
    const progress = { startMs: run?.startMs ?? 0, stdoutBytes: stdout, stderrBytes: stderr };
    return stateMessage(told, progress, await this.#inline(told), clock.now());
  }

  async #inline({ task, result }: TaskEntry): Promise<InlineOutput> {
    if (result === undefined || result.stdoutBytes + result.stderrBytes > mostInlineOutput) return undefined;
    const own = this.#options.files.of(task.id);
    const [stdout, stderr] = await Promise.all([
      result.stdoutBytes === 0 ? nothingWritten : own.read('stdout'),
      result.stderrBytes === 0 ? nothingWritten : own.read('stderr'),
    ]);
    return { stdout, stderr };
  }
}
