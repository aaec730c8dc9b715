import type { Assignment, SandboxStatus } from '../crds/index.ts';
import { failpoints } from '../process/failpoints.ts';

/** The places between two effects of the operator at which the crash tests end it, in the sequence of a reconcile. */
export const operatorFailpoints = [
  /** It leads and has done nothing. */
  'term.begun',
  /** A decision is made and nothing of it has happened. */
  'decision.made',
  /** The runner was asked to make ready what is not assigned yet. */
  'preparation.sent',
  /** The status is acknowledged; its Events are not recorded. */
  'status.acknowledged',
  /** As the one before, of a status with which a backup begins, is recorded, is to be removed, and is forgotten. */
  'backup.ordered',
  'backup.recorded',
  'backup.marked',
  'backup.forgotten',
  /** … of the steps of a move: a target is chosen, may start, has started, so that the copy of before may go; or is given up. */
  'move.proposed',
  'move.committed',
  'move.finished',
  'move.returned',
  /** … of one that says that a sandbox is in its backup alone, and releases its copy. */
  'archive.recorded',
  /** … of one that names a copy no more which is proven to be gone. */
  'release.dropped',
  /** The Events are on their way; the orders are not. */
  'events.recorded',
  'orders.sent',
  'finalizer.added',
  /** The copies that a deleted Sandbox leaves behind are noted, and its finalizer is there. */
  'removals.noted',
  'finalizer.removed',
  /** The copies that a runner was to remove are gone and no longer noted. */
  'removals.dropped',
  /** A runner that is back was told which copies to remove. */
  'removals.ordered',
  /** A backup was read back, and nobody knows yet. */
  'registry.verified',
  /** A backup is removed from the registry, and nobody knows yet. */
  'registry.deleted',
] as const;

export type OperatorFailpoint = (typeof operatorFailpoints)[number];

/** Reaches one of them. Always labelled `FAILPOINT:`, so that it is dropped from what is shipped. */
export const failpoint = /* @__PURE__ */ failpoints(operatorFailpoints);

/** Reaches those that an acknowledged status stands for. */
export function reachSteps(before: SandboxStatus, after: SandboxStatus): void {
  FAILPOINT: {
    reachBackupSteps(before.backup, after.backup);
    reachMoveSteps(before.assignment, after.assignment);
    if (after.state === 'Archived' && before.state !== 'Archived') failpoint('archive.recorded');
    if (before.releases.some((one) => !after.releases.some(({ epoch }) => epoch === one.epoch))) failpoint('release.dropped');
  }
}

function reachBackupSteps(before: Backups, after: Backups): void {
  FAILPOINT: {
    const [then, now] = [before?.operation, after?.operation];
    if (now?.state === 'Running' && now.id !== then?.id) failpoint('backup.ordered');
    const [known, left] = [digests(before), digests(after)];
    if (left.some((digest) => !known.includes(digest))) failpoint('backup.recorded');
    if (known.some((digest) => !left.includes(digest))) failpoint('backup.forgotten');
    if (marked(after) > marked(before)) failpoint('backup.marked');
  }
}

function reachMoveSteps(before: Assignment | undefined, after: Assignment | undefined): void {
  FAILPOINT: {
    const [was, is] = [before?.phase, after?.phase];
    if (after?.epoch !== before?.epoch) {
      if (is === 'Prepared') failpoint('move.proposed');
      else if (was === 'Prepared') failpoint('move.returned');
    } else if (was === 'Prepared' && is === 'Committed') failpoint('move.committed');
    else if (before?.previous !== undefined && after?.previous === undefined) failpoint('move.finished');
  }
}

type Backups = SandboxStatus['backup'];

function digests(backup: Backups): readonly string[] {
  return (backup?.history ?? []).map(({ digest }) => digest);
}

function marked(backup: Backups): number {
  return (backup?.history ?? []).filter(({ deletionTime }) => deletionTime !== undefined).length;
}
