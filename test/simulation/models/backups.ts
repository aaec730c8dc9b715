import { BackupError } from '../../../agent/backup/backup-error.ts';
import { AttemptError } from '../../../agent/copies/attempt-error.ts';
import type { AttemptSource, BackupProgress, BackupRequest, CopyKey, LocalBackup } from '../../../agent/copies/runtime.ts';
import type { Process } from '../engine/process.ts';
import type { Random } from '../engine/random.ts';
import { readBetween } from './content.ts';
import type { Content } from './content.ts';
import { idOfKey } from './machine.ts';
import type { Machine, StoredCopy } from './machine.ts';
import { NoAnswer, digestOfBackup } from './registry.ts';
import type { PushedBackup, RegistryModel } from './registry.ts';

/** How the runtime's own calls are made. */
export interface RuntimeCalls {
  readonly call: <T>(what: string, latency: readonly [number, number], effect: () => T) => Promise<T>;
  readonly unlessAborted: <T>(signal: AbortSignal, work: Promise<T>) => Promise<T>;
  pause(ms: number): Promise<void>;
  find(key: CopyKey): StoredCopy | undefined;
}

const sizeBytes = 1_000_000;
const retryMs = 500;

/** The backups of one agent's containerd: reading, sending, restoring. */
export class BackupModel {
  readonly #machine: Machine;
  readonly #registry: RegistryModel;
  readonly #calls: RuntimeCalls;
  readonly #who: { readonly name: string; readonly process: Process; readonly random: Random };
  /** What was read and is on this machine only. */
  readonly #local = new Map<string, PushedBackup>();
  #reads = 0;

  constructor(machine: Machine, registry: RegistryModel, process: Process, calls: RuntimeCalls) {
    this.#machine = machine;
    this.#registry = registry;
    this.#calls = calls;
    this.#who = { name: machine.name, process, random: process.random.fork('registry') };
  }

  /** What was read is what was on the disk from the begin to the end, or torn: that nothing starts meanwhile is for the caller to see to. */
  async read(request: BackupRequest, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup> {
    const { key } = request;
    const { call, unlessAborted } = this.#calls;
    signal.throwIfAborted();
    const wasAlive = await unlessAborted(
      signal,
      call('pause', [5, 100], () => {
        const copy = this.#contentful(key);
        this.#machine.pause(copy);
        return copy.task.state === 'Running';
      }),
    );
    try {
      const begin = await unlessAborted(
        signal,
        call('begin of the diff', [5, 100], () => this.#contentful(key).content),
      );
      for (const part of [1, 2]) {
        await unlessAborted(
          signal,
          call('diff', [200, 20_000], () => undefined),
        );
        progress({ bytes: (part * sizeBytes) / 2, totalBytes: 0 });
      }
      return await unlessAborted(
        signal,
        call('end of the diff', [5, 100], () => this.#taken(request, begin, wasAlive)),
      );
    } finally {
      if (wasAlive) await this.#goOn(key);
    }
  }

  /** Two uploads and the manifest that names them. */
  async push(local: LocalBackup, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<void> {
    const { unlessAborted } = this.#calls;
    const backup = this.#local.get(local.name);
    if (backup === undefined) throw new BackupError('BackupFailed', `there is no ${local.name} to send`);
    signal.throwIfAborted();
    try {
      for (const part of [1, 2]) {
        await unlessAborted(
          signal,
          this.#registry.request(this.#who, 'upload', [200, 20_000], () => undefined),
        );
        progress({ bytes: (part * sizeBytes) / 2, totalBytes: sizeBytes });
      }
      await unlessAborted(
        signal,
        this.#registry.request(this.#who, 'put manifest', [20, 500], () => this.#registry.put(backup)),
      );
    } catch (error) {
      if (error instanceof NoAnswer) throw new BackupError('RegistryUnavailable', error.message);
      throw error;
    }
  }

  drop({ name }: LocalBackup): Promise<void> {
    return this.#calls.call('drop backup', [5, 100], () => void this.#local.delete(name));
  }

  resume(key: CopyKey): Promise<void> {
    return this.#calls.call('resume', [3, 60], () => {
      const copy = this.#calls.find(key);
      if (copy !== undefined) this.#machine.resume(copy);
    });
  }

  /** The bytes that a backup holds, every one of them compared with its digest. */
  async pull({ digest, repository }: AttemptSource & { readonly kind: 'Backup' }, progress: (bytes: number) => void): Promise<Content> {
    try {
      const manifest = await this.#registry.request(this.#who, 'get manifest', [20, 500], () => this.#registry.find(repository, digest));
      if (manifest === undefined) throw new AttemptError('BackupNotFound', `the registry has no backup ${digest}`);
      for (const part of [1, 2]) {
        await this.#registry.request(this.#who, 'get blob', [200, 20_000], () => undefined);
        progress((part * sizeBytes) / 2);
      }
      return await this.#registry.request(this.#who, 'last of the blobs', [20, 500], () => {
        switch (this.#registry.conditionOf(repository, digest)) {
          case 'Whole':
            return manifest.content;
          case 'Corrupt':
            throw new AttemptError('BackupCorrupt', `the backup ${digest} is damaged`);
          default:
            throw new AttemptError('BackupNotFound', `the registry lacks a part of the backup ${digest}`);
        }
      });
    } catch (error) {
      if (error instanceof NoAnswer) throw new AttemptError('RegistryUnavailable', error.message);
      throw error;
    }
  }

  #taken(request: BackupRequest, begin: Content | undefined, wasAlive: boolean): LocalBackup {
    const { key, id, repository } = request;
    const copy = this.#contentful(key);
    const end = copy.content;
    if (begin === undefined || end === undefined) throw new BackupError('ContentMissing', `no snapshot of ${idOfKey(key)}`);
    const content = readBetween(begin, end);
    const digest = digestOfBackup(`${key.uid} ${id} ${JSON.stringify(content)}`);
    const name = `${idOfKey(key)}/${id}/${++this.#reads}`;
    this.#local.set(name, { digest, repository, uid: key.uid, id, contentVersion: request.contentVersion, content });
    return { name, request, digest, sizeBytes, takenWhileStopped: !wasAlive && copy.task.state !== 'Running' };
  }

  /** Until it goes on: containerd may be away. */
  async #goOn(key: CopyKey): Promise<void> {
    for (;;) {
      try {
        await this.resume(key);
        return;
      } catch {
        await this.#calls.pause(retryMs);
      }
    }
  }

  #contentful(key: CopyKey): StoredCopy {
    const copy = this.#calls.find(key);
    if (copy?.content === undefined) throw new BackupError('ContentMissing', `no snapshot of ${idOfKey(key)}`);
    return copy;
  }
}
