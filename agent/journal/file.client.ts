import { compact } from './compaction.ts';
import type { Journal } from './journal.ts';
import { RecordFile, type RecordFileOptions } from './record-file.client.ts';
import type { JournalRecord, JournalState } from './record.ts';
import { applyRecords, emptyJournal } from './reduce.ts';

export interface FileJournalOptions extends RecordFileOptions {
  /** Names the store when there is no journal yet: a uuid. */
  readonly newStoreID: string;
}

const format = { empty: emptyJournal, apply: applyRecords, compact } as const;

/** The journal of orders in a file. */
export class FileJournal implements Journal {
  readonly #file: RecordFile<JournalState, JournalRecord>;

  private constructor(file: RecordFile<JournalState, JournalRecord>) {
    this.#file = file;
  }

  /**
   * Reads or makes the journal and records this start: when it resolves the raised incarnation is durable.
   * @throws BerthError `JournalCorrupt`, `JournalFailed`
   */
  static async open({ newStoreID, ...options }: FileJournalOptions): Promise<FileJournal> {
    const begin = ({ storeID, incarnation }: JournalState): readonly JournalRecord[] => [
      { kind: 'Incarnation', storeID: storeID || newStoreID, incarnation: incarnation + 1 },
    ];
    return new FileJournal(await RecordFile.open(options, format, begin));
  }

  state(): JournalState {
    return this.#file.state();
  }

  isFull(): boolean {
    return this.#file.isFull();
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    return this.#file.append(records);
  }

  /** Resolves when everything appended is durable and the file is closed. */
  close(): Promise<void> {
    return this.#file.close();
  }
}
