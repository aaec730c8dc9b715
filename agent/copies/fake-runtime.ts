import { BerthError } from '../../process/errors.ts';
import { AttemptError } from './attempt-error.ts';
import type {
  Attempt,
  AttemptErrorCode,
  BackupProgress,
  BackupRequest,
  CopyKey,
  CopyNote,
  CopyRuntime,
  ExitStatus,
  ImageCredential,
  LocalBackup,
  PreparedCopy,
  PrepareProgress,
  RuntimeCopy,
  RuntimeEvent,
  RuntimeTask,
  StartedCopy,
} from './runtime.ts';

/** What lies on a machine, while runtimes of agents come and go: for tests. */
export class FakeMachine {
  readonly copies = new Map<string, RuntimeCopy>();
  /** Every effect in its sequence: `start u1/1`. */
  readonly done: string[] = [];
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();
  bootID: string;

  constructor(bootID = 'boot-1') {
    this.bootID = bootID;
  }

  get(uid: string, epoch = 1): RuntimeCopy | undefined {
    return this.copies.get(textOf({ uid, epoch }));
  }

  put(copy: RuntimeCopy): void {
    this.copies.set(textOf(copy.key), copy);
  }

  change(key: CopyKey, change: Partial<RuntimeCopy>): void {
    const copy = this.copies.get(textOf(key));
    if (copy !== undefined) this.put({ ...copy, ...change });
  }

  subscribe(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.add(listener);
  }

  emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** The main process ends by itself. */
  exit(key: CopyKey, exit: Partial<ExitStatus> = {}, isTold = true): void {
    const status = { code: 0, signal: 0, oomKilled: false, finishTimeMs: 5000, lost: false, ...exit };
    this.change(key, { task: { state: 'Stopped', exit: status } });
    if (isTold) this.emit({ kind: 'Exited', key, exit: status });
  }

  reboot(bootID: string): void {
    this.bootID = bootID;
    for (const copy of this.copies.values()) this.put({ ...copy, task: { state: 'None' } });
  }
}

export type FakeCall =
  ('list' | 'prepare' | 'start' | 'stop' | 'remove' | 'annotate' | 'images') | ('readBackup' | 'pushBackup' | 'dropBackup' | 'resume');

export interface FakeRuntimeHooks {
  /** Before a call has its effect: may wait, throw, or never resolve. */
  readonly before?: (call: FakeCall, key: CopyKey | undefined, signal?: AbortSignal) => Promise<void> | void;
  /** After the effect, before the answer. */
  readonly after?: (call: FakeCall, key: CopyKey | undefined) => Promise<void> | void;
  /** Called in the moment in which a process starts. */
  readonly started?: (key: CopyKey) => void;
}

/** A runtime over a fake machine. A prepare is two effects: the container with its snapshot, then the task. */
export class FakeRuntime implements CopyRuntime {
  readonly #machine: FakeMachine;
  readonly #hooks: FakeRuntimeHooks;

  constructor(machine: FakeMachine, hooks: FakeRuntimeHooks = {}) {
    this.#machine = machine;
    this.#hooks = hooks;
  }

  list(): Promise<readonly RuntimeCopy[]> {
    return this.#call('list', undefined, () => [...this.#machine.copies.values()]);
  }

  images(): Promise<readonly string[]> {
    return this.#call('images', undefined, () => ['demo:1']);
  }

  async prepare(attempt: Attempt, progress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<PreparedCopy> {
    const { key, namespace, name, source, config } = attempt;
    const baseDigest = `sha256:${config.image}`;
    const old = this.#machine.copies.get(textOf(key));
    await this.#call(
      'prepare',
      key,
      () => {
        if (source.kind === 'Local' && old?.hasContent !== true) throw new AttemptError('ContentMissing', 'not there');
        if (old?.task.state === 'Running') throw new BerthError('Busy', 'it runs');
        const made = { key, namespace, name, note: { order: 0, contentVersion: 0 }, ...old };
        this.#machine.put({
          ...made,
          configHash: config.hash,
          baseDigest,
          requests: config.requests,
          hasContent: true,
          bootID: this.#machine.bootID,
          task: { state: 'None' },
        });
      },
      signal,
    );
    progress({ phase: 'CreatingTask', bytes: 0, totalBytes: 0 });
    await this.#call('prepare', key, () => this.#machine.change(key, { task: { state: 'Created' } }), signal);
    this.#machine.done.push(`prepare ${textOf(key)} ${source.kind}`);
    return { baseDigest };
  }

  async start(key: CopyKey): Promise<StartedCopy> {
    try {
      return await this.#start(key);
    } catch (error) {
      if (error instanceof AttemptError) this.#machine.change(key, { task: { state: 'None' } });
      throw error;
    }
  }

  #start(key: CopyKey): Promise<StartedCopy> {
    return this.#call('start', key, () => {
      if (this.#taskOf(key).state !== 'Created') throw new BerthError('NoTask', 'no created task');
      this.#hooks.started?.(key);
      this.#machine.done.push(`start ${textOf(key)}`);
      this.#machine.change(key, { task: { state: 'Running', startTimeMs: 1000 } });
      return { startTimeMs: 1000 };
    });
  }

  stop(key: CopyKey, graceSeconds: number, signal: AbortSignal): Promise<ExitStatus | undefined> {
    return this.#call(
      'stop',
      key,
      () => {
        const task = this.#taskOf(key);
        this.#machine.done.push(`stop ${textOf(key)} ${graceSeconds}`);
        this.#machine.change(key, { task: { state: 'None' } });
        if (task.state === 'Stopped') return task.exit;
        return task.state === 'Running' ? { code: 143, signal: 15, oomKilled: false, finishTimeMs: 6000, lost: false } : undefined;
      },
      signal,
    );
  }

  remove(key: CopyKey): Promise<void> {
    return this.#call('remove', key, () => {
      this.#machine.done.push(`remove ${textOf(key)}`);
      this.#machine.copies.delete(textOf(key));
    });
  }

  readBackup(request: BackupRequest, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup> {
    const { key, id } = request;
    return this.#call(
      'readBackup',
      key,
      () => {
        progress({ bytes: 10, totalBytes: 0 });
        this.#machine.done.push(`read ${textOf(key)} backup ${id}`);
        const { state } = this.#taskOf(key);
        const name = `${textOf(key)} ${id}`;
        return {
          name,
          request,
          digest: `sha256:backup-${id}`,
          sizeBytes: 100,
          takenWhileStopped: state !== 'Running' && state !== 'Paused',
        };
      },
      signal,
    );
  }

  pushBackup(
    { request }: LocalBackup,
    credentials: readonly ImageCredential[],
    progress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#call(
      'pushBackup',
      request.key,
      () => {
        progress({ bytes: 100, totalBytes: 100 });
        const as = credentials.map(({ username }) => ` as ${username}`).join('');
        this.#machine.done.push(`push ${textOf(request.key)} backup ${request.id}${as}`);
      },
      signal,
    );
  }

  dropBackup({ request }: LocalBackup): Promise<void> {
    return this.#call('dropBackup', request.key, () => {
      this.#machine.done.push(`drop ${textOf(request.key)} backup ${request.id}`);
    });
  }

  resume(key: CopyKey): Promise<void> {
    return this.#call('resume', key, () => {
      this.#machine.done.push(`resume ${textOf(key)}`);
      if (this.#taskOf(key).state === 'Paused') this.#machine.change(key, { task: { state: 'Running', startTimeMs: 1000 } });
    });
  }

  annotate(key: CopyKey, note: CopyNote): Promise<void> {
    return this.#call('annotate', key, () => this.#machine.change(key, { note }));
  }

  subscribe(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    this.#machine.subscribe((event) => {
      if (!signal.aborted) listener(event);
    });
  }

  #taskOf(key: CopyKey): RuntimeTask {
    return this.#machine.copies.get(textOf(key))?.task ?? { state: 'None' };
  }

  async #call<T>(call: FakeCall, key: CopyKey | undefined, effect: () => T, signal?: AbortSignal): Promise<T> {
    await this.#hooks.before?.(call, key, signal);
    signal?.throwIfAborted();
    const result = effect();
    await this.#hooks.after?.(call, key);
    return result;
  }
}

/** The runtime says so for certain. */
export function certainly(code: AttemptErrorCode): AttemptError {
  return new AttemptError(code, `it is ${code}`);
}

/** Nobody knows whether it had its effect. */
export function ambiguous(): BerthError {
  return new BerthError('Unavailable', 'the answer was lost');
}

function textOf({ uid, epoch }: CopyKey): string {
  return `${uid}/${epoch}`;
}
