import { compact } from '../../../agent/journal/compaction.ts';
import { journalFailed } from '../../../agent/journal/line.ts';
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
  /** Writes fail just now: the disk is full or going. Of what was being written some may be there all the same. */
  isBroken = false;

  constructor(machine: Machine, faulty: FaultyDisk = {}) {
    this.#faulty = faulty;
    machine.onWipe(() => (this.#durable = emptyJournal));
  }

  get durable(): JournalState {
    return this.#durable;
  }

  /** What the file journal does when it is opened: compacts, and records this start. Throws when it cannot be written. */
  open(machine: Machine, process: Process): Journal {
    if (this.isBroken) throw noSpace(machine.name);
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

interface Waiting {
  readonly records: readonly JournalRecord[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

function noSpace(path: string): Error {
  return journalFailed(path, new Error('no space left on device'));
}

/** The journal as one agent process has it open. Records become durable in their sequence; of the last ones a crash keeps some or none. */
class OpenJournal implements Journal {
  readonly #disk: JournalDisk;
  readonly #process: Process;
  readonly #random: Random;
  readonly #waiting: Waiting[] = [];
  #failure: Error | undefined;
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

  isFull(): boolean {
    return false;
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#state = applyRecords(this.#state, records);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, resolve, reject });
      if (!this.#isSyncing) this.#sync();
    });
  }

  /** One fsync for all that waits. */
  #sync(): void {
    this.#isSyncing = true;
    const count = this.#waiting.length;
    this.#process.arrive(this.#random.latency(2, 60), () => {
      if (this.#disk.isBroken) {
        this.#fail();
        return;
      }
      const batch = this.#waiting.splice(0, count);
      for (const { records } of batch) this.#disk.write(records);
      for (const { resolve } of batch) resolve();
      if (this.#waiting.length > 0) this.#sync();
      else this.#isSyncing = false;
    });
  }

  /** As the file journal: nothing is written any more, and some of what was being written lies there all the same. */
  #fail(): void {
    this.#failure = noSpace(this.#process.name);
    const batch = this.#waiting.splice(0);
    for (const { records } of batch.slice(0, this.#random.between(0, batch.length))) this.#disk.write(records);
    for (const { reject } of batch) reject(this.#failure);
  }
}
