import type { BackupRecord, SandboxStatus } from '../../crds/index.ts';

/** Which backups of a sandbox count for what: the definitions of docs/adr/0005-backups-and-moves.md, each in one place. */

type Backed = Pick<SandboxStatus, 'backup'>;

export function historyOf({ backup }: Backed): readonly BackupRecord[] {
  return backup?.history ?? [];
}

/** The operator has read it back, and has not decided to remove it since. */
export function isUsable({ verifiedTime, deletionTime }: BackupRecord): boolean {
  return verifiedTime !== undefined && deletionTime === undefined;
}

/** It holds exactly what a copy of this contentVersion has: no process ran while it was taken. */
export function holdsVersion(record: BackupRecord, contentVersion: number): boolean {
  return contentVersion > 0 && isUsable(record) && record.takenWhile === 'Stopped' && record.contentVersion === contentVersion;
}

/** It would hold exactly this version, and was found damaged or missing: which may have been so for a moment only. */
export function isDoubted(record: BackupRecord, contentVersion: number): boolean {
  const { verifiedTime, deletionTime, takenWhile } = record;
  const isOf = contentVersion > 0 && record.contentVersion === contentVersion && takenWhile === 'Stopped';
  return isOf && verifiedTime === undefined && deletionTime === undefined;
}

/** The newest such, when no other backup holds the content as it is. */
export function doubtedBackup(status: Backed & Pick<SandboxStatus, 'contentVersion'>): BackupRecord | undefined {
  if (currentBackup(status) !== undefined) return undefined;
  return historyOf(status).findLast((record) => isDoubted(record, status.contentVersion));
}

/**
 * The backup that allows to move: it holds the content as it is. That there is one proves that nothing runs under this contentVersion, or ever will:
 * each version is started once, and it was over when the backup was taken.
 */
export function currentBackup(status: Backed & Pick<SandboxStatus, 'contentVersion'>): BackupRecord | undefined {
  return historyOf(status).findLast((record) => holdsVersion(record, status.contentVersion));
}

export function newestUsable(status: Backed): BackupRecord | undefined {
  return historyOf(status).findLast(isUsable);
}

export function recordOf(status: Backed, digest: string): BackupRecord | undefined {
  return historyOf(status).find((record) => record.digest === digest);
}
