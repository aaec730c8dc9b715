import type { SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { hasRoomForRelease } from '../assignment/restore.ts';
import { historyOf, holdsVersion } from './current.ts';
import { unchanged, type BackupStep } from './operation.ts';
import { verificationOf } from './verification.ts';

/** Nobody waits for it: what can not be read back now is asked for again this late. */
const againMs = 60_000;

/**
 * A copy that a restore has replaced goes when a backup holds its version and every byte of that backup was read back, at most a minute before. One after the
 * other: reading back is dear, and nobody waits for it. A copy whose version no backup holds stays.
 */
export function freeSuperseded(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  if (isUnseen(status)) return unchanged(status);
  const [first] = status.superseded.flatMap((copy) => {
    const record = historyOf(status).findLast((one) => holdsVersion(one, copy.contentVersion));
    return record === undefined ? [] : [{ copy, record }];
  });
  if (first === undefined || !hasRoomForRelease(status)) return unchanged(status);
  const found = verificationOf(world, first.record, 'Full');
  switch (found.kind) {
    case 'Whole': {
      const superseded = status.superseded.filter((copy) => copy !== first.copy);
      return unchanged({ ...status, superseded, releases: [...status.releases, first.copy] });
    }
    case 'Asked':
      return { ...unchanged(status, againMs), registry: [found.work] };
    case 'Unavailable':
      return { ...unchanged(status, againMs), registry: found.work === undefined ? [] : [found.work] };
    case 'Bad':
      return unchanged(status);
  }
}

/** What was restored was not seen running yet: until then every copy is kept. */
function isUnseen({ assignment, startTime }: SandboxStatus): boolean {
  return assignment?.source.kind === 'Backup' && startTime === undefined;
}
