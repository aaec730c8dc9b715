import { ContainerdError, status } from '../containerd/containerd-error.ts';
import type { OutputFile } from './record.ts';
import { nothingMeasured, type Measures, type ProcessRef, type ProcessState, type TaskRuntime } from './runtime.ts';
import type { Exit } from './verdict.ts';

interface FakeProcess {
  state: ProcessState;
  readonly ended: PromiseWithResolvers<Exit | undefined>;
}

/** A container runtime for tests of tasks: processes do nothing until they are told to end. It outlives the agents that use it. */
export class FakeTaskRuntime implements TaskRuntime {
  readonly done: string[] = [];
  readonly processes = new Map<string, FakeProcess>();
  hasSandbox = true;
  /** Starts are asked for, and neither answered nor seen to happen. */
  isStartHeld = false;
  /** What a start waits for. */
  beforeStart: Promise<unknown> | undefined;
  /** Tasks whose shim gives no answer. */
  readonly silent = new Set<string>();
  /** What was found of a process that was to be taken back; undefined: it never ran. */
  withdrawn: (() => Promise<ProcessState>) | undefined;

  end(id: string, status: number): void {
    const process = this.processes.get(id);
    if (process === undefined) throw new Error(`there is no process of ${id}`);
    const exit = { status, finishMs: 1_000 };
    process.state = { kind: 'Stopped', exit };
    process.ended.resolve(exit);
  }

  sandbox(): Promise<'Running' | 'Paused' | 'Gone'> {
    return Promise.resolve(this.hasSandbox ? 'Running' : 'Gone');
  }

  createCommand(ref: ProcessRef): Promise<void> {
    return this.#make(ref.execID);
  }

  createOneShot(id: string): Promise<void> {
    return this.#make(id);
  }

  async start(ref: ProcessRef): Promise<void> {
    this.done.push(`start ${idOf(ref)}`);
    if (this.isStartHeld) await new Promise(() => undefined);
    await this.beforeStart;
    const process = this.processes.get(idOf(ref));
    if (process !== undefined) process.state = { kind: 'Running', exit: undefined };
  }

  async withdraw(ref: ProcessRef): Promise<ProcessState> {
    this.done.push(`withdraw ${idOf(ref)}`);
    if (this.withdrawn !== undefined) return this.withdrawn();
    this.processes.delete(idOf(ref));
    return { kind: 'None', exit: undefined };
  }

  stateOf(ref: ProcessRef): Promise<ProcessState> {
    if (this.silent.has(idOf(ref))) return Promise.reject(new ContainerdError('Tasks/Get', status.deadlineExceeded, 'no answer'));
    return Promise.resolve(this.processes.get(idOf(ref))?.state ?? { kind: 'None', exit: undefined });
  }

  wait(ref: ProcessRef, signal: AbortSignal): Promise<Exit | undefined> {
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return Promise.race([this.processes.get(idOf(ref))?.ended.promise ?? Promise.resolve(undefined), aborted]);
  }

  signal(ref: ProcessRef, signal: number): Promise<void> {
    this.done.push(`signal ${signal} ${idOf(ref)}`);
    return Promise.resolve();
  }

  closeStdin(): Promise<void> {
    return Promise.resolve();
  }

  kill(ref: ProcessRef): Promise<void> {
    if (this.processes.get(idOf(ref))?.state.kind === 'Running') this.end(idOf(ref), 137);
    return Promise.resolve();
  }

  measure(): Promise<Measures> {
    return Promise.resolve(nothingMeasured);
  }

  remove(ref: ProcessRef): Promise<void> {
    this.processes.delete(idOf(ref));
    return Promise.resolve();
  }

  collect(): Promise<readonly OutputFile[]> {
    return Promise.resolve([]);
  }

  removeOneShot(id: string): Promise<void> {
    this.processes.delete(id);
    return Promise.resolve();
  }

  oneShots(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  #make(id: string): Promise<void> {
    this.processes.set(id, { state: { kind: 'Created', exit: undefined }, ended: Promise.withResolvers() });
    return Promise.resolve();
  }
}

function idOf({ containerID, execID }: ProcessRef): string {
  return execID === '' ? containerID.replace(/-task$/, '') : execID;
}
