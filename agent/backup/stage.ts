import type { SandboxReason } from '../../crds/reasons.ts';
import { BackupPhase } from '../proto/gen/berth/agent/v1/agent.ts';
import type { BackupReport } from '../proto/gen/berth/agent/v1/agent.ts';
import type { BackupRank, BackupWish } from '../copies/order.ts';
import type { BackupProgress, LocalBackup } from '../copies/runtime.ts';

interface Trouble {
  readonly reason: SandboxReason;
  readonly message: string;
}

/** How far a backup is. */
export type BackupStage =
  /** Nothing was read yet. `trouble`: it was tried, and is tried again after a while. */
  | { readonly kind: 'Waiting'; readonly trouble?: Trouble }
  | { readonly kind: 'Reading'; readonly progress: BackupProgress }
  /** `trouble`: the registry did not take it, and is asked again after a while. */
  | { readonly kind: 'Pushing'; readonly progress: BackupProgress; readonly trouble?: Trouble }
  | { readonly kind: 'Done'; readonly made: Pick<LocalBackup, 'digest' | 'sizeBytes' | 'takenWhileStopped'> }
  | ({ readonly kind: 'Failed' } & Trouble);

/** The backup that the newest order asks for, in one moment. */
export interface BackupView {
  readonly wish: BackupWish;
  readonly stage: BackupStage;
  /** It is among those that the runner makes at once. */
  readonly hasTurn: boolean;
}

const nothing = { bytes: 0, totalBytes: 0, digest: '', sizeBytes: 0, takenWhileStopped: false, reason: '', message: '' };

/** What is told of it. */
export function backupReport({ wish: { id }, stage }: BackupView): BackupReport {
  switch (stage.kind) {
    case 'Waiting':
      return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_WAITING, ...stage.trouble };
    case 'Reading':
      return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_DIFFING, ...stage.progress };
    case 'Pushing':
      if (stage.trouble !== undefined)
        return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_WAITING, ...stage.progress, ...stage.trouble };
      return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_PUSHING, ...stage.progress };
    case 'Done':
      return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_DONE, ...stage.made };
    case 'Failed':
      return { ...nothing, id, phase: BackupPhase.BACKUP_PHASE_FAILED, reason: stage.reason, message: stage.message };
  }
}

const ranks: Readonly<Record<BackupRank, number>> = { Archiving: 0, Stopped: 1, Started: 2 };

/** Who is next: the highest rank, and of one rank who came first. `waiting` is in the sequence in which they came. */
export function nextInLine<Waiting extends { readonly rank: BackupRank }>(waiting: readonly Waiting[]): Waiting | undefined {
  return waiting.toSorted((a, b) => ranks[a.rank] - ranks[b.rank]).at(0);
}

/** The same backup of the same content to the same place: what is under way goes on. */
export function isSameBackup(a: BackupWish, b: BackupWish): boolean {
  return a.id === b.id && a.repository === b.repository && a.contentVersion === b.contentVersion;
}
