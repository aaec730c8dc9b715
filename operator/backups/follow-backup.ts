import type { BackupOperation, BackupRecord, SandboxStatus } from '../../crds/index.ts';
import { reasonOf, sentence } from '../lifecycle/blame.ts';
import type { BackupView, SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { pastTime, timeOf } from '../lifecycle/time.ts';
import { historyOf } from './current.ts';
import {
  backupTimeLeft,
  failedTry,
  givenUp,
  takenWhile,
  unchanged,
  viewOf,
  withBackup,
  withRoom,
  withUnverified,
  type BackupStep,
} from './operation.ts';
import { verificationOf } from './verification.ts';

/** Bytes are written into the status this often at most. */
export const bytesEveryMs = 15_000;

/** What the facts make of the backup that runs: how far it is, recorded, or failed. Decides nothing new; before the sandbox itself is decided. */
export function followBackup(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const operation = status.backup?.operation;
  if (operation?.state !== 'Running') return unchanged(status);
  if (operation.storeID !== status.assignment?.storeID || operation.epoch !== status.assignment.epoch) {
    return givenUp(status, operation, 'The backup was given up: the sandbox has another copy now.');
  }
  const view = viewOf(world, operation);
  if (view?.phase === 'Failed') {
    return failedTry(world, status, operation, reasonOf(view.reason), sentence(view.message, `The runner says ${view.reason}.`));
  }
  const left = backupTimeLeft(world, operation);
  if (left === 0) return failedTry(world, withUnverified(world, status), operation, 'DeadlineExceeded', overdue(status, view));
  if (view?.phase === 'Done') return verified(world, status, operation, view);
  return view === undefined ? unchanged(status, left) : underWay(world, status, operation, view);
}

/** The agent says that it is done: the operator looks for itself before it is a record. */
function verified(world: SandboxSnapshot, status: SandboxStatus, operation: BackupOperation, view: BackupView): BackupStep {
  const { digest } = view;
  const { repository, contentVersion } = operation;
  const found = verificationOf(world, { digest, repository, contentVersion }, 'Meta');
  switch (found.kind) {
    case 'Whole':
      return recorded(world, status, operation, view, found.sizeBytes);
    case 'Bad':
      return failedTry(world, status, operation, 'BackupUnverified', found.message);
    case 'Asked':
      return { ...unchanged(status, found.lookAgainMs), registry: [found.work] };
    case 'Unavailable': {
      const told = withBackup(status, { operation: { ...operation, reason: 'RegistryUnavailable', message: found.message } });
      return { ...unchanged(told, found.lookAgainMs), registry: found.work === undefined ? [] : [found.work] };
    }
  }
}

/** `sizeBytes`: what the registry has, whatever its runner says. */
function recorded(
  world: SandboxSnapshot,
  status: SandboxStatus,
  operation: BackupOperation,
  view: BackupView,
  sizeBytes: number,
): BackupStep {
  const { digest } = view;
  const { repository, contentVersion, requestID } = operation;
  const time = pastTime(world.now.wall);
  const latest: BackupRecord = {
    digest,
    repository,
    contentVersion,
    takenWhile: takenWhile(status, operation, view),
    sizeBytes,
    completionTime: time,
  };
  const others = withRoom(historyOf(status).filter((one) => one.digest !== digest));
  const next = withBackup(status, {
    latest,
    operation: undefined,
    history: [...others, { ...latest, verifiedTime: time }],
    ...(requestID !== undefined && { requestID }),
  });
  const note = `The backup ${digest} of ${sizeBytes} bytes is whole.`;
  return { ...unchanged(next), events: [{ type: 'Normal', reason: 'BackupCompleted', action: 'Backup', note }] };
}

function underWay(world: SandboxSnapshot, status: SandboxStatus, operation: BackupOperation, view: BackupView): BackupStep {
  const left = backupTimeLeft(world, operation);
  const hasReason = view.reason !== '';
  const told: BackupOperation = {
    ...operation,
    reason: hasReason ? reasonOf(view.reason) : undefined,
    message: hasReason ? sentence(view.message, `The runner says ${view.reason}.`) : undefined,
  };
  const since = timeOf(operation.progressTime ?? operation.startTime) ?? 0;
  const isDue = view.bytes !== (operation.bytes ?? 0) && world.now.wall - since >= bytesEveryMs;
  const next = isDue ? { ...told, bytes: view.bytes, progressTime: pastTime(world.now.wall) } : told;
  return unchanged(withBackup(status, { operation: next }), left);
}

function overdue({ runnerName = '' }: SandboxStatus, view: BackupView | undefined): string {
  const what =
    view === undefined
      ? 'did not begin with the backup'
      : view.phase === 'Done'
        ? 'made a backup that could not be verified'
        : 'did not finish the backup';
  return `The runner ${runnerName} ${what} by the deadline.`;
}
