import type { BackupOperation, BackupOperationKind, SandboxState, SandboxStatus } from '../../crds/index.ts';
import { timeOf } from '../lifecycle/time.ts';

/** What one acknowledged change of a status adds to the metrics. */
export type Sample =
  /** A restore from a backup that ended, on whichever runner: a move, or a start of what lay on none. One that failed counts as nothing else. */
  | { readonly kind: 'Migration'; readonly reason: string; readonly result: 'Succeeded' | 'Failed' | 'Withdrawn' }
  /** A target that was given up for another one: the migration goes on. */
  | { readonly kind: 'TargetLost'; readonly reason: string }
  /** A backup is on a runner, ready to run. */
  | { readonly kind: 'Restore'; readonly seconds: number; readonly bytes: number | undefined }
  | { readonly kind: 'Backup'; readonly of: BackupOperationKind; readonly result: 'Failed' | 'GivenUp'; readonly reason: string }
  | {
      readonly kind: 'Backup';
      readonly of: BackupOperationKind;
      readonly result: 'Completed';
      readonly seconds: number;
      readonly bytes: number;
    }
  /** A state was left. */
  | { readonly kind: 'State'; readonly state: SandboxState; readonly seconds: number };

/** Read from the two statuses alone, so that what is counted is what was stored, once. `now` in milliseconds since the epoch. */
export function samplesOf(before: SandboxStatus, after: SandboxStatus, now: number): readonly Sample[] {
  return [...migration(before, after), ...restore(before, after, now), ...backup(before, after, now), ...stateLeft(before, after, now)];
}

function migration(before: SandboxStatus, after: SandboxStatus): readonly Sample[] {
  const { assignment } = before;
  if (assignment?.source.kind !== 'Backup' || !isUnseen(before)) return [];
  const { reason } = assignment;
  if (after.assignment?.epoch === assignment.epoch) return isUnseen(after) ? [] : [{ kind: 'Migration', reason, result: 'Succeeded' }];
  if (after.assignment?.source.kind === 'Backup') return [{ kind: 'TargetLost', reason }];
  return [{ kind: 'Migration', reason, result: after.state === 'Stopped' ? 'Withdrawn' : 'Failed' }];
}

/** The restored copy was not seen running yet. What is only prepared has the times of the copy before. */
function isUnseen({ assignment, startTime }: SandboxStatus): boolean {
  return assignment?.phase === 'Prepared' || startTime === undefined;
}

function restore(before: SandboxStatus, after: SandboxStatus, now: number): readonly Sample[] {
  const { assignment } = before;
  const isOver = assignment?.phase === 'Prepared' && after.assignment?.phase === 'Committed' && after.assignment.epoch === assignment.epoch;
  if (!isOver) return [];
  const bytes = before.backup?.history.find(({ digest }) => digest === assignment.source.digest)?.sizeBytes;
  return [{ kind: 'Restore', seconds: secondsSince(assignment.startTime, now), bytes }];
}

function backup(before: SandboxStatus, after: SandboxStatus, now: number): readonly Sample[] {
  const operation = before.backup?.operation;
  if (operation?.state !== 'Running') return [];
  const next = after.backup?.operation;
  if (next?.id === operation.id && next.state === 'Running') return [];
  const known = new Set(before.backup?.history.map(({ digest }) => digest));
  const record = after.backup?.history.find(({ digest, verifiedTime }) => !known.has(digest) && verifiedTime !== undefined);
  if (record !== undefined)
    return [
      { kind: 'Backup', of: operation.kind, result: 'Completed', seconds: secondsSince(operation.startTime, now), bytes: record.sizeBytes },
    ];
  return [{ kind: 'Backup', of: operation.kind, ...unfinished(operation, next) }];
}

function unfinished(
  { id }: BackupOperation,
  next: BackupOperation | undefined,
): { readonly result: 'Failed' | 'GivenUp'; readonly reason: string } {
  const isTriedAgain = next?.id === id && next.state === 'Pending';
  return isTriedAgain ? { result: 'Failed', reason: next.reason ?? '' } : { result: 'GivenUp', reason: 'BackupGivenUp' };
}

function stateLeft(before: SandboxStatus, after: SandboxStatus, now: number): readonly Sample[] {
  const since = before.state === after.state ? undefined : enteredAt(before);
  return since === undefined ? [] : [{ kind: 'State', state: before.state, seconds: secondsSince(since, now) }];
}

/** When the state began, as far as the status tells. */
function enteredAt({ state, transition, startTime, finishTime }: SandboxStatus): string | undefined {
  if (state === 'Started') return startTime;
  return state === 'Stopped' ? finishTime : transition?.startTime;
}

function secondsSince(time: string, now: number): number {
  return Math.max(0, now - (timeOf(time) ?? now)) / 1000;
}
