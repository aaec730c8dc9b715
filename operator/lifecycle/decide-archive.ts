import { runnerAway } from '../assignment/decide-start.ts';
import { targetWithdrawn } from '../assignment/decide-target.ts';
import { hasRoomForRelease, noCurrentBackup, tooManyCopies } from '../assignment/restore.ts';
import { currentBackup } from '../backups/current.ts';
import { runningOperation } from '../backups/operation.ts';
import { verificationOf } from '../backups/verification.ts';
import { backingOff, neverStarted, stopRunning, stopUnderWay } from './decide-stop.ts';
import { firstOf, type Outcome, type Situation } from './outcome.ts';
import { awaitingProof, contentMissingAndNotCurrent, underWay } from './shared-rules.ts';
import { timeLeft } from './deadlines.ts';
import { timeOf } from './time.ts';

/** How a sandbox comes to be in a backup alone. Pure; row S2 of docs/assignment.md, first match wins. */
export function decideArchive(situation: Situation): Outcome {
  return firstOf(situation, [
    archived,
    targetWithdrawn, // D2
    contentMissingAndNotCurrent, // D6
    neverStarted,
    stopRunning, // S1
    stopUnderWay,
    awaitingProof,
    nothingToArchive,
    backingOff,
    notConfigured,
    archivingOverdue,
    backupFailing,
    notBackedUp,
    readBack,
  ]);
}

function archived({ settled: { status } }: Situation): Outcome | undefined {
  return status.state === 'Archived' ? { kind: 'Keep' } : undefined;
}

/** It has never run: there are no files. */
function nothingToArchive({ settled: { status } }: Situation): Outcome | undefined {
  if (status.contentVersion > 0) return undefined;
  return hasRoomForRelease(status) ? { kind: 'Archive', message: 'The sandbox has no files yet.' } : tooManyCopies(status);
}

function notConfigured({ world, settled: { status } }: Situation): Outcome | undefined {
  if (world.backups.repository !== undefined || currentBackup(status) !== undefined) return undefined;
  const message = 'The sandbox can not be archived: the operator has no repository for backups.';
  return { kind: 'Fail', reason: 'BackupsNotConfigured', message, retry: 'OnChange' };
}

function archivingOverdue(situation: Situation): Outcome | undefined {
  const isOverdue = situation.settled.status.state === 'Archiving' && timeLeft(situation.world) === 0;
  return isOverdue ? underWay(situation) : undefined;
}

/** The backup that it needs has failed, and the next try is due later. */
function backupFailing({ world, settled: { status } }: Situation): Outcome | undefined {
  const operation = status.backup?.operation;
  if (currentBackup(status) !== undefined || operation?.state !== 'Pending') return undefined;
  if ((timeOf(operation.retryTime) ?? 0) <= world.now.wall) return undefined;
  return { kind: 'Fail', reason: 'BackupFailed', message: operation.message ?? 'The backup failed.', retry: 'OnChange' };
}

/** Not current: back up, on the runner that has the files. */
function notBackedUp(situation: Situation): Outcome | undefined {
  const { status } = situation.settled;
  if (currentBackup(status) !== undefined) return undefined;
  if (status.runnerName === undefined) return noCurrentBackup(status);
  const away = runningOperation(status) === undefined ? runnerAway(situation) : undefined;
  return away ?? { kind: 'Archiving', message: 'The sandbox is being backed up.' };
}

/** Current: every byte is read back before the copy goes. Where there is no copy, nothing is removed. */
function readBack({ world, settled: { status } }: Situation): Outcome | undefined {
  const record = currentBackup(status);
  if (record === undefined) return { kind: 'Keep' };
  const message = `The files of the sandbox are in the backup ${record.digest} alone.`;
  if (status.runnerName === undefined) return { kind: 'Archive', message };
  if (!hasRoomForRelease(status)) return tooManyCopies(status);
  const found = verificationOf(world, record, 'Full');
  switch (found.kind) {
    case 'Whole':
      return { kind: 'Archive', message };
    case 'Asked':
      return {
        kind: 'Archiving',
        message: `The backup ${record.digest} is being read back.`,
        registry: [found.work],
        lookAgainMs: found.lookAgainMs,
      };
    case 'Unavailable':
      return { kind: 'Fail', reason: 'RegistryUnavailable', message: found.message, retry: 'BackOff' };
    case 'Bad':
      return { kind: 'Fail', reason: 'BackupUnverified', message: found.message, retry: 'BackOff' };
  }
}
