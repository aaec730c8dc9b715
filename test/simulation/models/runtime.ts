import type {
  Attempt,
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
  StartedCopy,
} from '../../../agent/copies/runtime.ts';
import { AttemptError } from '../../../agent/copies/attempt-error.ts';
import { BerthError } from '../../../process/errors.ts';
import type { Process } from '../engine/process.ts';
import { hash32 } from '../engine/random.ts';
import type { Random } from '../engine/random.ts';
import { BackupModel } from './backups.ts';
import { fromImage } from './content.ts';
import type { Content } from './content.ts';
import { idOfKey } from './machine.ts';
import type { Machine, StoredCopy, Task } from './machine.ts';
import type { RegistryModel } from './registry.ts';

/** The digest that an image reference stands for in the modelled registry. */
export function digestOf(image: string): string {
  return `sha256:${hash32(image).toString(16).padStart(8, '0').repeat(8)}`;
}

/**
 * containerd as one agent process sees it. Effects happen on the machine when the call arrives there, whether or not the agent still lives;
 * a prepare is made of several calls, as the real one is, so that it can end between any two.
 */
export class RuntimeModel implements CopyRuntime {
  readonly #machine: Machine;
  readonly #process: Process;
  readonly #random: Random;
  readonly #bootID: string;
  readonly #storeID: string;
  readonly #backups: BackupModel;

  constructor(machine: Machine, registry: RegistryModel, process: Process) {
    this.#machine = machine;
    this.#bootID = machine.bootID;
    this.#storeID = machine.storeID;
    this.#process = process;
    this.#random = process.random.fork('runtime');
    this.#backups = new BackupModel(machine, registry, process, {
      call: (what, latency, effect) => this.#call(what, latency, effect),
      unlessAborted: (signal, work) => this.#unlessAborted(signal, work),
      pause: (ms) => this.#pause(ms),
      find: (key) => machine.copies.get(idOfKey(key)),
    });
  }

  list(): Promise<readonly RuntimeCopy[]> {
    return this.#call('list', [2, 30], () => [...this.#machine.copies.values()].map(view));
  }

  images(): Promise<readonly string[]> {
    return this.#call('images', [2, 30], () => [...this.#machine.images]);
  }

  async prepare(attempt: Attempt, progress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<PreparedCopy> {
    const { key, config, source } = attempt;
    const { image } = config;
    signal.throwIfAborted();
    const begin = await this.#unlessAborted(signal, this.#pull(attempt, progress));
    progress({ phase: 'Creating', bytes: 0, totalBytes: 0 });
    await this.#unlessAborted(
      signal,
      this.#call('snapshot', [3, 60], () => {
        const present = this.#machine.copies.get(idOfKey(key));
        if (present?.content !== undefined) return;
        if (source.kind === 'Local') throw new AttemptError('ContentMissing', `no snapshot of ${idOfKey(key)}`);
        const copy = present ?? newCopy(attempt, this.#machine.bootID);
        copy.content = begin;
        this.#machine.copies.set(idOfKey(key), copy);
      }),
    );
    await this.#unlessAborted(
      signal,
      this.#call('container', [3, 60], () => {
        const copy = this.#expect(key);
        if (copy.task.state === 'Running') throw new BerthError('Busy', `${idOfKey(key)} runs`);
        if (config.command[0] === 'invalid') throw new AttemptError('InvalidSpec', 'the configuration is invalid');
        if (copy.configHash === config.hash) return;
        copy.task = { state: 'None' };
        copy.configHash = config.hash;
        copy.command = config.command;
        copy.requests = config.requests;
        copy.baseDigest = digestOf(image);
      }),
    );
    progress({ phase: 'CreatingTask', bytes: 0, totalBytes: 0 });
    await this.#unlessAborted(
      signal,
      this.#call('task', [5, 200], () => {
        const copy = this.#expect(key);
        if (copy.task.state === 'Running') throw new BerthError('Busy', `${idOfKey(key)} runs`);
        if (copy.task.state === 'Created') return;
        copy.bootID = this.#machine.bootID;
        copy.task = { state: 'Created' };
        this.#machine.observer.taskCreated(this.#machine, copy);
      }),
    );
    return { baseDigest: digestOf(image) };
  }

  start(key: CopyKey): Promise<StartedCopy> {
    return this.#call('start', [10, 300], () => {
      const copy = this.#expect(key);
      if (copy.task.state !== 'Created' || copy.bootID !== this.#machine.bootID)
        throw new BerthError('NoTask', `${idOfKey(key)}: no created task`);
      if (copy.command[0] === 'missing') {
        copy.task = { state: 'None' };
        throw new AttemptError('CommandNotFound', 'the command is not in the sandbox');
      }
      return { startTimeMs: this.#machine.start(copy) };
    });
  }

  async stop(key: CopyKey, graceSeconds: number, signal: AbortSignal): Promise<ExitStatus | undefined> {
    const killAt = this.#process.monotonic() + graceSeconds * 1000;
    let isAsked = false;
    for (;;) {
      const task = await this.#unlessAborted(
        signal,
        this.#call('get task', [2, 30], () => this.#machine.copies.get(idOfKey(key))?.task),
      );
      if (task?.state === 'Running') {
        const isKill = this.#process.monotonic() >= killAt;
        if (isKill || !isAsked)
          await this.#unlessAborted(
            signal,
            this.#call('signal', [3, 60], () => this.#signal(key, isKill)),
          );
        isAsked = true;
        await this.#unlessAborted(signal, this.#pause(Math.min(500, Math.max(20, killAt - this.#process.monotonic()))));
        continue;
      }
      if (task !== undefined && task.state !== 'None')
        await this.#unlessAborted(
          signal,
          this.#call('delete task', [3, 60], () => this.#deleteTask(key)),
        );
      return task?.state === 'Stopped' ? task.exit : undefined;
    }
  }

  async remove(key: CopyKey): Promise<void> {
    await this.#call('kill', [5, 100], () => {
      const copy = this.#machine.copies.get(idOfKey(key));
      if (copy === undefined) return;
      this.#machine.observer.removing(this.#machine, copy);
      if (copy.task.state === 'Running') this.#machine.end(copy, copy.task.run, { code: 137, signal: 9, oomKilled: false });
      copy.task = { state: 'None' };
    });
    await this.#call('remove snapshot', [5, 100], () => {
      const copy = this.#machine.copies.get(idOfKey(key));
      if (copy === undefined) return;
      if (copy.task.state !== 'None') throw new BerthError('Busy', `${idOfKey(key)}: a task was created meanwhile`);
      copy.content = undefined;
    });
    await this.#call('remove container', [5, 100], () => {
      const copy = this.#machine.copies.get(idOfKey(key));
      if (copy?.content !== undefined) throw new BerthError('Busy', `${idOfKey(key)}: a snapshot was made meanwhile`);
      if (this.#machine.copies.delete(idOfKey(key))) this.#machine.emit({ kind: 'Removed', key });
    });
  }

  annotate(key: CopyKey, note: CopyNote): Promise<void> {
    return this.#call('annotate', [2, 30], () => {
      this.#expect(key).note = note;
    });
  }

  readBackup(request: BackupRequest, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup> {
    return this.#backups.read(request, progress, signal);
  }

  pushBackup(
    backup: LocalBackup,
    _: readonly ImageCredential[],
    progress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#backups.push(backup, progress, signal);
  }

  dropBackup(backup: LocalBackup): Promise<void> {
    return this.#backups.drop(backup);
  }

  resume(key: CopyKey): Promise<void> {
    return this.#backups.resume(key);
  }

  subscribe(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    const unsubscribe = this.#machine.subscribe((event) => {
      this.#process.arrive(this.#random.latency(2, 50), () => {
        if (!signal.aborted) listener(event);
      });
    });
    this.#process.onEnd(unsubscribe);
    signal.addEventListener('abort', unsubscribe, { once: true });
  }

  /** What a new copy begins with. */
  async #pull({ config, source, key }: Attempt, progress: (progress: PrepareProgress) => void): Promise<Content> {
    const { image, imagePullPolicy } = config;
    if (source.kind === 'Backup') {
      const isThere = await this.#call('get snapshot', [2, 30], () => this.#machine.copies.get(idOfKey(key))?.content !== undefined);
      if (isThere) return fromImage;
      return this.#backups.pull(source, (bytes) => {
        progress({ phase: 'Pulling', bytes, totalBytes: 0 });
      });
    }
    const isPresent = await this.#call('get image', [2, 30], () => this.#machine.images.has(image));
    if (source.kind === 'Local' || (isPresent && imagePullPolicy !== 'Always')) return fromImage;
    if (imagePullPolicy === 'Never') throw new AttemptError('ImageNotFound', `${image} is not here`);
    for (const part of [1, 2]) {
      progress({ phase: 'Pulling', bytes: part * 1000, totalBytes: 2000 });
      await this.#call('pull', [150, 8000], () => undefined);
    }
    await this.#call('unpack', [50, 2000], () => {
      if (image.includes('not-there')) throw new AttemptError('ImageNotFound', `${image} does not exist`);
      this.#machine.images.add(image);
    });
    return fromImage;
  }

  #signal(key: CopyKey, isKill: boolean): void {
    const copy = this.#machine.copies.get(idOfKey(key));
    if (copy?.task.state !== 'Running') return;
    const { run } = copy.task;
    if (!isKill && copy.command[0] === 'stubborn') return;
    this.#machine.scheduler.after(isKill ? 1 : this.#random.latency(10, 2000), () => {
      this.#machine.end(copy, run, isKill ? { code: 137, signal: 9, oomKilled: false } : { code: 143, signal: 15, oomKilled: false });
    });
  }

  #deleteTask(key: CopyKey): void {
    const copy = this.#machine.copies.get(idOfKey(key));
    if (copy === undefined) return;
    if (copy.task.state === 'Running') throw new BerthError('Busy', `${idOfKey(key)} runs`);
    copy.task = { state: 'None' };
  }

  #expect(key: CopyKey): StoredCopy {
    const copy = this.#machine.copies.get(idOfKey(key));
    if (copy === undefined) throw new BerthError('NotFound', `no container ${idOfKey(key)}`);
    return copy;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#process.arrive(ms, resolve));
  }

  /** One call to containerd: it may fail before or after its effect. */
  #call<T>(what: string, [typical, longest]: readonly [number, number], effect: () => T): Promise<T> {
    const { weather, era, scheduler } = this.#machine;
    const isLost = this.#random.chance(weather.ambiguous);
    const isFailed = this.#random.chance(weather.failed);
    const survives = this.#random.chance(0.5);
    const there = this.#random.latency(typical, longest) * weather.slowness;
    const back = this.#random.between(0, 3);
    return new Promise<T>((resolve, reject) => {
      const fail = (error: BerthError) => this.#process.arrive(back, () => reject(error));
      scheduler.after(there, () => {
        if (this.#machine.bootID !== this.#bootID || this.#machine.storeID !== this.#storeID) return;
        const isCutShort = era !== this.#machine.era || weather.isDown;
        if (isCutShort && (weather.isDown || !survives)) {
          fail(new BerthError('Unavailable', `${what}: containerd does not answer`));
          return;
        }
        if (isFailed) {
          fail(new BerthError('Unavailable', `${what}: containerd failed`));
          return;
        }
        const answer = outcome(effect);
        if (isLost || isCutShort) {
          fail(new BerthError('Unavailable', `${what}: the answer was lost`));
          return;
        }
        this.#process.arrive(back, () => (answer.ok ? resolve(answer.value) : reject(answer.error)));
      });
    });
  }

  /** The result, or the signal's reason as soon as it is aborted. What is under way at containerd goes on. */
  #unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    return new Promise<T>((resolve, reject) => {
      const abort = () => reject(signal.reason as Error);
      signal.addEventListener('abort', abort, { once: true });
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  }
}

function outcome<T>(run: () => T): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: BerthError } {
  try {
    return { ok: true, value: run() };
  } catch (error) {
    if (error instanceof BerthError) return { ok: false, error };
    throw error;
  }
}

function newCopy({ key, namespace, name, config }: Attempt, bootID: string): StoredCopy {
  return {
    key,
    namespace,
    name,
    note: { order: 0, contentVersion: 0 },
    configHash: '',
    command: config.command,
    requests: config.requests,
    baseDigest: '',
    bootID,
    content: undefined,
    task: { state: 'None' },
  };
}

function view(copy: StoredCopy): RuntimeCopy {
  const { key, namespace, name, note, configHash, baseDigest, requests, bootID, task } = copy;
  return {
    key,
    namespace,
    name,
    note,
    configHash,
    baseDigest,
    requests,
    bootID,
    hasContent: copy.content !== undefined,
    task: taskView(task),
  };
}

function taskView(task: Task): RuntimeCopy['task'] {
  if (task.state !== 'Running') return task;
  return task.paused === undefined ? { state: 'Running', startTimeMs: task.startTimeMs } : { state: 'Paused' };
}
