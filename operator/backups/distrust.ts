import type { SandboxStatus } from '../../crds/index.ts';
import type { SandboxEvent } from '../lifecycle/decision.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { historyOf, isUsable } from './current.ts';
import { unchanged, withBackup, type BackupStep } from './operation.ts';
import { isBad, newestLook } from './verification.ts';

/** A backup that was looked at and is not whole any more counts as verified no more: it allows no move and no removal, and the next stop makes another one. */
export function distrust(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const found = historyOf(status).flatMap((record) => {
    const look = isUsable(record) ? newestLook(world.registry, record, 'Meta') : undefined;
    return look !== undefined && isBad(look.outcome) ? [{ digest: record.digest, message: look.message }] : [];
  });
  if (found.length === 0) return unchanged(status);
  const digests = new Set(found.map(({ digest }) => digest));
  const history = historyOf(status).map((record) => (digests.has(record.digest) ? { ...record, verifiedTime: undefined } : record));
  const events = found.map(({ digest, message }): SandboxEvent => {
    return { type: 'Warning', reason: 'BackupUnverified', action: 'Verify', note: `The backup ${digest} is relied on no more: ${message}` };
  });
  return { ...unchanged(withBackup(status, { history })), events };
}
