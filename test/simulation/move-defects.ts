import type { CopyRuntime } from '../../agent/copies/runtime.ts';
import { CopyState, Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, CopyReport, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { BackupRecord, SandboxStatus } from '../../crds/index.ts';
import type { KubeTransport } from '../../kube/types.ts';
import type { Content } from './models/content.ts';
import { noManifest } from './models/registry-client.ts';
import type { Machine } from './models/machine.ts';
import { idOfKey } from './models/machine.ts';
import type { Sabotage } from './sabotage.ts';
import { rewriteStatus, seeStatus } from './sabotage.ts';
import type { World } from './world.ts';

/** Rules of backups and moves (docs/adr/0002-orders.md, 0005-backups-and-moves.md), each taken away on purpose. */
export const moveDefects = {
  'previous-runner-forgotten': {
    says: 'the runner that a move leaves is read after it was overwritten',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) => (isMove(before, after) ? { ...after, prevRunnerName: undefined } : after)),
  },
  'released-at-commit': {
    says: 'the old copy is removed before the new one was seen running',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) => {
        const { previous } = after.assignment ?? {};
        return isCommit(before, after) && previous !== undefined ? { ...after, releases: [...after.releases, previous] } : after;
      }),
  },
  'older-copy-resurrected': {
    says: 'a removed copy comes back when the sandbox returns to its runner',
    runtime: resurrects,
  },
  'second-target-after-commit': {
    says: 'another target is chosen although the first was permitted to start it',
    transport: (transport) =>
      seeStatus(transport, (status) => {
        const { assignment, state } = status;
        if (state !== 'Restoring' || assignment?.phase !== 'Committed') return status;
        return { ...status, assignment: { ...assignment, phase: 'Prepared' } };
      }),
  },
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
  'cancelled-backup-recorded': {
    says: 'a backup that was given up is sent all the same, and recorded',
    runtime: pushesOn,
    transport: recordsCancelled,
  },
  'retention-in-use': {
    says: 'a backup is removed while it is being restored',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after, now) => {
        const { source } = after.assignment ?? {};
        if (after.state !== 'Restoring' || before.state === 'Restoring' || source?.kind !== 'Backup') return after;
        return withHistory(after, (record) => (record.digest === source.digest ? { ...record, deletionTime: now } : record));
      }),
  },
  'timeouts-extended-by-activity': {
    says: 'whatever an agent tells counts as progress',
    reported: (message) =>
      withCopies(message, (copy) =>
        copy.state === CopyState.COPY_STATE_PREPARING
          ? { ...copy, progress: { phase: 'Pulling', bytes: (told += 1), totalBytes: 0 } }
          : copy,
      ),
  },
  'version-not-raised-at-commit': {
    says: 'the commit of a move does not raise contentVersion',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        isCommit(before, after) && after.state === 'Restoring' ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'version-not-raised-in-place': {
    says: 'a start in place does not raise contentVersion',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        after.state === 'Starting' && before.state !== 'Starting' ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'version-not-taken-back': {
    says: 'contentVersion stays raised when nothing was started',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) =>
        after.contentVersion < before.contentVersion ? { ...after, contentVersion: before.contentVersion } : after,
      ),
  },
  'absent-without-epoch': {
    says: 'a removal takes whichever copy of the sandbox lies on the runner',
    delivered: removesAnother,
  },
  'older-report-believed': {
    says: 'Stopped is believed from a report that is older than the order',
    reported: (message, world) => withCopies(message, (copy) => asStillStopped(copy, world)),
  },
  'verification-skipped': {
    says: "the pusher's word counts, and nobody looks for a backup",
    registry: (client) => ({ ...client, verify: () => Promise.resolve(noManifest) }),
  },
} as const satisfies Readonly<Record<string, Sabotage>>;

let told = 0;

/** What was stopped is said to be so until it runs, whatever was ordered since. */
function asStillStopped(copy: CopyReport, world: World): CopyReport {
  const known = stopped.get(world) ?? new Map<string, CopyReport>();
  stopped.set(world, known);
  const id = `${copy.uid}/${copy.epoch}`;
  switch (copy.state) {
    case CopyState.COPY_STATE_STOPPED:
      known.set(id, { ...copy, order: Number.MAX_SAFE_INTEGER });
      return known.get(id) ?? copy;
    case CopyState.COPY_STATE_PREPARING:
    case CopyState.COPY_STATE_PREPARED:
    case CopyState.COPY_STATE_STARTING:
      return known.get(id) ?? copy;
    default:
      known.delete(id);
      return copy;
  }
}

const stopped = new WeakMap<World, Map<string, CopyReport>>();

function isMove({ assignment: before }: SandboxStatus, { assignment: after }: SandboxStatus): boolean {
  return after?.previous !== undefined && before?.epoch !== after.epoch;
}

function isCommit({ assignment: before }: SandboxStatus, { assignment: after }: SandboxStatus): boolean {
  return before?.phase === 'Prepared' && after?.phase === 'Committed' && before.epoch === after.epoch;
}

function isNew({ backup }: SandboxStatus, { digest }: BackupRecord): boolean {
  return backup?.history.some((one) => one.digest === digest) !== true;
}

function withHistory(status: SandboxStatus, change: (record: BackupRecord) => BackupRecord): SandboxStatus {
  return status.backup === undefined ? status : { ...status, backup: { ...status.backup, history: status.backup.history.map(change) } };
}

function withCopies({ message }: AgentMessage, change: (copy: CopyReport) => CopyReport): AgentMessage {
  switch (message?.$case) {
    case 'inventory':
      return { message: { $case: 'inventory', value: { ...message.value, copies: message.value.copies.map(change) } } };
    case 'report':
      return { message: { $case: 'report', value: { ...message.value, copies: message.value.copies.map(change) } } };
    default:
      return { message };
  }
}

/** Snapshots are named by the sandbox alone, and a removal leaves them. */
function resurrects(runtime: CopyRuntime, machine: Machine): CopyRuntime {
  const left = leftOn.get(machine) ?? new Map<string, Content>();
  leftOn.set(machine, left);
  return withCalls(runtime, {
    remove: (key) => {
      const content = machine.copies.get(idOfKey(key))?.content;
      if (content?.run !== undefined) left.set(key.uid, content);
      return runtime.remove(key);
    },
    prepare: async (attempt, progress, signal) => {
      const isNew = machine.copies.get(idOfKey(attempt.key))?.content === undefined;
      const prepared = await runtime.prepare(attempt, progress, signal);
      const copy = machine.copies.get(idOfKey(attempt.key));
      const old = left.get(attempt.key.uid);
      if (isNew && attempt.source.kind === 'Backup' && copy !== undefined && old !== undefined) copy.content = old;
      return prepared;
    },
  });
}

const leftOn = new WeakMap<Machine, Map<string, Content>>();

/** `runtime` with some calls made otherwise. */
function withCalls(runtime: CopyRuntime, calls: Partial<CopyRuntime>): CopyRuntime {
  return new Proxy(runtime, {
    get: (target, name) => {
      const own = calls[name as keyof CopyRuntime] ?? target[name as keyof CopyRuntime];
      return typeof own === 'function' ? own.bind(target) : own;
    },
  });
}

/** What is read is sent, whoever has given it up meanwhile. */
function pushesOn(runtime: CopyRuntime): CopyRuntime {
  const never = new AbortController().signal;
  return withCalls(runtime, {
    readBackup: async (request, progress, signal) => {
      const local = await runtime.readBackup(request, progress, never);
      if (!signal.aborted) return local;
      await runtime.pushBackup(local, [], () => undefined, never).catch(() => undefined);
      throw signal.reason as Error;
    },
    pushBackup: (backup, credentials, progress) => runtime.pushBackup(backup, credentials, progress, never),
  });
}

/** What was given up becomes a record as soon as the registry has it. */
function recordsCancelled(transport: KubeTransport, world: World): KubeTransport {
  const given = cancelled.get(world) ?? new Map<string, BackupRecord & { readonly id: number }>();
  cancelled.set(world, given);
  return rewriteStatus(transport, world, (before, after, now, uid) => {
    const operation = before.backup?.operation;
    const next = after.backup?.operation;
    if (operation?.state === 'Running' && (next?.state !== 'Running' || next.id !== operation.id)) {
      const { id, repository, contentVersion } = operation;
      given.set(uid, { id, repository, contentVersion, takenWhile: 'Stopped', sizeBytes: 1, completionTime: now, digest: '' });
    }
    const late = given.get(uid);
    const pushed = late && world.registry.backups.find((one) => one.uid === uid && one.id === late.id);
    if (late === undefined || pushed === undefined || after.backup === undefined) return after;
    given.delete(uid);
    const { id: _, ...record } = { ...late, digest: pushed.digest };
    if (!isNew(after, record)) return after;
    return { ...after, backup: { ...after.backup, history: [...after.backup.history, record] } };
  });
}

const cancelled = new WeakMap<World, Map<string, BackupRecord & { readonly id: number }>>();

function removesAnother(order: Order, machine: Machine): Order {
  if (order.wanted !== Wanted.WANTED_ABSENT) return order;
  const other = [...machine.copies.values()].find(({ key }) => key.uid === order.uid && key.epoch !== order.epoch);
  return other === undefined ? order : { ...order, epoch: other.key.epoch };
}
