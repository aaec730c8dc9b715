import { effectiveResources } from '../../crds/index.ts';
import type { AssignmentReason, BackupRecord, PreviousCopy, SandboxStatus } from '../../crds/index.ts';
import { currentBackup, doubtedBackup, isUsable, recordOf } from '../backups/current.ts';
import { verificationOf, type Verification } from '../backups/verification.ts';
import type { SandboxEvent } from '../lifecycle/decision.ts';
import type { Outcome, Situation } from '../lifecycle/outcome.ts';
import type { RegistryWork } from '../lifecycle/snapshot.ts';
import { chooseRunner, type Choice, type PlacementRequest } from './choose-runner.ts';
import type { RunnerView } from './runner-view.ts';

/** What the rules that restore a backup have in common. Nothing here looks at anything but the snapshot and the settled status. */

export type Preference = Pick<PlacementRequest, 'excluded' | 'avoided'>;

export function requestOf({ sandbox, now }: Situation['world'], preference: Preference): PlacementRequest {
  const { spec, metadata } = sandbox;
  return {
    uid: metadata.uid,
    image: spec.image,
    requests: effectiveResources(spec).requests,
    placement: spec.placement,
    now: now.monotonic,
    ...preference,
  };
}

export function waitForRoom(
  { world }: Situation,
  { message, lookAgainAt }: Choice & { readonly kind: 'None' },
): Outcome & { readonly kind: 'Wait' } {
  const lookAgainMs = lookAgainAt === undefined ? undefined : lookAgainAt - world.now.monotonic;
  return { kind: 'Wait', reason: 'NoRunnerAvailable', message, lookAgainMs };
}

/** Two less than a status may have of each: what is begun may have to be given up, and that writes another. */
const maxLeft = 30;

/** Each copy that is left is written down. While so many are, because their runners are away, no other is left. */
export function hasRoomForRelease({ releases }: SandboxStatus): boolean {
  return releases.length < maxLeft;
}

/** Whether another copy may take the place of the assigned one, which is then either released or superseded. */
export function hasRoomForMove(status: SandboxStatus): boolean {
  return hasRoomForRelease(status) && (status.assignment === undefined || status.superseded.length < maxLeft);
}

const toldRunners = 10;

/** No copy can be left now. It goes on when those that were left are gone. */
export function tooManyCopies({ releases, superseded }: SandboxStatus): Outcome & { readonly kind: 'Wait' } {
  const names = [...new Set([...releases, ...superseded].map(({ runnerName }) => runnerName))].toSorted();
  const told = `${names.slice(0, toldRunners).join(', ')}${names.length > toldRunners ? ' and others' : ''}`;
  const counts = `${releases.length} that are to be removed when their runners answer, and ${superseded.length} that restores have replaced and no backup holds`;
  return { kind: 'Wait', reason: 'TooManyCopies', message: `The sandbox has too many earlier copies on ${told}: ${counts}.` };
}

/** The copy to go back to, while another is being restored. */
export function previousOf({ assignment }: SandboxStatus): PreviousCopy | undefined {
  return assignment?.previous;
}

/** The assigned copy, as the one to go back to. */
export function assignedCopy({ runnerName, assignment, contentVersion }: SandboxStatus): PreviousCopy | undefined {
  if (runnerName === undefined || assignment === undefined) return undefined;
  return { runnerName, storeID: assignment.storeID, epoch: assignment.epoch, contentVersion };
}

/** The backup that the assigned copy was restored from, when it was permitted to start and nobody ever saw that it did. */
export function unseenSource(status: SandboxStatus): BackupRecord | undefined {
  const { assignment, startTime } = status;
  if (assignment?.phase !== 'Committed' || assignment.source.kind !== 'Backup' || startTime !== undefined) return undefined;
  const record = recordOf(status, assignment.source.digest ?? '');
  return record !== undefined && isUsable(record) ? record : undefined;
}

/** Restoring this on one of these: undefined when there is none that can, or what is to be waited for first. */
export type Restoring =
  | { readonly kind: 'NoRunner'; readonly choice: Choice & { readonly kind: 'None' } }
  | { readonly kind: 'Ask'; readonly outcome: Outcome }
  | { readonly kind: 'Unverified'; readonly found: Verification & { readonly kind: 'Bad' | 'Unavailable' } }
  | { readonly kind: 'Go'; readonly outcome: Outcome & { readonly kind: 'Restore' } };

/** A runner first, so that the registry is not asked for what can not be done; then a look that is at most a minute old. */
export function restoring(
  { world }: Situation,
  record: BackupRecord,
  reason: AssignmentReason,
  candidates: readonly RunnerView[],
  preference: Preference = {},
): Restoring {
  const choice = chooseRunner(candidates, requestOf(world, preference));
  if (choice.kind === 'None') return { kind: 'NoRunner', choice };
  const found = verificationOf(world, record, 'Meta');
  switch (found.kind) {
    case 'Asked':
      return { kind: 'Ask', outcome: asking(found.work, found.lookAgainMs) };
    case 'Bad':
    case 'Unavailable':
      return { kind: 'Unverified', found };
    case 'Whole':
      return { kind: 'Go', outcome: { kind: 'Restore', runner: choice.runner, agent: choice.agent, record, reason } };
  }
}

/** Nothing is decided before the answer, which wakes the sandbox. */
export function asking(work: RegistryWork, lookAgainMs: number): Outcome {
  return { kind: 'Keep', lookAgainMs, registry: [work] };
}

/** D5 and D6: the current backup on any runner; `otherwise` when there is none, or it is not whole. */
export function restoreCurrent(situation: Situation, reason: AssignmentReason, avoided: string | undefined, otherwise: Outcome): Outcome {
  const record = currentBackup(situation.settled.status);
  return record === undefined ? otherwise : restoreFrom(situation, record, { reason, avoided, otherwise });
}

export interface Restoration {
  readonly reason: AssignmentReason;
  /** The runner that ranks last. */
  readonly avoided: string | undefined;
  /** When the backup is not whole. */
  readonly otherwise: Outcome;
  /** What is told with it. */
  readonly notices?: readonly SandboxEvent[];
}

/** This backup on any runner, after a look at it. */
export function restoreFrom(
  situation: Situation,
  record: BackupRecord,
  { reason, avoided, otherwise, notices = [] }: Restoration,
): Outcome {
  if (!hasRoomForMove(situation.settled.status)) return tooManyCopies(situation.settled.status);
  const tried = restoring(situation, record, reason, situation.world.fleet, { avoided });
  switch (tried.kind) {
    case 'NoRunner':
      return waitForRoom(situation, tried.choice);
    case 'Unverified':
      return tried.found.kind === 'Bad' ? otherwise : registryUnavailable(tried.found);
    case 'Ask':
      return tried.outcome;
    case 'Go':
      return { ...tried.outcome, notices };
  }
}

/** The registry is asked again by itself. */
export function registryUnavailable({ message, work, lookAgainMs }: Verification & { readonly kind: 'Unavailable' }): Outcome {
  return { kind: 'Wait', reason: 'RegistryUnavailable', message, lookAgainMs, registry: work === undefined ? [] : [work] };
}

/** D5: nothing current. */
export function noCurrentBackup(status: SandboxStatus): Outcome & { readonly kind: 'Fail' } {
  const doubted = doubtedBackup(status);
  const why =
    doubted === undefined
      ? 'there is no current backup'
      : `the backup ${doubted.digest} could not be verified; it is looked at again now and then`;
  const message = `No runner has the files of the sandbox, and ${why}. ${olderBackups(status)}`;
  return { kind: 'Fail', reason: 'NoCurrentBackup', message: message.slice(0, 4096), retry: 'OnChange' };
}

const toldBackups = 10;

/** What can be restored by hand, newest first. */
export function olderBackups({ backup }: SandboxStatus): string {
  const known = (backup?.history ?? []).filter(({ deletionTime }) => deletionTime === undefined).toReversed();
  if (known.length === 0) return 'There is no older one.';
  const told = known.slice(0, toldBackups).map(({ digest, completionTime }) => `${digest} (${completionTime})`);
  return `Set spec.restore to start from one of these: ${told.join(', ')}.`;
}
