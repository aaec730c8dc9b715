import { EXIT_REASONS, type ResourceAmounts } from '../../crds/index.ts';
import {
  BackupPhase,
  CopyState,
  type Amounts,
  type BackupReport,
  type CopyReport,
  type Exit,
  type Inventory,
} from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import type { BackupView, CopyView, ExitView } from '../lifecycle/snapshot.ts';

/** Copies in one message: far below the largest. */
const copiesPerMessage = 500;

/** Everything that an agent has told, as an inventory in parts of one number: what `takeInventory` makes the same facts of. */
export function inventoryOf(facts: RunnerFacts, seq: number): readonly Inventory[] {
  const copies = [...facts.copies].map(([key, copy]) => reportOf(key, copy));
  const count = Math.max(1, Math.ceil(copies.length / copiesPerMessage));
  const { capacity, allocated, images, tick } = facts;
  const runner = {
    capacity: amountsOf(capacity),
    allocated: amountsOf(allocated),
    startedSandboxes: 0,
    images: [...images],
    tasks: undefined,
  };
  return Array.from({ length: count }, (_, part) => ({
    seq,
    copies: copies.slice(part * copiesPerMessage, (part + 1) * copiesPerMessage),
    runner: part === 0 ? runner : undefined,
    last: part === count - 1,
    tick,
  }));
}

function reportOf(key: string, copy: CopyView): CopyReport {
  const at = key.lastIndexOf('/');
  const { namespace, name, order, contentVersion, state, exit, reason, message, bytes, baseDigest, startTimeMs, backup } = copy;
  return {
    ...{
      uid: key.slice(0, at),
      epoch: Number(key.slice(at + 1)),
      namespace,
      name,
      order,
      contentVersion,
      reason,
      message,
      baseDigest,
      startTimeMs,
    },
    state: states[state],
    exit: exit === undefined ? undefined : exitOf(exit),
    progress: bytes === 0 ? undefined : { phase: '', bytes, totalBytes: 0 },
    backup: backup && backupOf(backup),
  };
}

function backupOf({ id, phase, bytes, totalBytes, digest, sizeBytes, takenWhile, reason, message }: BackupView): BackupReport {
  const takenWhileStopped = takenWhile === 'Stopped';
  return { id, phase: phases[phase], bytes, totalBytes, digest, sizeBytes, takenWhileStopped, reason, message };
}

const phases: Readonly<Record<BackupView['phase'], BackupPhase>> = {
  Waiting: BackupPhase.BACKUP_PHASE_WAITING,
  Diffing: BackupPhase.BACKUP_PHASE_DIFFING,
  Pushing: BackupPhase.BACKUP_PHASE_PUSHING,
  Done: BackupPhase.BACKUP_PHASE_DONE,
  Failed: BackupPhase.BACKUP_PHASE_FAILED,
};

const states: Readonly<Record<CopyView['state'], CopyState>> = {
  Preparing: CopyState.COPY_STATE_PREPARING,
  Prepared: CopyState.COPY_STATE_PREPARED,
  Starting: CopyState.COPY_STATE_STARTING,
  Running: CopyState.COPY_STATE_RUNNING,
  Stopping: CopyState.COPY_STATE_STOPPING,
  Stopped: CopyState.COPY_STATE_STOPPED,
  Rejected: CopyState.COPY_STATE_REJECTED,
  Absent: CopyState.COPY_STATE_ABSENT,
  Missing: CopyState.COPY_STATE_MISSING,
};

function exitOf({ code, reason, signal, finishTimeMs, ordered }: ExitView): Exit {
  return { code, reason: EXIT_REASONS.find((one) => one === reason) ?? 'Error', signal, finishTimeMs, ordered };
}

function amountsOf({ cpuMillis, memoryBytes, diskBytes }: ResourceAmounts): Amounts {
  return { cpuMillis, memoryBytes, diskBytes };
}
