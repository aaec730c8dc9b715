import { Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { BackupRecord, SandboxStatus } from '../../crds/index.ts';
import type { Machine } from './models/machine.ts';
import { noManifest } from './models/registry-client.ts';
import type { Sabotage } from './sabotage.ts';
import { rewriteStatus } from './sabotage.ts';

/** Rules of backups and versions (docs/adr/0002-orders.md, 0005-backups-and-moves.md), each taken away on purpose. */
export const backupDefects = {
  'old-backup-taken-for-current': {
    says: 'a backup is recorded under the version that is there when it is complete',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        withHistory(after, (record) =>
          isNew(before, record) ? { ...record, contentVersion: Math.max(after.contentVersion, record.contentVersion) } : record,
        ),
      ),
  },
  'torn-backup-taken-for-stopped': {
    says: 'a backup of a running sandbox is recorded as one of a stopped one',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        withHistory(after, (record) => (isNew(before, record) ? { ...record, takenWhile: 'Stopped' } : record)),
      ),
  },
  'version-not-raised-in-place': {
    says: 'a start in place does not raise contentVersion',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        after.state === 'Starting' && before.state !== 'Starting' ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'version-not-raised-at-commit': {
    says: 'a start of what was restored does not raise contentVersion',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        isCommit(before, after) ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'version-not-taken-back': {
    says: 'contentVersion stays raised when nothing was started',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        after.contentVersion < before.contentVersion ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'cancelled-backup-recorded': {
    says: 'a backup that was given up goes on, and becomes a record when the registry has it',
    delivered: goesOn,
    transport: (transport, world) => {
      const cancelled = new Set<string>();
      return rewriteStatus(transport, world, (before, after, now, uid) => {
        const { operation } = before.backup ?? {};
        if (operation?.state === 'Running' && after.backup?.operation?.state === 'Failed') cancelled.add(`${uid}-${operation.id}`);
        const pushed = world.registry.backups.find((one) => cancelled.has(`${one.uid}-${one.id}`) && one.uid === uid && isNew(before, one));
        if (pushed === undefined || after.backup === undefined) return after;
        const { digest, repository, contentVersion } = pushed;
        const record: BackupRecord = { digest, repository, contentVersion, takenWhile: 'Stopped', sizeBytes: 1, completionTime: now };
        return { ...after, backup: { ...after.backup, history: [...after.backup.history, record] } };
      });
    },
  },
  'verification-skipped': {
    says: "the pusher's word counts, and nobody looks for a backup",
    registry: (client) => ({ ...client, verify: () => Promise.resolve(noManifest) }),
  },
  'sweep-missing': {
    says: 'what was pushed and never recorded is not looked for when the object goes',
    registry: (client) => ({ ...client, sweep: () => Promise.resolve([]) }),
  },
} as const satisfies Readonly<Record<string, Sabotage>>;

/** The last backup that each copy was ordered to be read for. */
const asked = new WeakMap<Machine, Map<string, Order['backup']>>();

function goesOn(order: Order, machine: Machine): Order {
  const known = asked.get(machine) ?? new Map<string, Order['backup']>();
  asked.set(machine, known);
  const copy = `${order.uid}/${order.epoch}`;
  if (order.backup !== undefined) known.set(copy, order.backup);
  const mayRead = order.wanted === Wanted.WANTED_RUNNING || order.wanted === Wanted.WANTED_STOPPED;
  return mayRead ? { ...order, backup: order.backup ?? known.get(copy) } : order;
}

function isNew({ backup }: SandboxStatus, { digest }: Pick<BackupRecord, 'digest'>): boolean {
  return backup?.history.some((one) => one.digest === digest) !== true;
}

export function withHistory(status: SandboxStatus, change: (record: BackupRecord) => BackupRecord): SandboxStatus {
  return status.backup === undefined ? status : { ...status, backup: { ...status.backup, history: status.backup.history.map(change) } };
}

/** What was restored is permitted to run. */
export function isCommit({ assignment: before }: SandboxStatus, { assignment: after }: SandboxStatus): boolean {
  return before?.phase === 'Prepared' && after?.phase === 'Committed' && before.epoch === after.epoch;
}
