import { open, readFile, rename } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import { compact } from './compaction.ts';
import type { Journal } from './journal.ts';
import { decodeJournal, encodeLine, journalFailed, journalHeader } from './line.ts';
import type { JournalRecord, JournalState } from './record.ts';
import { applyRecords, emptyJournal } from './reduce.ts';

export interface FileJournalOptions {
  /** The file; its directory must exist. */
  readonly path: string;
  /** Names the store when there is no journal yet: a uuid. */
  readonly newStoreID: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** The file is written anew when it has grown by so many bytes. Default 4 MiB. */
  readonly compactAfterBytes?: number;
}

interface Waiting {
  readonly records: readonly JournalRecord[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * A journal in an append-only file. Appends that come while a write is under way become durable together, with one fsync.
 * It is written anew (beside, fsync, rename, fsync of the directory) at every start and when it has grown.
 */
export class FileJournal implements Journal {
  readonly #options: FileJournalOptions;
  #file: FileHandle | undefined;
  #state: JournalState = emptyJournal;
  #grown = 0;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #failure: Error | undefined;

  private constructor(options: FileJournalOptions) {
    this.#options = options;
  }

  /**
   * Reads or makes the journal and records this start: when it resolves the raised incarnation is durable.
   * @throws BerthError `JournalCorrupt`, `JournalFailed`
   */
  static async open(options: FileJournalOptions): Promise<FileJournal> {
    const journal = new FileJournal(options);
    await journal.#load();
    const { storeID, incarnation } = journal.#state;
    const start = { kind: 'Incarnation', storeID: storeID || options.newStoreID, incarnation: incarnation + 1 } as const;
    journal.#state = applyRecords(journal.#state, [start]);
    try {
      await journal.#rewrite();
    } catch (error) {
      throw journalFailed(options.path, error);
    }
    return journal;
  }

  state(): JournalState {
    return this.#state;
  }

  append(records: readonly JournalRecord[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#state = applyRecords(this.#state, records);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** Resolves when everything appended is durable and the file is closed. */
  async close(): Promise<void> {
    await this.#writing;
    this.#failure ??= journalFailed(this.#options.path, new Error('it was closed'));
    await this.#file?.close();
    this.#file = undefined;
  }

  async #load(): Promise<void> {
    const { path, log } = this.#options;
    const text = await readIfThere(path);
    const { records, soundBytes } = decodeJournal(text, path);
    const bytes = Buffer.byteLength(text);
    if (soundBytes < bytes) log.warn({ path, bytes: bytes - soundBytes }, 'The end of the journal was torn and is cut');
    this.#state = applyRecords(emptyJournal, records);
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#makeDurable(batch.flatMap(({ records }) => records));
      } catch (error) {
        this.#fail(journalFailed(this.#options.path, error), batch);
        return;
      }
      for (const { resolve } of batch) resolve();
    }
    this.#writing = undefined;
  }

  #fail(failure: Error, batch: readonly Waiting[]): void {
    this.#failure = failure;
    for (const { reject } of [...batch, ...this.#waiting]) reject(failure);
    this.#waiting = [];
    this.#writing = undefined;
  }

  async #makeDurable(records: readonly JournalRecord[]): Promise<void> {
    if (this.#grown > (this.#options.compactAfterBytes ?? 4 * 2 ** 20)) return this.#rewrite();
    const line = Buffer.from(encodeLine(records));
    await this.#file?.appendFile(line);
    FAILPOINT: failpoint('journal.written');
    await this.#file?.datasync();
    FAILPOINT: failpoint('journal.synced');
    this.#grown += line.length;
  }

  /** Everything in `state()` into a new file, which takes the place of the old one as a whole. */
  async #rewrite(): Promise<void> {
    const { path, clock } = this.#options;
    const records = compact(this.#state, clock.now());
    this.#state = applyRecords(emptyJournal, records);
    const aside = `${path}.new`;
    const next = await open(aside, 'w', 0o600);
    await next.writeFile(`${journalHeader}\n${records.map((record) => encodeLine([record])).join('')}`);
    await next.sync();
    FAILPOINT: failpoint('journal.rewritten');
    await rename(aside, path);
    FAILPOINT: failpoint('journal.renamed');
    await syncDirectory(dirname(path));
    await this.#file?.close();
    this.#file = next;
    this.#grown = 0;
  }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw journalFailed(path, error);
  }
}

/** A rename is on the disk only when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
