import type { CopyKey } from './runtime.ts';

/** What the leader said last about copies that nobody claims, and since when it has said so of each without a break. */
export interface UnclaimedWatch {
  readonly copies: readonly UnclaimedSince[];
  /** Monotonic time, in milliseconds, from which on nothing is known any more. */
  readonly validUntil: number;
}

export interface UnclaimedSince extends CopyKey {
  /** Monotonic, in milliseconds. */
  readonly since: number;
}

/** The watch after the leader has spoken: what it names goes on being unclaimed, or is from now on; all else is claimed. */
export function heard(before: UnclaimedWatch | undefined, copies: readonly CopyKey[], validMs: number, now: number): UnclaimedWatch {
  const known = before === undefined || before.validUntil < now ? [] : before.copies;
  return {
    copies: copies.map(({ uid, epoch }) => ({ uid, epoch, since: known.find((one) => isSame(one, { uid, epoch }))?.since ?? now })),
    validUntil: now + validMs,
  };
}

/** The watch without a copy that an order has just claimed. */
export function claimed(watch: UnclaimedWatch, key: CopyKey): UnclaimedWatch {
  return { ...watch, copies: watch.copies.filter((one) => !isSame(one, key)) };
}

/** The copies that have been unclaimed for `afterMs`, as somebody who still knows says. */
export function abandoned(watch: UnclaimedWatch, now: number, afterMs: number): readonly CopyKey[] {
  return watch.validUntil < now ? [] : watch.copies.filter(({ since }) => since + afterMs <= now);
}

/** Milliseconds until a further copy is abandoned, if the leader goes on saying so; undefined when none will be. */
export function nextAbandoned(watch: UnclaimedWatch, now: number, afterMs: number): number | undefined {
  const waits = watch.copies.map(({ since }) => since + afterMs - now).filter((wait) => wait > 0);
  return waits.length === 0 ? undefined : Math.min(...waits);
}

export function isSame(a: CopyKey, b: CopyKey): boolean {
  return a.uid === b.uid && a.epoch === b.epoch;
}
