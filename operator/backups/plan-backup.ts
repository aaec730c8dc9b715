import type { BackupOperation, SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { pastTime, timeOf } from '../lifecycle/time.ts';
import { givenUp, isRead, runningOperation, unchanged, withBackup, withUnverified, type BackupStep } from './operation.ts';
import { hindranceOf, wantedBackup, type WantedBackup } from './policy.ts';

/**
 * What is begun and what is given up, once it is decided what becomes of the sandbox: the last word before the status is written, so that a stop and the
 * backup that follows it are one patch. One backup at a time; a second request waits for its turn.
 */
export function planBackup(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const operation = status.backup?.operation;
  if (operation?.state === 'Running')
    return mayGoOn(world, status, operation)
      ? unchanged(status)
      : again(world, givenUp(withWhatIsLeft(world, status), operation, why(status)));
  const wanted = wantedBackup(world, status);
  if (operation?.state === 'Pending') return retried(world, status, operation, wanted);
  return wanted === undefined ? unchanged(status) : begun(world, status, wanted, 0);
}

/** The files are gone, and the registry may have what was read of them: that is not given up with the rest. */
function withWhatIsLeft(world: SandboxSnapshot, status: SandboxStatus): SandboxStatus {
  return status.reason === 'ContentMissing' ? withUnverified(world, status) : status;
}

/** What is given up may be wanted again at once, of the copy as it is now. */
function again(world: SandboxSnapshot, step: BackupStep): BackupStep {
  const wanted = wantedBackup(world, step.status);
  if (wanted === undefined) return step;
  const next = begun(world, step.status, wanted, 0);
  return { ...next, events: [...step.events, ...next.events] };
}

/** The copy is what it was begun with, or was read already. */
function mayGoOn(world: SandboxSnapshot, status: SandboxStatus, operation: BackupOperation): boolean {
  if (runningOperation(status) === undefined || world.sandbox.spec.backup.policy === 'Never') return false;
  if (isRead(world, operation)) return status.reason !== 'ContentMissing';
  if (status.contentVersion !== operation.contentVersion) return false;
  return status.state === 'Stopped' || status.state === 'Started' || status.state === 'Pending' || status.state === 'Archiving';
}

function why({ state, reason }: SandboxStatus): string {
  const meanwhile = state === 'Error' ? `the sandbox has failed (${reason ?? 'Error'})` : `the sandbox is ${state} now`;
  return `The backup was given up: ${meanwhile}.`;
}

/** It failed before: again when it is due and still wanted; a new request does not wait. */
function retried(world: SandboxSnapshot, status: SandboxStatus, operation: BackupOperation, wanted: WantedBackup | undefined): BackupStep {
  if (wanted === undefined || wanted.dueAt > world.now.wall) return givenUp(status, operation, '');
  const isNewRequest = wanted.requestID !== undefined && wanted.requestID !== operation.requestID;
  const due = timeOf(operation.retryTime) ?? 0;
  if (!isNewRequest && due > world.now.wall) return unchanged(status, due - world.now.wall);
  return begun(world, status, wanted, isNewRequest ? 0 : operation.attempts);
}

function begun(world: SandboxSnapshot, status: SandboxStatus, wanted: WantedBackup, attempts: number): BackupStep {
  const { now, backups } = world;
  if (wanted.dueAt > now.wall) return unchanged(status, wanted.dueAt - now.wall);
  const { assignment, contentVersion } = status;
  if (hindranceOf(world, status) !== undefined || backups.repository === undefined || assignment === undefined) return unchanged(status);
  const id = (status.backup?.lastID ?? 0) + 1;
  const operation: BackupOperation = {
    kind: wanted.kind,
    state: 'Running',
    id,
    ...(wanted.requestID !== undefined && { requestID: wanted.requestID }),
    repository: backups.repository,
    storeID: assignment.storeID,
    epoch: assignment.epoch,
    contentVersion,
    startTime: pastTime(now.wall),
    attempts,
  };
  const note = `Backup ${id} is being made on ${status.runnerName ?? ''} (${wanted.kind}).`;
  return {
    ...unchanged(withBackup(status, { operation, lastID: id }), world.deadlines.backupQuiet),
    events: [{ type: 'Normal', reason: 'BackupRunning', action: 'Backup', note }],
  };
}
