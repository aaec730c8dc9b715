import type { Journal } from './journal.ts';
import type { JournalRecord, JournalState } from './record.ts';
import { applyRecords, emptyJournal } from './reduce.ts';

/** What a crash leaves: a disk that tests keep while journals come and go. */
export class JournalDisk {
  readonly records: JournalRecord[] = [];
  isFull = false;

  get state(): JournalState {
    return applyRecords(emptyJournal, this.records);
  }
}

/** A journal on a disk in memory, for tests. `write` decides when an append is durable, and calls `persist` at that moment. */
export class MemoryJournal implements Journal {
  readonly #disk: JournalDisk;
  readonly #write: (persist: () => void) => Promise<void>;
  #state: JournalState;
  #last: Promise<void> = Promise.resolve();

  constructor(disk: JournalDisk, write: (persist: () => void) => Promise<void> = writeAtOnce) {
    this.#disk = disk;
    this.#write = write;
    this.#state = disk.state;
  }

  state(): JournalState {
    return this.#state;
  }

  isFull(): boolean {
    return this.#disk.isFull;
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    this.#state = applyRecords(this.#state, records);
    const persist = () => {
      this.#disk.records.push(...records);
    };
    this.#last = this.#last.then(() => this.#write(persist));
    return this.#last;
  }
}

function writeAtOnce(persist: () => void): Promise<void> {
  persist();
  return Promise.resolve();
}
