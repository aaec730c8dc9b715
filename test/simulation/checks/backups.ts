import type { BackupRecord, Sandbox, SandboxStatus } from '../../../crds/index.ts';
import type { Trace } from '../engine/trace.ts';
import { describeContent, isSameContent } from '../models/content.ts';
import type { Content } from '../models/content.ts';
import type { PushedBackup, RegistryObserver } from '../models/registry.ts';
import type { FleetChecks, Holders } from './fleet.ts';
import type { Violations } from './violation.ts';

interface Known {
  readonly backup: PushedBackup;
  /** Somebody was told that it is whole, by sizes or by every byte. */
  isVerified: boolean;
  isReadBack: boolean;
}

/** Judges backups: what is recorded of them against what was pushed, and what is removed against what is needed. */
export class BackupChecks implements RegistryObserver {
  readonly #violations: Violations;
  readonly #trace: Trace;
  readonly #fleet: () => Pick<FleetChecks, 'newest' | 'lastRunUpTo' | 'objectOf'>;
  readonly #holders: Holders;
  readonly #known = new Map<string, Known>();
  readonly #recordedBy = new Map<string, string>();
  #records = 0;

  constructor(
    violations: Violations,
    trace: Trace,
    fleet: () => Pick<FleetChecks, 'newest' | 'lastRunUpTo' | 'objectOf'>,
    holders: Holders,
  ) {
    this.#violations = violations;
    this.#trace = trace;
    this.#fleet = fleet;
    this.#holders = holders;
  }

  /** How many backups became a record. */
  get records(): number {
    return this.#records;
  }

  contentOf(digest: string): Content | undefined {
    return this.#known.get(digest)?.backup.content;
  }

  wasReadBack(digest: string): boolean {
    return this.#known.get(digest)?.isReadBack === true;
  }

  pushed(backup: PushedBackup): void {
    const { uid, id, digest, content } = backup;
    this.#trace.add('registry', `has backup ${uid}-${id} ${short(digest)} of ${describeContent(content)}`);
    const before = this.#known.get(digest)?.backup;
    if (before === undefined) this.#known.set(digest, { backup, isVerified: false, isReadBack: false });
    else if (before.uid !== uid || before.id !== id) {
      this.#violations.add('BackupUnique', `${uid}-${id} and ${before.uid}-${before.id} are one manifest, ${short(digest)}`, uid);
    }
  }

  verified({ digest, uid, id }: PushedBackup, depth: 'Meta' | 'Full', by: string): void {
    this.#trace.add('registry', `${by} finds backup ${uid}-${id} ${short(digest)} whole (${depth})`);
    const known = this.#known.get(digest);
    if (known === undefined) return;
    known.isVerified = true;
    if (depth === 'Full') known.isReadBack = true;
  }

  deleting({ digest, uid, id, content }: PushedBackup, by: string): void {
    this.#trace.add('registry', `${by} deletes backup ${uid}-${id} ${short(digest)}`);
    const object = this.#fleet().objectOf(uid);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) {
      if (object?.spec.backup.reclaimPolicy === 'Retain') {
        this.#violations.add('BackupInUse', `${short(digest)} is deleted with its sandbox, which asks to keep it`, uid);
      }
      return;
    }
    const record = object.status.backup?.history.find((one) => one.digest === digest);
    if (record !== undefined && record.deletionTime === undefined) {
      this.#violations.add('BackupInUse', `${short(digest)} is deleted and its record is not marked`, uid);
    }
    this.#checkUnused(object, digest);
    const newest = this.#fleet().newest(uid);
    if (isSameContent(content, newest) && newest.run !== undefined && !this.#holders.hasOther(uid, newest, { digest })) {
      this.#violations.add('NewestKept', `${short(digest)} is deleted, and nothing else holds ${describeContent(newest)}`, uid);
    }
  }

  /** The API server acknowledged this object. */
  acknowledged(object: Sandbox, old: Sandbox | undefined): void {
    const history = historyOf(object);
    if (history !== historyOf(old)) this.#checkHistory(object, old);
    if (object.metadata.deletionTimestamp !== undefined) return;
    for (const record of history) if (isCurrent(record, object.status)) this.#checkCurrent(object, record);
    if (object.status.state === 'Archived' && old?.status.state !== 'Archived') this.#checkArchived(object);
  }

  #checkHistory(object: Sandbox, old: Sandbox | undefined): void {
    for (const record of historyOf(object)) {
      const known = historyOf(old).find(({ digest }) => digest === record.digest);
      if (known === undefined) this.#checkRecord(object, old, record);
      if (record.deletionTime !== undefined && known?.deletionTime === undefined) this.#checkMarked(object, record);
    }
  }

  #checkRecord({ metadata: { uid } }: Sandbox, old: Sandbox | undefined, record: BackupRecord): void {
    this.#records++;
    const { digest } = record;
    const known = this.#known.get(digest);
    const other = this.#recordedBy.get(digest) ?? uid;
    this.#recordedBy.set(digest, uid);
    if (other !== uid) this.#violations.add('BackupUnique', `${short(digest)} is recorded of ${other} and of ${uid}`, uid);
    if (known === undefined) {
      this.#violations.add('BackupHonest', `${short(digest)} is recorded and was never pushed`, uid);
      return;
    }
    if (record.verifiedTime !== undefined && !known.isVerified) {
      this.#violations.add('BackupVerified', `${short(digest)} is recorded as verified, and nobody found it whole`, uid);
    }
    const operation = old?.status.backup?.operation;
    if (operation?.state !== 'Running' || operation.id !== known.backup.id) {
      const wanted = operation === undefined ? 'none' : `${operation.id} (${operation.state})`;
      this.#violations.add('BackupWanted', `backup ${known.backup.id} is recorded, and the one that is to be made is ${wanted}`, uid);
    }
    this.#checkHonest(uid, record, known.backup.content);
  }

  #checkHonest(uid: string, { digest, contentVersion, takenWhile }: BackupRecord, content: Content): void {
    const run = this.#fleet().lastRunUpTo(uid, contentVersion);
    const isOther = content.isTorn || content.run?.number !== run?.number;
    if (!isOther && (takenWhile !== 'Stopped' || !this.#isOlderThanLast(uid, content))) return;
    const says = `version ${contentVersion}, taken while ${takenWhile}`;
    this.#violations.add('BackupHonest', `${short(digest)} is recorded as ${says}, and holds ${describeContent(content)}`, uid);
  }

  /** Its run went on writing after it was read. */
  #isOlderThanLast(uid: string, content: Content): boolean {
    const newest = this.#fleet().newest(uid);
    return newest.run?.number === content.run?.number && newest.writes !== content.writes;
  }

  #checkCurrent({ metadata: { uid } }: Sandbox, { digest, contentVersion }: BackupRecord): void {
    const content = this.contentOf(digest);
    const newest = this.#fleet().newest(uid);
    if (content === undefined || isSameContent(content, newest)) return;
    this.#violations.add(
      'CurrentIsNewest',
      `${short(digest)} counts as current (version ${contentVersion}) and holds ${describeContent(content)}; the newest is ${describeContent(newest)}`,
      uid,
    );
  }

  #checkMarked(object: Sandbox, { digest }: BackupRecord): void {
    const { metadata, status } = object;
    if (metadata.deletionTimestamp !== undefined) return;
    this.#checkUnused(object, digest);
    const left = (status.backup?.history ?? []).some((one) => one.verifiedTime !== undefined && one.deletionTime === undefined);
    if (!left)
      this.#violations.add('BackupInUse', `${short(digest)} is to be deleted, and it is the newest that was verified`, metadata.uid);
  }

  #checkUnused({ metadata: { uid }, status }: Sandbox, digest: string): void {
    const { assignment, state, contentVersion, backup } = status;
    const isNamed = assignment?.source.kind === 'Backup' && assignment.source.digest === digest && state === 'Restoring';
    if (isNamed) this.#violations.add('BackupInUse', `${short(digest)} is to be deleted, and is being restored`, uid);
    const record = backup?.history.find((one) => one.digest === digest);
    if (record !== undefined && isCurrent({ ...record, deletionTime: undefined }, { contentVersion })) {
      const other = backup?.history.some((one) => one.digest !== digest && isCurrent(one, { contentVersion }));
      if (other !== true) this.#violations.add('BackupInUse', `${short(digest)} is to be deleted, and is the current one`, uid);
    }
  }

  /** What was never started has no bytes that could be anywhere. */
  #checkArchived({ metadata: { uid }, status }: Sandbox): void {
    if (status.contentVersion === 0) return;
    const current = (status.backup?.history ?? []).filter((record) => isCurrent(record, status));
    if (current.some(({ digest }) => this.wasReadBack(digest))) return;
    const [first] = current;
    const why = first === undefined ? 'no backup is current' : `nobody has read back ${short(first.digest)}`;
    this.#violations.add('ArchivedIsWhole', `Archived, and ${why}`, uid);
  }
}

function historyOf(object: Sandbox | undefined): readonly BackupRecord[] {
  return object?.status.backup?.history ?? none;
}

const none: readonly BackupRecord[] = [];

/** Current, once more and written differently: verified, not marked, taken while stopped, of this version. */
export function isCurrent(
  record: Pick<BackupRecord, 'verifiedTime' | 'deletionTime' | 'takenWhile' | 'contentVersion'>,
  { contentVersion }: Pick<SandboxStatus, 'contentVersion'>,
): boolean {
  const { verifiedTime, deletionTime, takenWhile } = record;
  return verifiedTime !== undefined && deletionTime === undefined && takenWhile === 'Stopped' && record.contentVersion === contentVersion;
}

function short(digest: string): string {
  return digest.slice(0, 15);
}
