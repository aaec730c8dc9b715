import type { BackupOperation, BackupRecord, BackupStatus, SandboxReason, SandboxStatus } from '../../crds/index.ts';
import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import type { SandboxEvent } from '../lifecycle/decision.ts';
import type { BackupView, RegistryWork, SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { dueTime, duration, pastTime, timeOf } from '../lifecycle/time.ts';
import { historyOf } from './current.ts';

/** What was made of the backups of a status, and what is to be told and done for it. */
export interface BackupStep {
  readonly status: SandboxStatus;
  readonly events: readonly SandboxEvent[];
  readonly registry: readonly RegistryWork[];
  readonly lookAgainMs: number | undefined;
}

export function unchanged(status: SandboxStatus, lookAgainMs?: number): BackupStep {
  return { status, events: [], registry: [], lookAgainMs };
}

/** Reading everything anew is dear: the first try again is later than that of a start. */
const backupBackOff: Backoff = { initialMs: 5_000, maxMs: 300_000 };

export function withBackup(status: SandboxStatus, change: Partial<BackupStatus>): SandboxStatus {
  return { ...status, backup: { lastID: 0, history: [], ...status.backup, ...change } };
}

/** The operation that runs, if it is about the copy that is assigned. */
export function runningOperation({ backup, assignment }: SandboxStatus): BackupOperation | undefined {
  const operation = backup?.operation;
  if (operation?.state !== 'Running') return undefined;
  return operation.storeID === assignment?.storeID && operation.epoch === assignment.epoch ? operation : undefined;
}

/** What the agent says of the very operation. */
export function viewOf({ copy }: SandboxSnapshot, { id }: BackupOperation): BackupView | undefined {
  return copy?.backup?.id === id ? copy.backup : undefined;
}

/** The files are being read: nothing may be started or moved. */
export function isDiffing(world: SandboxSnapshot, status: SandboxStatus): boolean {
  const operation = runningOperation(status);
  return operation !== undefined && viewOf(world, operation)?.phase === 'Diffing';
}

/** It was read: what becomes of the copy now does not touch it any more. */
export function isRead(world: SandboxSnapshot, operation: BackupOperation): boolean {
  const phase = viewOf(world, operation)?.phase;
  return phase === 'Pushing' || phase === 'Done';
}

/** One less than the object may have. */
const maxRecords = 99;

/** Of those that are to be removed and can not be, the oldest are forgotten before the object is full. */
export function withRoom(history: readonly BackupRecord[]): readonly BackupRecord[] {
  if (history.length < maxRecords) return history;
  const oldest = history.find(({ deletionTime }) => deletionTime !== undefined) ?? history[0];
  return withRoom(history.filter((record) => record !== oldest));
}

/**
 * The registry has what this try made of a stopped sandbox, and nobody has found it whole yet: it is recorded without being relied on, and looked at again for
 * as long as no other backup holds this version (distrust.ts): it may be all that there is. Until then its size is what the runner says.
 */
export function withUnverified(world: SandboxSnapshot, status: SandboxStatus): SandboxStatus {
  const operation = runningOperation(status);
  const view = operation && viewOf(world, operation);
  if (operation === undefined || view?.phase !== 'Done' || historyOf(status).some(({ digest }) => digest === view.digest)) return status;
  if (takenWhile(status, operation, view) !== 'Stopped') return status;
  const { repository, contentVersion } = operation;
  const { digest, sizeBytes } = view;
  const completionTime = pastTime(world.now.wall);
  const record: BackupRecord = { digest, repository, contentVersion, takenWhile: 'Stopped', sizeBytes, completionTime };
  return withBackup(status, { history: [...withRoom(historyOf(status)), record] });
}

/** What runs under the very version that was read was not stopped meanwhile, whatever is said. */
export function takenWhile(
  { state, contentVersion }: SandboxStatus,
  operation: BackupOperation,
  view: BackupView,
): BackupRecord['takenWhile'] {
  const runs = state === 'Started' || state === 'Stopping';
  return runs && contentVersion === operation.contentVersion ? 'Paused' : view.takenWhile;
}

/** This try is over: another one, under another number, is due after a wait. */
export function failedTry(
  world: SandboxSnapshot,
  status: SandboxStatus,
  operation: BackupOperation,
  reason: SandboxReason,
  message: string,
): BackupStep {
  const attempts = operation.attempts + 1;
  const wait = backoffDelay(backupBackOff, attempts, () => world.jitter);
  const failed: BackupOperation = {
    ...operation,
    state: 'Pending',
    attempts,
    retryTime: dueTime(world.now.wall + wait),
    bytes: undefined,
    progressTime: undefined,
    reason,
    message: message.slice(0, 1024),
  };
  const note = `${message} It is tried again after a wait of ${duration(wait)}.`;
  return {
    ...unchanged(withBackup(status, { operation: failed }), wait),
    events: [{ type: 'Warning', reason: 'BackupFailed', action: 'Backup', note }],
  };
}

/** It is not wanted any more, or can not be gone on with: nothing of it is kept. What it failed by before stays told. */
export function givenUp(status: SandboxStatus, operation: BackupOperation, message: string): BackupStep {
  const wasRunning = operation.state === 'Running';
  const reason = wasRunning ? 'BackupGivenUp' : operation.reason;
  const ended: BackupOperation = {
    ...operation,
    state: 'Failed',
    retryTime: undefined,
    bytes: undefined,
    progressTime: undefined,
    reason,
    message: wasRunning ? message : operation.message,
  };
  return {
    ...unchanged(withBackup(status, { operation: ended })),
    events: wasRunning ? [{ type: 'Normal', reason: 'BackupGivenUp', action: 'Backup', note: message }] : [],
  };
}

/** Milliseconds until a running backup is overdue, 0 when it is. Bytes that move extend it, and nothing else does; what waits for its turn has only the whole time. */
export function backupTimeLeft(world: SandboxSnapshot, operation: BackupOperation): number {
  const { now, deadlines, patientUntil } = world;
  const since = timeOf(operation.startTime) ?? now.wall;
  const view = viewOf(world, operation);
  const isMoving = view === undefined || view.phase === 'Diffing' || view.phase === 'Pushing';
  const moved = view === undefined ? since : now.wall - (now.monotonic - view.progressAt);
  const quiet = isMoving ? moved + deadlines.backupQuiet : Infinity;
  const patience = Math.max(0, patientUntil - now.monotonic);
  return Math.max(0, patience, Math.min(quiet, since + deadlines.backupTotal) - now.wall);
}
