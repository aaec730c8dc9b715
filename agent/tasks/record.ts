import type { TaskEndReason, TaskLimitName } from './codes.ts';
import type { Table } from './table.ts';

/**
 * What an agent keeps durably of its tasks (docs/adr/0010-tasks.md). A record is written before what follows it; the state is nothing but the
 * records, reduced in their sequence.
 */
export type TaskRecord =
  /** It will run, once. */
  | { readonly kind: 'Accepted'; readonly task: TaskFacts }
  /** From here on it may have run. */
  | { readonly kind: 'Started'; readonly id: string; readonly bootID: string; readonly timeMs: number }
  /** It is to end: whoever asked for that was told that it will. */
  | { readonly kind: 'Cancelled'; readonly id: string }
  | { readonly kind: 'Ended'; readonly id: string; readonly result: TaskResult }
  | { readonly kind: 'Forgotten'; readonly ids: readonly string[] }
  | { readonly kind: 'Reserved'; readonly reservation: RecordedReservation }
  | { readonly kind: 'Unreserved'; readonly id: string };

/** What a task is, without anything that may be secret: its command and environment are in a file that goes when it starts. */
export interface TaskFacts {
  readonly id: string;
  readonly caller: string;
  /** Empty: it took a free slot. */
  readonly reservationID: string;
  /** Empty: none. */
  readonly keyHash: string;
  readonly bodyHash: string;
  readonly place: TaskPlace;
  readonly limits: TaskLimits;
  readonly graceSeconds: number;
  /** Paths of the files that it is given, in the sequence of their sources. */
  readonly inputFiles: readonly string[];
  readonly outputFiles: readonly string[];
  readonly streamsStdin: boolean;
  /** Milliseconds since the epoch, as all times here. */
  readonly acceptedMs: number;
}

export type TaskPlace =
  /** In the copy of a sandbox that runs under this contentVersion. */
  | { readonly kind: 'Sandbox'; readonly uid: string; readonly epoch: number; readonly contentVersion: number }
  | { readonly kind: 'OneShot' };

/** 0: none. */
export interface TaskLimits {
  readonly cpuTimeMs: number;
  readonly wallTimeMs: number;
  readonly memoryBytes: number;
  readonly pids: number;
  readonly outputBytes: number;
  readonly cpuMillis: number;
  readonly outputFilesBytes: number;
}

export const taskOutcomes = ['Exited', 'LimitExceeded', 'Cancelled', 'SandboxStopped', 'StartFailed', 'Lost'] as const;

export type TaskOutcome = (typeof taskOutcomes)[number];

export interface TaskResult {
  readonly outcome: TaskOutcome;
  readonly exitCode: number;
  readonly signal: number;
  readonly limit: TaskLimitName | '';
  readonly mayHaveRun: boolean;
  readonly reason: TaskEndReason | '';
  readonly message: string;
  readonly startMs: number;
  readonly finishMs: number;
  readonly usage: TaskUsage;
  /** All that was written. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Less than that is kept. */
  readonly truncated: boolean;
  readonly files: readonly OutputFile[];
}

export interface TaskUsage {
  readonly cpuTimeUs: number;
  readonly memoryPeakBytes: number;
  readonly wallTimeUs: number;
}

export interface OutputFile {
  readonly path: string;
  readonly size: number;
  readonly problem: '' | 'Missing' | 'NotRegular' | 'TooLarge';
}

export interface RecordedReservation {
  readonly id: string;
  readonly caller: string;
  readonly ticketID: string;
  readonly untilMs: number;
}

export interface TaskEntry {
  readonly task: TaskFacts;
  readonly started: { readonly bootID: string; readonly timeMs: number } | undefined;
  readonly result: TaskResult | undefined;
  readonly isCancelled?: true;
}

export interface TaskJournalState {
  readonly tasks: Table<TaskEntry>;
  /** Ids of tasks, by the reservation that they had and the key that they claim. */
  readonly names: Table<string>;
  readonly reservations: ReadonlyMap<string, RecordedReservation>;
}
