import type { BackupRecord, SandboxStatus } from '../../crds/index.ts';
import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import type { SandboxEvent } from '../lifecycle/decision.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { pastTime } from '../lifecycle/time.ts';
import { doubtedBackup, historyOf, holdsVersion, isDoubted, isUsable } from './current.ts';
import { unchanged, withBackup, type BackupStep } from './operation.ts';
import { isBad, newestLook, verificationOf } from './verification.ts';

/**
 * A backup that was looked at and is not whole any more counts as verified no more: it allows no move and no removal, and the next stop makes another one. A
 * registry may be wrong for a moment: it is relied on again when every byte of it was read back, at most a minute before.
 */
export function distrust(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const judged = historyOf(status).map((record) => judge(world, record));
  const events = judged.flatMap(({ event }) => (event === undefined ? [] : [event]));
  if (events.length === 0) return unchanged(status);
  return { ...unchanged(withBackup(status, { history: judged.map(({ record }) => record) })), events };
}

interface Judged {
  readonly record: BackupRecord;
  readonly event?: SandboxEvent;
}

function judge(world: SandboxSnapshot, record: BackupRecord): Judged {
  const { digest } = record;
  if (isUsable(record)) {
    const look = newestLook(world.registry, record, 'Meta');
    if (look === undefined || !isBad(look.outcome)) return { record };
    const note = `The backup ${digest} is relied on no more: ${look.message}`;
    return {
      record: { ...record, verifiedTime: undefined },
      event: { type: 'Warning', reason: 'BackupUnverified', action: 'Verify', note },
    };
  }
  if (record.deletionTime !== undefined) return { record };
  const found = verificationOf(world, record, 'Full');
  if (found.kind !== 'Whole') return { record };
  const note = `The backup ${digest} is relied on: every byte of it was read back.`;
  const event: SandboxEvent = { type: 'Normal', reason: 'BackupVerified', action: 'Verify', note };
  return { record: { ...record, sizeBytes: found.sizeBytes, verifiedTime: pastTime(world.now.wall) }, event };
}

/** A damaged backup seldom becomes whole again, and reading it back is dear. */
const doubtBackOff: Backoff = { initialMs: 60_000, maxMs: 3_600_000 };

/**
 * What was found damaged is looked at again, every byte of it, less and less often, for as long as no other backup holds the content as it is or a copy that
 * was replaced: it may be all that is left, whether the sandbox is to be started or stays archived.
 */
export function reconsider(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const doubted = doubtedBackup(status) ?? doubtedOfSuperseded(status);
  if (doubted === undefined) return unchanged(status);
  const { digest, repository, contentVersion } = doubted;
  const look = newestLook(world.registry, doubted, 'Full');
  const wait = look === undefined ? 0 : look.at + backoffDelay(doubtBackOff, look.failures, () => world.jitter) - world.now.monotonic;
  if (wait > 0) return unchanged(status, wait);
  return {
    ...unchanged(status, doubtBackOff.initialMs),
    registry: [{ kind: 'Verify', depth: 'Full', repository, digest, contentVersion }],
  };
}

function doubtedOfSuperseded(status: SandboxStatus): BackupRecord | undefined {
  const lacking = status.superseded.filter(({ contentVersion }) => !historyOf(status).some((one) => holdsVersion(one, contentVersion)));
  return historyOf(status).findLast((record) => lacking.some(({ contentVersion }) => isDoubted(record, contentVersion)));
}
