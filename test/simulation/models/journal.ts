import { compact } from '../../../agent/journal/compaction.ts';
import type { Journal } from '../../../agent/journal/journal.ts';
import type { JournalRecord, JournalState } from '../../../agent/journal/record.ts';
import { applyRecords, emptyJournal } from '../../../agent/journal/reduce.ts';
import type { Process } from '../engine/process.ts';
import type { Random } from '../engine/random.ts';
import type { Machine } from './machine.ts';

/** A disk that does not keep what it promises: test-only. */
export interface FaultyDisk {
  /** What of appended records reaches the disk. Default all. */
  readonly kept?: ((record: JournalRecord) => boolean) | undefined;
  /** What a start finds. Default what was kept. */
  readonly reopened?: ((state: JournalState) => JournalState) | undefined;
}

/** The journal's file on a machine: what a crash leaves. */
export class JournalDisk {
  readonly #faulty: FaultyDisk;
  #durable: JournalState = emptyJournal;

  constructor(machine: Machine, faulty: FaultyDisk = {}) {
    this.#faulty = faulty;
    machine.onWipe(() => (this.#durable = emptyJournal));
  }

  get durable(): JournalState {
    return this.#durable;
  }

  /** What the file journal does when it is opened: compacts, and records this start. */
  open(machine: Machine, process: Process): Journal {
    const found = this.#faulty.reopened?.(this.#durable) ?? this.#durable;
    const kept = applyRecords(emptyJournal, compact(found, process.now()));
    const start = { kind: 'Incarnation', storeID: machine.storeID, incarnation: kept.incarnation + 1 } as const;
    this.#durable = applyRecords(kept, [start]);
    return new OpenJournal(this, process);
  }

  write(records: readonly JournalRecord[]): void {
    this.#durable = applyRecords(this.#durable, records.filter(this.#faulty.kept ?? (() => true)));
  }
}

/** The journal as one agent process has it open. Records become durable in their sequence; of the last ones a crash keeps some or none. */
class OpenJournal implements Journal {
  readonly #disk: JournalDisk;
  readonly #process: Process;
  readonly #random: Random;
  readonly #waiting: { readonly records: readonly JournalRecord[]; readonly resolve: () => void }[] = [];
  #state: JournalState;
  #isSyncing = false;

  constructor(disk: JournalDisk, process: Process) {
    this.#disk = disk;
    this.#process = process;
    this.#random = process.random.fork('journal');
    this.#state = disk.durable;
    process.onEnd(() => {
      const survive = this.#random.between(0, this.#waiting.length);
      for (const { records } of this.#waiting.slice(0, survive)) disk.write(records);
    });
  }

  state(): JournalState {
    return this.#state;
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    this.#state = applyRecords(this.#state, records);
    return new Promise((resolve) => {
      this.#waiting.push({ records, resolve });
      if (!this.#isSyncing) this.#sync();
    });
  }

  /** One fsync for all that waits. */
  #sync(): void {
    this.#isSyncing = true;
    const count = this.#waiting.length;
    this.#process.arrive(this.#random.latency(2, 60), () => {
      const batch = this.#waiting.splice(0, count);
      for (const { records } of batch) this.#disk.write(records);
      for (const { resolve } of batch) resolve();
      if (this.#waiting.length > 0) this.#sync();
      else this.#isSyncing = false;
    });
  }
}
