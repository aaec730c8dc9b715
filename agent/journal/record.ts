import type { ExitStatus } from '../copies/runtime.ts';

/**
 * What an agent keeps durably of the orders it got (docs/adr/0002-orders.md). A record is written before its effect or answer; the state is
 * nothing but the records, reduced in their sequence.
 */
export type JournalRecord = IncarnationRecord | SandboxRecord;

/** One start of the agent on this store. The first one names the store. */
export interface IncarnationRecord {
  readonly kind: 'Incarnation';
  readonly storeID: string;
  readonly incarnation: number;
}

export type SandboxRecord =
  | AcceptedRecord
  | StartingRecord
  | TakenBackRecord
  | ExitedRecord
  | RejectedRecord
  | AbsentRecord
  | PreparingRecord
  | ForgottenRecord
  | CompactedRecord;

interface OfCopy {
  readonly uid: string;
  readonly epoch: number;
}

export type WantedState = 'Prepared' | 'Running' | 'Stopped' | 'Absent';

export interface JournalSource {
  readonly kind: 'Image' | 'Local' | 'Backup';
  readonly digest: string;
}

/** The order was taken on: from here on nothing below its number is. */
export interface AcceptedRecord extends OfCopy {
  readonly kind: 'Accepted';
  readonly namespace: string;
  readonly name: string;
  readonly order: number;
  /** What came under this number, as one comparable text. */
  readonly content: string;
  readonly wanted: WantedState;
  /** Running: the version that may be started; else 0. */
  readonly contentVersion: number;
  readonly source: JournalSource | undefined;
  readonly configHash: string;
  readonly graceSeconds: number;
  readonly bootID: string;
  readonly timeMs: number;
}

/** The contentVersion is about to be started: from here on it counts as started unless it is taken back. */
export interface StartingRecord extends OfCopy {
  readonly kind: 'Starting';
  readonly contentVersion: number;
}

/** The start of `contentVersion` certainly did not happen: what was before it counts again. */
export interface TakenBackRecord extends OfCopy {
  readonly kind: 'TakenBack';
  readonly contentVersion: number;
}

/** The process that ran under `contentVersion` ended. */
export interface ExitedRecord extends OfCopy {
  readonly kind: 'Exited';
  readonly contentVersion: number;
  readonly exit: RecordedExit;
}

export interface RecordedExit extends ExitStatus {
  /** It ended because a Stopped or Absent order, or the start of a newer version, asked for it. */
  readonly ordered: boolean;
  /** The machine was booted anew while it ran: not the process ended, everything did. */
  readonly rebooted?: boolean;
  /** It was ended because the sandbox had written more than its disk limit. */
  readonly diskLimitExceeded?: boolean;
}

/** The order will never be carried out here. Takes back the start of `takenBack` with it, when that is not 0. */
export interface RejectedRecord extends OfCopy {
  readonly kind: 'Rejected';
  readonly namespace: string;
  readonly name: string;
  readonly order: number;
  readonly content: string;
  readonly reason: string;
  readonly message: string;
  readonly takenBack: number;
  readonly timeMs: number;
}

/** Tombstone: nothing of the epoch is here and nothing brings it back. */
export interface AbsentRecord extends OfCopy {
  readonly kind: 'Absent';
  readonly timeMs: number;
}

/** An attempt is being made ahead of its order: what is found of it later may be removed. */
export interface PreparingRecord extends OfCopy {
  readonly kind: 'Preparing';
  readonly namespace: string;
  readonly name: string;
  readonly source: JournalSource;
  readonly configHash: string;
  readonly timeMs: number;
}

/** What was made for the epoch is removed, and nothing was ever started on it. */
export interface ForgottenRecord extends OfCopy {
  readonly kind: 'Forgotten';
  /** From what it is made anew. */
  readonly next: JournalSource | undefined;
}

/** Everything about one sandbox in one record: what compaction writes. */
export interface CompactedRecord {
  readonly kind: 'Compacted';
  readonly sandbox: SandboxEntry;
}

export interface JournalState {
  /** Empty in a new journal. */
  readonly storeID: string;
  /** How often an agent was started on this store. */
  readonly incarnation: number;
  readonly sandboxes: ReadonlyMap<string, SandboxEntry>;
}

/** All that is known of one uid. */
export interface SandboxEntry {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** The highest order number that was accepted or rejected; 0: none was. */
  readonly order: number;
  readonly copies: readonly CopyEntry[];
}

/** All that is known of one epoch. */
export interface CopyEntry {
  readonly epoch: number;
  /** The newest order that was accepted; undefined while there was none. */
  readonly accepted: AcceptedOrder | undefined;
  /** The contentVersion last started and not taken back; 0: none was, so that the content is worth nothing. */
  readonly started: number;
  /** How the process of `started` ended; undefined while that is not known. */
  readonly exit: RecordedExit | undefined;
  /** What `started` and `exit` were before the last start: for taking it back. */
  readonly before: { readonly started: number; readonly exit: RecordedExit | undefined } | undefined;
  readonly rejections: readonly Rejection[];
  readonly absentSinceMs: number | undefined;
  /** An attempt made ahead of its order that no order has taken over. */
  readonly attempt: { readonly source: JournalSource; readonly configHash: string } | undefined;
  /** From what the snapshot that may lie there was made, while nothing was ever started on it. */
  readonly madeFrom: JournalSource | undefined;
  /** When something was last recorded, in milliseconds since the epoch. */
  readonly touchedMs: number;
}

export type AcceptedOrder = Omit<AcceptedRecord, 'kind' | 'uid' | 'epoch' | 'namespace' | 'name' | 'timeMs'>;

export interface Rejection {
  readonly order: number;
  readonly content: string;
  readonly reason: string;
  readonly message: string;
}
