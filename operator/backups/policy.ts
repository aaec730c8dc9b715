import type { BackupOperationKind, SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { timeOf } from '../lifecycle/time.ts';
import { currentBackup } from './current.ts';

/** A backup that spec asks for. */
export interface WantedBackup {
  readonly kind: BackupOperationKind;
  /** Request only. */
  readonly requestID?: string;
  /** Wall time from which on it is wanted: in the past, unless it is one of an interval. */
  readonly dueAt: number;
}

/** Why nothing at all can be backed up now. */
export type Hindrance = 'BackupsNotConfigured' | 'NotPossible';

/** Which backup is wanted next of a sandbox in this status: of several the one that matters most. Pure; S1, S2 and spec.backup. */
export function wantedBackup(world: SandboxSnapshot, status: SandboxStatus): WantedBackup | undefined {
  if (world.sandbox.spec.backup.policy === 'Never' || status.contentVersion === 0) return undefined;
  return archiveBackup(status) ?? requestedBackup(world, status) ?? backupOnStop(world, status) ?? backupByInterval(world, status);
}

/** S2: before the last copy goes. */
function archiveBackup(status: SandboxStatus): WantedBackup | undefined {
  return status.state === 'Archiving' && currentBackup(status) === undefined ? { kind: 'Archive', dueAt: 0 } : undefined;
}

/** Once for each value of spec.backup.requestID, whether the sandbox runs or not. */
function requestedBackup({ sandbox: { spec } }: SandboxSnapshot, status: SandboxStatus): WantedBackup | undefined {
  const { requestID } = spec.backup;
  if (requestID === undefined || requestID === status.backup?.requestID) return undefined;
  return isQuiet(status) || status.state === 'Started' ? { kind: 'Request', requestID, dueAt: 0 } : undefined;
}

/** S1: after a stop, and after an end that nothing follows. */
function backupOnStop({ sandbox: { spec } }: SandboxSnapshot, status: SandboxStatus): WantedBackup | undefined {
  const isByStop = spec.backup.policy === 'OnStop' || spec.backup.policy === 'Interval';
  if (!isByStop || !isQuiet(status) || status.state === 'Archiving') return undefined;
  return currentBackup(status) === undefined ? { kind: 'OnStop', dueAt: 0 } : undefined;
}

/** Counted from the last one, or from the start; a failed try counts, too. */
function backupByInterval({ sandbox: { spec } }: SandboxSnapshot, status: SandboxStatus): WantedBackup | undefined {
  if (spec.backup.policy !== 'Interval' || status.state !== 'Started') return undefined;
  const { latest, operation } = status.backup ?? {};
  const times = [status.startTime, latest?.completionTime, operation?.state === 'Failed' ? operation.startTime : undefined];
  const last = Math.max(...times.map((time) => timeOf(time) ?? 0));
  return { kind: 'Interval', dueAt: last + spec.backup.intervalSeconds * 1000 };
}

/** Nothing runs, and nothing is about to. */
function isQuiet({ state, reason }: SandboxStatus): boolean {
  return state === 'Archiving' || state === 'Pending' || (state === 'Stopped' && reason !== 'RestartBackOff');
}

/** Why a backup can not be begun: undefined when its runner can be told. */
export function hindranceOf({ backups, runner }: SandboxSnapshot, status: SandboxStatus): Hindrance | undefined {
  if (backups.repository === undefined) return 'BackupsNotConfigured';
  const { assignment } = status;
  const isThere = runner?.agent?.isComplete === true && runner.name === status.runnerName && runner.agent.storeID === assignment?.storeID;
  return isThere && runner.fencing === undefined && assignment.phase === 'Committed' ? undefined : 'NotPossible';
}
