import type { JournalRecord, JournalState } from './record.ts';

/**
 * The durable record of an agent: a port. A file in production (file.client.ts), a modelled disk in the simulation.
 * Records of one journal become durable in the sequence in which they were appended; a crash may lose the last ones whose `append` had
 * not resolved, never one before another that is kept.
 */
export interface Journal {
  /** Everything appended so far, durable or not. */
  state(): JournalState;
  /**
   * Adds records; they are in `state()` at once. Resolves when they are durable; all records of one call, or none, survive a crash.
   * On a full disk this holds as long as the reserve does.
   * Rejects with `JournalFailed` when that cannot be known: the agent must end then, since it must not act on what it may forget.
   */
  append(records: readonly JournalRecord[]): Promise<void>;
  /** The disk is full, and what is appended comes out of a reserve: it is for what frees room. */
  isFull(): boolean;
}
