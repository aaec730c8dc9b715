import type { Sandbox } from '../../../crds/index.ts';
import type { Condition, PushedBackup } from '../models/registry.ts';

/** What was so when an object went. */
export interface Farewell {
  /** A Runner notes a copy of it, which could not be removed. */
  readonly isNoted: boolean;
  /** When the registry last gave an operator no answer, in virtual time. */
  readonly lastSilence: number;
}

interface Deletion {
  readonly began: number;
  /** Whether the registry may go on having backups of it; undefined while the object is there. */
  readonly mayLeave: boolean | undefined;
}

/** No deletion is over before this with something left; a long grace period only puts it off. The API server's times have whole seconds. */
const deadlineMs = 120_000 - 1_000;

/** Judges what the registry has of objects that were deleted. */
export class DeletionChecks {
  readonly #now: () => number;
  readonly #deletions = new Map<string, Deletion>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The API server acknowledged this object. */
  acknowledged({ metadata: { uid, deletionTimestamp } }: Sandbox): void {
    if (deletionTimestamp === undefined || this.#deletions.has(uid)) return;
    this.#deletions.set(uid, { began: this.#now(), mayLeave: undefined });
  }

  /**
   * The object is gone. Backups may be left when that was asked for; and when it went at its deadline, because the registry did not answer meanwhile or a runner
   * that may have been sending one could not be reached.
   */
  gone({ metadata: { uid }, spec }: Sandbox, { isNoted, lastSilence }: Farewell): void {
    const began = this.#deletions.get(uid)?.began ?? this.#now();
    const isOverdue = this.#now() >= began + deadlineMs;
    const isHindered = isNoted || lastSilence >= began;
    this.#deletions.set(uid, { began, mayLeave: spec.backup.reclaimPolicy === 'Retain' || (isOverdue && isHindered) });
  }

  /** Backups that should not be there any more. */
  leftOf<T extends PushedBackup & { readonly condition: Condition }>(backups: readonly T[]): readonly T[] {
    return backups.filter(({ uid, condition }) => condition !== 'Gone' && this.#deletions.get(uid)?.mayLeave === false);
  }
}
