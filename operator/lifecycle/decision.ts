import type { RegistryWork } from './snapshot.ts';
import type { AssignmentSource, Removal, SandboxReason, SandboxStatus } from '../../crds/index.ts';

/** What is to be done about one sandbox, decided from one snapshot. A value: nothing has happened yet. */
export interface Decision {
  /** The status after this decision; equal to the snapshot's when `patch` is undefined. */
  readonly status: SandboxStatus;
  /** JSON merge patch of the status; undefined when nothing changed. Orders follow from the acknowledged object by `ordersOf`. */
  readonly patch: Readonly<Record<string, unknown>> | undefined;
  readonly finalizer: 'Keep' | 'Add' | 'Remove';
  /** Sent in the same moment as the patch: makes a copy ready and starts nothing. */
  readonly preparation: CopyPreparation | undefined;
  /** Copies of a deleted object to note in their Runner before the finalizer goes. */
  readonly removals: readonly NotedRemoval[];
  readonly events: readonly SandboxEvent[];
  /** What was learned of a runner, to be remembered when the patch is acknowledged. */
  readonly lesson: RunnerLesson | undefined;
  /** Look again so many milliseconds later, if nothing happens before. */
  readonly lookAgainMs: number | undefined;
  /** Set when it was considered where the sandbox is to run: what the log tells of it. */
  readonly assignment: AssignmentNote | undefined;
  /** Waits for room on some runner: wakes when a runner changes. */
  readonly waitsForRunner: boolean;
  /** What is to be asked of or done in the registry; begun when the patch, if there is one, is acknowledged. */
  readonly registry: readonly RegistryWork[];
}

export interface CopyPreparation {
  readonly runnerName: string;
  readonly epoch: number;
  readonly storeID: string;
  readonly bootID: string;
  readonly source: AssignmentSource;
}

export interface NotedRemoval {
  readonly runnerName: string;
  readonly removal: Removal;
}

export interface SandboxEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: SandboxReason;
  /** What was being done, CamelCase. */
  readonly action: string;
  readonly note: string;
}

export interface RunnerLesson {
  readonly runnerName: string;
  readonly kind: 'Failed' | 'Succeeded';
}

export interface AssignmentNote {
  readonly sandboxId: string;
  readonly currentRunnerId: string | undefined;
  readonly prevRunnerId: string | undefined;
  readonly runnerUnschedulable: boolean | undefined;
  readonly backupState: string;
}
