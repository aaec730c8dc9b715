import type { CopyEntry, JournalRecord, JournalState, SandboxEntry } from './record.ts';
import { isRejected } from './reduce.ts';

const day = 86_400_000;
/** How long a removed epoch is remembered, so that an order that comes that late does not bring it back. */
export const tombstoneKeptMs = 7 * day;
/** How long an epoch is remembered of which nothing ever ran and nothing is wanted. */
export const neverStartedKeptMs = 30 * day;

/** The shortest list of records that gives the same state, without what is so old that no order about it can be under way. */
export function compact(state: JournalState, nowMs: number): readonly JournalRecord[] {
  const first: readonly JournalRecord[] =
    state.storeID === '' ? [] : [{ kind: 'Incarnation', storeID: state.storeID, incarnation: state.incarnation }];
  const kept = [...state.sandboxes.values()].map((sandbox) => keep(sandbox, nowMs)).filter((sandbox) => sandbox.copies.length > 0);
  return [...first, ...kept.map((sandbox) => ({ kind: 'Compacted' as const, sandbox }))];
}

function keep(sandbox: SandboxEntry, nowMs: number): SandboxEntry {
  return { ...sandbox, copies: sandbox.copies.filter((copy) => !isForgettable(copy, nowMs)) };
}

function isForgettable(copy: CopyEntry, nowMs: number): boolean {
  if (copy.absentSinceMs !== undefined) return nowMs - copy.absentSinceMs > tombstoneKeptMs;
  const isDone = copy.accepted === undefined || isRejected(copy) || copy.accepted.wanted === 'Stopped';
  return copy.started === 0 && copy.attempt === undefined && isDone && nowMs - copy.touchedMs > neverStartedKeptMs;
}
