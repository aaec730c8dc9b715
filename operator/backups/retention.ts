import { backupTagPrefix, type BackupRecord, type SandboxSpec, type SandboxStatus } from '../../crds/index.ts';
import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import type { RegistryResult, RegistryWork, SandboxSnapshot } from '../lifecycle/snapshot.ts';
import { pastTime } from '../lifecycle/time.ts';
import { currentBackup, doubtedBackup, historyOf, isUsable, newestUsable } from './current.ts';
import { unchanged, withBackup, type BackupStep } from './operation.ts';
import { workKey } from './registry-work.ts';

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
  const excess = beyond(left, world.sandbox.spec.backup.retain);
  const goes = new Set(excess.map(({ digest }) => digest).filter((digest) => !inUse.has(digest)));
  const time = pastTime(world.now.wall);
  const history = left.map((record) => (goes.has(record.digest) ? { ...record, deletionTime: time } : record));
  const removal = removalWork(world, history.filter(({ deletionTime }) => deletionTime !== undefined).map(deletionOf));
  const isSame = history.length === historyOf(status).length && goes.size === 0;
  return { ...unchanged(isSame ? status : withBackup(status, { history })), ...removal };
}

/** The oldest beyond so many. What could not be verified takes no place from what was. */
function beyond(records: readonly BackupRecord[], most: number): readonly BackupRecord[] {
  const kept = records.filter(({ deletionTime }) => deletionTime === undefined);
  return [kept.filter(isUsable), kept.filter((record) => !isUsable(record))].flatMap((some) => some.slice(0, -most));
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

/** Of these removals those that are due, and when to try again what failed lately. */
export function removalWork(
  { registry, now, jitter }: SandboxSnapshot,
  works: readonly RegistryWork[],
): Pick<BackupStep, 'registry' | 'lookAgainMs'> {
  const waits = works.map((work) => {
    const result = resultOf(registry, work);
    return { work, wait: result === undefined ? 0 : Math.max(0, result.at + againAfter(result, jitter) - now.monotonic) };
  });
  const due = waits.filter(({ wait }) => wait === 0).map(({ work }) => work);
  const later = waits.map(({ wait }) => (wait === 0 ? removalBackOff.initialMs : wait));
  return { registry: due, lookAgainMs: later.length === 0 ? undefined : Math.min(...later) };
}

export function deletionOf({ repository, digest }: BackupRecord): RegistryWork {
  return { kind: 'Delete', repository, digest };
}

function againAfter({ failures }: RegistryResult, jitter: number): number {
  return backoffDelay(removalBackOff, failures, () => jitter);
}

/** It was marked, and the registry has it no more. */
export function isRemoved({ registry }: SandboxSnapshot, record: BackupRecord): boolean {
  return record.deletionTime !== undefined && isRemovalDone(registry, deletionOf(record));
}

/** The registry has no more of what the work removes. */
export function isRemovalDone(registry: readonly RegistryResult[], work: RegistryWork): boolean {
  const outcome = resultOf(registry, work)?.outcome;
  return outcome === 'Deleted' || outcome === 'Missing';
}

/** What came of the newest try of the very work. */
export function resultOf(registry: readonly RegistryResult[], work: RegistryWork): RegistryResult | undefined {
  return registry.find((result) => workKey(result.work) === workKey(work));
}

/**
 * What nobody has recorded: an operator may end, or lose sight of a runner, between a push and its record. It can be found by its tag alone, and is looked for
 * where the backups of this sandbox went.
 */
export function sweepsOf({ sandbox: { metadata }, backups }: SandboxSnapshot, status: SandboxStatus): readonly RegistryWork[] {
  const { lastID = 0, operation } = status.backup ?? {};
  const named = [...historyOf(status), ...(operation === undefined ? [] : [operation])].map(({ repository }) => repository);
  const configured = lastID > 0 && backups.repository !== undefined ? [backups.repository] : [];
  const repositories = new Set(named.length > 0 ? named : configured);
  return [...repositories].map((repository) => ({ kind: 'Sweep', repository, tagPrefix: backupTagPrefix(metadata.uid) }));
}
