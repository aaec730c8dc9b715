import { setTimeout as delay } from 'node:timers/promises';
import { AttemptError } from '../../../agent/copies/attempt-error.ts';
import type {
  Attempt,
  BackupRequest,
  CopyKey,
  CopyNote,
  CopyRuntime,
  ExitStatus,
  LocalBackup,
  PreparedCopy,
  PrepareProgress,
  RuntimeCopy,
  StartedCopy,
} from '../../../agent/copies/runtime.ts';
import { BerthError } from '../../../process/errors.ts';
import { sha256Hex } from '../../../process/digest.ts';

/** What one call takes, in milliseconds: about what containerd needs. */
const callMs = 5;

/** A containerd that holds its copies in memory and runs nothing. Every call succeeds; processes end when they are stopped. */
export class ModelledContainerd implements CopyRuntime {
  readonly #copies = new Map<string, RuntimeCopy>();
  readonly #images = new Set<string>();
  readonly #bootID: string;

  constructor(bootID: string) {
    this.#bootID = bootID;
  }

  async list(): Promise<readonly RuntimeCopy[]> {
    await delay(callMs);
    return [...this.#copies.values()];
  }

  async images(): Promise<readonly string[]> {
    await delay(callMs);
    return [...this.#images];
  }

  async prepare(attempt: Attempt, progress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<PreparedCopy> {
    const { key, namespace, name, source, config } = attempt;
    const baseDigest = `sha256:${sha256Hex(config.image)}`;
    await delay(callMs, undefined, { signal });
    const present = this.#copies.get(idOf(key));
    if (source.kind === 'Local' && present === undefined) throw new AttemptError('ContentMissing', `there is no snapshot of ${name}`);
    if (present?.task.state === 'Running') throw new BerthError('Busy', `${name} runs`);
    this.#images.add(config.image);
    this.#copies.set(idOf(key), {
      note: { order: 0, contentVersion: 0 },
      ...present,
      ...{ key, namespace, name, configHash: config.hash, baseDigest, requests: config.requests },
      hasContent: true,
      bootID: this.#bootID,
      task: { state: 'None' },
    });
    progress({ phase: 'CreatingTask', bytes: 0, totalBytes: 0 });
    await delay(callMs, undefined, { signal });
    this.#change(key, { task: { state: 'Created' } });
    return { baseDigest };
  }

  async start(key: CopyKey): Promise<StartedCopy> {
    await delay(callMs);
    if (this.#copies.get(idOf(key))?.task.state !== 'Created') throw new BerthError('NoTask', `${idOf(key)} has no created task`);
    const startTimeMs = Date.now();
    this.#change(key, { task: { state: 'Running', startTimeMs } });
    return { startTimeMs };
  }

  async stop(key: CopyKey): Promise<ExitStatus | undefined> {
    await delay(callMs);
    const wasRunning = this.#copies.get(idOf(key))?.task.state === 'Running';
    this.#change(key, { task: { state: 'None' } });
    return wasRunning ? { code: 143, signal: 15, oomKilled: false, finishTimeMs: Date.now(), lost: false } : undefined;
  }

  async remove(key: CopyKey): Promise<void> {
    await delay(callMs);
    this.#copies.delete(idOf(key));
  }

  async readBackup(request: BackupRequest): Promise<LocalBackup> {
    await delay(callMs);
    const { key, id } = request;
    const name = `${idOf(key)}/${id}`;
    const takenWhileStopped = this.#copies.get(idOf(key))?.task.state !== 'Running';
    return { name, request, digest: `sha256:${sha256Hex(name)}`, sizeBytes: 1, takenWhileStopped };
  }

  async pushBackup(): Promise<void> {
    await delay(callMs);
  }

  async dropBackup(): Promise<void> {
    await delay(callMs);
  }

  async resume(): Promise<void> {
    await delay(callMs);
  }

  async annotate(key: CopyKey, note: CopyNote): Promise<void> {
    await delay(callMs);
    this.#change(key, { note });
  }

  subscribe(): void {
    // Nothing happens here that the agent has not asked for, so that there is nothing to tell.
  }

  #change(key: CopyKey, change: Partial<RuntimeCopy>): void {
    const copy = this.#copies.get(idOf(key));
    if (copy !== undefined) this.#copies.set(idOf(key), { ...copy, ...change });
  }
}

function idOf({ uid, epoch }: CopyKey): string {
  return `${uid}/${epoch}`;
}
