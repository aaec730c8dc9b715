import type { BackupRecord, SandboxSpec, SandboxStatus } from '../../crds/index.ts';
import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import type { RegistryResult, RegistryWork, SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { pastTime } from '../lifecycle/time.ts';
import { currentBackup, doubtedBackup, historyOf, newestUsable } from './current.ts';
import { unchanged, withBackup, type BackupStep } from './operation.ts';

/** After a failed try to remove a backup it is tried again this late: nobody waits for it, and a registry may never do it. */
const removalBackOff: Backoff = { initialMs: 60_000, maxMs: 14_400_000 };

/**
 * Backups beyond spec.backup.retain go: marked first, by a patch under the object's resourceVersion, so that nothing can be restored from them any more; then
 * removed from the registry; then forgotten. Never the current one, one that was and is doubted, the newest that was verified, or one that an assignment or a
 * request names.
 */
export function retain(world: SandboxSnapshot, status: SandboxStatus): BackupStep {
  const left = historyOf(status).filter((record) => !isRemoved(world, record));
  const inUse = digestsInUse(world.sandbox.spec, status);
  const excess = left.filter(({ deletionTime }) => deletionTime === undefined).slice(0, -world.sandbox.spec.backup.retain);
  const goes = new Set(excess.map(({ digest }) => digest).filter((digest) => !inUse.has(digest)));
  const time = pastTime(world.now.wall);
  const history = left.map((record) => (goes.has(record.digest) ? { ...record, deletionTime: time } : record));
  const removal = removalWork(
    world,
    history.filter(({ deletionTime }) => deletionTime !== undefined),
  );
  const isSame = history.length === historyOf(status).length && goes.size === 0;
  return { ...unchanged(isSame ? status : withBackup(status, { history })), ...removal };
}

function digestsInUse({ restore }: SandboxSpec, status: SandboxStatus): ReadonlySet<string | undefined> {
  const isAsked = restore !== undefined && restore.requestID !== status.restore?.requestID;
  return new Set([
    currentBackup(status)?.digest,
    newestUsable(status)?.digest,
    doubtedBackup(status)?.digest,
    status.assignment?.source.kind === 'Backup' ? status.assignment.source.digest : undefined,
    isAsked ? restore.digest : undefined,
  ]);
}

/** The work that removes these, and when to try again what failed lately. */
export function removalWork(
  { registry, now, jitter }: SandboxSnapshot,
  records: readonly BackupRecord[],
): Pick<BackupStep, 'registry' | 'lookAgainMs'> {
  const waits = records.map((record) => {
    const result = removalOf(registry, record);
    return { record, wait: result === undefined ? 0 : Math.max(0, result.at + againAfter(result, jitter) - now.monotonic) };
  });
  const work = waits
    .filter(({ wait }) => wait === 0)
    .map(({ record: { repository, digest } }): RegistryWork => ({ kind: 'Delete', repository, digest }));
  const later = waits.map(({ wait }) => (wait === 0 ? removalBackOff.initialMs : wait));
  return { registry: work, lookAgainMs: later.length === 0 ? undefined : Math.min(...later) };
}

function againAfter({ failures }: RegistryResult, jitter: number): number {
  return backoffDelay(removalBackOff, failures, () => jitter);
}

/** It was marked, and the registry has it no more. */
export function isRemoved({ registry }: SandboxSnapshot, record: BackupRecord): boolean {
  const outcome = removalOf(registry, record)?.outcome;
  return record.deletionTime !== undefined && (outcome === 'Deleted' || outcome === 'Missing');
}

export function removalOf(registry: readonly RegistryResult[], { digest, repository }: BackupRecord): RegistryResult | undefined {
  return registry.find(({ work }) => work.kind === 'Delete' && work.digest === digest && work.repository === repository);
}
