import type { Assignment, PreviousCopy, Release, SandboxStatus } from '../../crds/index.ts';
import { assignedCopy, previousOf } from '../assignment/restore.ts';
import { holdsVersion, recordOf } from '../backups/current.ts';
import { asStarting, asWaiting, committed, transitionTo } from './carry-out.ts';
import type { OutcomeOf, Situation } from './outcome.ts';
import { wasSeenRunning } from './observe.ts';
import type { SandboxSnapshot } from './snapshot.ts';
import { pastTime } from './time.ts';

/** The patches of a move: to a target, from one target to the next, to the commit, or back; and of an archive. Pure. */

/** The highest epoch that was ever given. */
export function highestEpochOf({ highestEpoch, assignment }: SandboxStatus): number {
  return Math.max(highestEpoch, assignment?.epoch ?? 0);
}

/**
 * The assignment is left, or begins anew where it is, with a copy before it that nobody has decided about: that one is kept. Whoever drops an assignment or its
 * source begins with this.
 */
export function withPreviousKept(status: SandboxStatus): SandboxStatus {
  const { assignment, superseded } = status;
  if (assignment?.previous === undefined) return status;
  return { ...status, assignment: { ...assignment, previous: undefined }, superseded: [...superseded, assignment.previous] };
}

/** Prepared: nothing of the original copy is touched, and the target may still be given up. */
export function asRestoring(situation: Situation, { runner, agent, record, reason }: OutcomeOf<'Restore'>): SandboxStatus {
  const { world, settled } = situation;
  const isNextTarget = settled.isUnused;
  const status = isNextTarget ? settled.status : withPreviousKept(settled.status);
  const original = isNextTarget ? previousOf(status) : assignedCopy(status);
  const epoch = highestEpochOf(status) + 1;
  const attempts = (status.transition?.attempts ?? 0) + (isNextTarget ? 1 : 0);
  const assignment: Assignment = {
    epoch,
    storeID: agent.storeID,
    bootID: agent.bootID,
    phase: 'Prepared',
    source: { kind: 'Backup', digest: record.digest, repository: record.repository },
    ...(original !== undefined && { previous: original }),
    reason,
    startTime: pastTime(world.now.wall),
    configHash: world.configHash,
  };
  return {
    ...status,
    state: 'Restoring',
    reason: 'Restoring',
    message: `The backup ${record.digest} is being restored on ${runner.name} (${reason}).`,
    runnerName: runner.name,
    prevRunnerName: original === undefined || original.runnerName === runner.name ? status.prevRunnerName : original.runnerName,
    assignment,
    highestEpoch: epoch,
    releases: isNextTarget ? withTargetReleased(status) : status.releases,
    transition: transitionTo('Restoring', world, attempts),
  };
}

/** Committed: it may run, so that only a proof leaves it. */
export function asCommitted(situation: Situation): SandboxStatus {
  const { status } = situation.settled;
  const { assignment } = status;
  if (assignment === undefined) return status;
  return {
    ...committed(situation, status.transition?.attempts ?? 0, 'Starting'),
    assignment: { ...assignment, phase: 'Committed' },
    reason: 'Starting',
    message: `The main program is being started on ${status.runnerName ?? ''}.`,
  };
}

/** Nothing ran in the target: the assignment is the copy of before, under its own epoch, or none. */
export function asGoneBack(situation: Situation, { then }: OutcomeOf<'GoBack'>): SandboxStatus {
  const { world, settled } = situation;
  const { status } = settled;
  const previous = previousOf(status);
  const back: SandboxStatus = {
    ...status,
    state: 'Stopped',
    reason: 'Stopped',
    message: undefined,
    runnerName: previous?.runnerName,
    prevRunnerName: previous === undefined || previous.runnerName === status.runnerName ? status.prevRunnerName : status.runnerName,
    assignment: previous && assignmentOf(world, status, previous),
    highestEpoch: highestEpochOf(status),
    releases: withTargetReleased(status),
  };
  const returned: Situation = { world, settled: { ...settled, status: back } };
  switch (then.kind) {
    case 'Start':
      return asStarting(returned, { kind: 'StartInPlace', agent: then.agent });
    case 'Wait':
      return asWaiting(returned, { kind: 'Wait', reason: then.reason, message: then.message, retry: 'BackOff' });
    case 'Rest':
      return { ...back, transition: undefined };
  }
}

/** What lies on the runner of before. */
function assignmentOf({ fleet, configHash, now }: SandboxSnapshot, status: SandboxStatus, previous: PreviousCopy): Assignment | undefined {
  const { assignment } = status;
  if (assignment === undefined) return undefined;
  const runner = fleet.find(({ name }) => name === previous.runnerName);
  const bootID = runner?.storeID === previous.storeID ? (runner.bootID ?? assignment.bootID) : assignment.bootID;
  const { storeID, epoch } = previous;
  const { reason } = assignment;
  const source: Assignment['source'] = isFromUnseen(status) ? assignment.source : { kind: 'Local' };
  return { epoch, storeID, bootID, phase: 'Committed', source, reason, startTime: pastTime(now.wall), configHash };
}

/** What is restored once more after a target was lost that nobody saw running: an older version than the one that was permitted there. */
function isFromUnseen(status: SandboxStatus): boolean {
  const { reason, source } = status.assignment ?? {};
  const record = recordOf(status, source?.digest ?? '');
  return (
    reason === 'ContentMissing' && status.startTime === undefined && record !== undefined && record.contentVersion < status.contentVersion
  );
}

function withTargetReleased(status: SandboxStatus): readonly Release[] {
  const target = assignedCopy(status);
  return target === undefined ? status.releases : [...status.releases, target];
}

/**
 * The restored copy was seen running, or its exit was: now the copy that it replaces may go, if the very backup that has just been restored has what is in it.
 * Whatever another backup is said to have was not proven by this run: the copy is superseded, stopped and kept, until that one was read back
 * (backups/superseded.ts), or the object is deleted. A restore that was asked for is answered.
 */
export function withRestored(status: SandboxStatus, { sandbox, now }: SandboxSnapshot): SandboxStatus {
  const { assignment, startTime } = status;
  if (assignment?.source.kind !== 'Backup' || startTime !== undefined) return status;
  const { previous, source, reason } = assignment;
  const restored = recordOf(status, source.digest ?? '');
  const isKept = previous !== undefined && restored !== undefined && holdsVersion(restored, previous.contentVersion);
  const { restore } = sandbox.spec;
  const isAnswered = reason === 'RestoreRequested' && restore !== undefined && restore.digest === source.digest;
  const settled = isKept
    ? { ...status, assignment: { ...assignment, previous: undefined }, releases: [...status.releases, previous] }
    : withPreviousKept(status);
  return {
    ...settled,
    ...(isAnswered && {
      restore: { requestID: restore.requestID, digest: restore.digest, completionTime: pastTime(now.wall) },
    }),
  };
}

/** The files are in a backup that was read back, every byte of it: the copy goes in the same patch. */
export function asArchived({ settled }: Situation, { message }: OutcomeOf<'Archive'>): SandboxStatus {
  const status = withPreviousKept(settled.status);
  const copy = assignedCopy(status);
  return {
    ...status,
    state: 'Archived',
    reason: 'Archived',
    message,
    runnerName: undefined,
    prevRunnerName: copy?.runnerName ?? status.prevRunnerName,
    assignment: undefined,
    highestEpoch: highestEpochOf(status),
    releases: copy === undefined ? status.releases : [...status.releases, copy],
    transition: undefined,
  };
}

export function asArchiving({ world, settled: { status } }: Situation, { message }: OutcomeOf<'Archiving'>): SandboxStatus {
  const transition = status.state === 'Archiving' ? status.transition : transitionTo('Archiving', world, status.transition?.attempts ?? 0);
  return { ...status, state: 'Archiving', reason: 'Archiving', message, transition };
}

/** Whether its run was seen to end: each run begins after the end of the one before. */
export function hasEnded(status: SandboxStatus): boolean {
  const { startTime, finishTime } = status;
  return wasSeenRunning(status) && finishTime !== undefined && Date.parse(finishTime) >= Date.parse(startTime ?? '');
}
