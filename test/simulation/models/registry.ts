import { backupTagPrefix } from '../../../crds/names.ts';
import { BerthError } from '../../../process/errors.ts';
import type { Process } from '../engine/process.ts';
import { hash32 } from '../engine/random.ts';
import type { Random } from '../engine/random.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Content } from './content.ts';

/** A manifest with its blobs, as it was pushed. */
export interface PushedBackup {
  readonly digest: string;
  /** Host and path. */
  readonly repository: string;
  readonly uid: string;
  readonly id: number;
  /** What the manifest says of its content. */
  readonly contentVersion: number;
  readonly content: Content;
}

/**
 * What the registry has of it now. Corrupt: one byte of a blob is another one, and every size is right. BlobMissing: the manifest names what is not there.
 * Gone: nobody has the manifest.
 */
export type Condition = 'Whole' | 'Corrupt' | 'BlobMissing' | 'Gone';

/** How it is just now. Faults change it. */
export interface RegistryWeather {
  isDown: boolean;
  /** Probability that a request fails without an effect. */
  failed: number;
  /** Probability that a request fails, and nobody knows whether it had its effect. */
  ambiguous: number;
  /** Everything takes so many times as long. */
  slowness: number;
  /** Runners and operator pods that can not reach it. */
  readonly cutOff: Set<string>;
}

/** Told of what happens to backups in the moment in which it happens. */
export interface RegistryObserver {
  pushed(backup: PushedBackup): void;
  /** Somebody asked for the manifest to be removed; it is there still. */
  deleting(backup: PushedBackup, by: string): void;
  /** Somebody was told that it is whole. */
  verified(backup: PushedBackup, depth: 'Meta' | 'Full', by: string): void;
}

interface Kept {
  readonly backup: PushedBackup;
  condition: Condition;
}

/** Thrown when the registry does not answer; nobody can tell anything by it. */
export class NoAnswer extends BerthError {
  constructor(message: string) {
    super('Unavailable', message);
  }
}

/** The registry that all backups go to. */
export class RegistryModel {
  readonly weather: RegistryWeather = { isDown: false, failed: 0, ambiguous: 0, slowness: 1, cutOff: new Set() };
  readonly #scheduler: Scheduler;
  readonly #observer: RegistryObserver;
  readonly #kept = new Map<string, Kept>();
  readonly #silences = new Map<string, number>();
  readonly #pushListeners: ((backup: PushedBackup) => void)[] = [];

  constructor(scheduler: Scheduler, observer: RegistryObserver) {
    this.#scheduler = scheduler;
    this.#observer = observer;
  }

  /** Everything that was ever pushed, oldest first. */
  get backups(): readonly (PushedBackup & { readonly condition: Condition })[] {
    return [...this.#kept.values()].map(({ backup, condition }) => ({ ...backup, condition }));
  }

  /** When it last gave this runner or operator pod no answer; -Infinity: it always did. */
  lastSilence(name: string): number {
    return this.#silences.get(name) ?? -Infinity;
  }

  /** Told of every manifest in the moment in which it is there. */
  onPushed(listener: (backup: PushedBackup) => void): void {
    this.#pushListeners.push(listener);
  }

  conditionOf(repository: string, digest: string): Condition {
    return this.#kept.get(idOf(repository, digest))?.condition ?? 'Gone';
  }

  find(repository: string, digest: string): PushedBackup | undefined {
    const kept = this.#kept.get(idOf(repository, digest));
    return kept === undefined || kept.condition === 'Gone' ? undefined : kept.backup;
  }

  /** Blobs that are there are not sent once more, whatever is in them. */
  put(backup: PushedBackup): void {
    const id = idOf(backup.repository, backup.digest);
    const before = this.#kept.get(id);
    this.#observer.pushed(backup);
    if (before === undefined || before.condition === 'BlobMissing') this.#kept.set(id, { backup, condition: 'Whole' });
    else if (before.condition === 'Gone') before.condition = 'Whole';
    for (const listener of this.#pushListeners) listener(backup);
  }

  delete(repository: string, digest: string, by: string): 'Deleted' | 'Missing' {
    const kept = this.#kept.get(idOf(repository, digest));
    if (kept === undefined || kept.condition === 'Gone') return 'Missing';
    this.#observer.deleting(kept.backup, by);
    kept.condition = 'Gone';
    return 'Deleted';
  }

  /** Deletes what tags with the prefix name. Returns the digests. */
  sweep(repository: string, tagPrefix: string, by: string): readonly string[] {
    const found = [...this.#kept.values()].map(({ backup }) => backup).filter((backup) => isTagged(backup, repository, tagPrefix));
    return found.filter(({ digest }) => this.delete(repository, digest, by) === 'Deleted').map(({ digest }) => digest);
  }

  /** What a reader finds: sizes only, or every byte. */
  verify(repository: string, digest: string, depth: 'Meta' | 'Full', by: string): 'Whole' | 'Missing' | 'Corrupt' {
    const kept = this.#kept.get(idOf(repository, digest));
    if (kept === undefined || kept.condition === 'Gone' || kept.condition === 'BlobMissing') return 'Missing';
    if (depth === 'Full' && kept.condition === 'Corrupt') return 'Corrupt';
    this.#observer.verified(kept.backup, depth, by);
    return 'Whole';
  }

  /** Something happens to a backup that nobody of Berth did. */
  harm(repository: string, digest: string, condition: Condition): void {
    const kept = this.#kept.get(idOf(repository, digest));
    if (kept?.condition === 'Whole') kept.condition = condition;
  }

  /** One request: its effect is there, or not, whether or not the one who asked lives to hear of it. Rejects with NoAnswer. */
  request<T>(
    who: { readonly name: string; readonly process: Process; readonly random: Random },
    what: string,
    [typical, longest]: readonly [number, number],
    effect: () => T,
  ): Promise<T> {
    const { random, process, name } = who;
    const { weather } = this;
    const isLost = random.chance(weather.ambiguous);
    const isFailed = random.chance(weather.failed);
    const there = random.latency(typical, longest) * weather.slowness;
    return new Promise<T>((resolve, reject) => {
      const fail = (said: string) => {
        this.#silences.set(name, this.#scheduler.now);
        process.arrive(2, () => reject(new NoAnswer(`${what}: ${said}`)));
      };
      this.#scheduler.after(there, () => {
        if (weather.isDown || weather.cutOff.has(name)) {
          fail('the registry does not answer');
          return;
        }
        if (isFailed) {
          fail('the registry failed');
          return;
        }
        try {
          const answer = effect();
          if (isLost) fail('the answer was lost');
          else process.arrive(2, () => resolve(answer));
        } catch (error) {
          const failed = error instanceof Error ? error : new Error(String(error));
          process.arrive(2, () => reject(failed));
        }
      });
    });
  }
}

/** Of a manifest that names the sandbox and the number of the backup beside its bytes. */
export function digestOfBackup(text: string): string {
  return `sha256:${[0, 1, 2, 3, 4, 5, 6, 7].map((part) => hash32(`${part}/${text}`).toString(16).padStart(8, '0')).join('')}`;
}

function isTagged(backup: PushedBackup, repository: string, tagPrefix: string): boolean {
  return backup.repository === repository && `${backupTagPrefix(backup.uid)}${backup.id}`.startsWith(tagPrefix);
}

function idOf(repository: string, digest: string): string {
  return `${repository}@${digest}`;
}
