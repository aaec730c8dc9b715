import type { Clock, Timer } from '../../process/clock.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import { Ballast } from './ballast.client.ts';
import { compact } from './compaction.ts';
import { isNoRoom, type JournalFile, type JournalFiles, nodeFiles } from './files.client.ts';
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
  /** What is set aside beside the file for when the disk is full, in bytes. Default 2 MiB: some 5,000 records. */
  readonly ballastBytes?: number;
  /** Default: the machine's. */
  readonly files?: JournalFiles;
}

const mebibyte = 2 ** 20;
/** How often it is looked whether a disk that was full has room again. */
const fullMs = 10_000;

interface Waiting {
  readonly records: readonly JournalRecord[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * A journal in an append-only file. Appends that come while a write is under way become durable together, with one fsync.
 * It is written anew (beside, fsync, rename, fsync of the directory) at every start and when it has grown. On a full disk it is not, and what
 * is appended takes the room of the ballast.
 */
export class FileJournal implements Journal {
  readonly #options: FileJournalOptions;
  readonly #files: JournalFiles;
  readonly #ballast: Ballast;
  #file: JournalFile | undefined;
  #state: JournalState = emptyJournal;
  /** The bytes of the file that are sound, and those of them that came since it was written anew. */
  #length = 0;
  #grown = 0;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #failure: Error | undefined;
  #isRestoreDue = false;
  #restoreTimer: Timer | undefined;

  private constructor(options: FileJournalOptions) {
    this.#options = options;
    this.#files = options.files ?? nodeFiles;
    this.#ballast = new Ballast(this.#files, `${options.path}.ballast`, options.ballastBytes ?? 2 * mebibyte);
  }

  /**
   * Reads or makes the journal and records this start: when it resolves the raised incarnation is durable.
   * @throws BerthError `JournalCorrupt`, `JournalFailed`
   */
  static async open(options: FileJournalOptions): Promise<FileJournal> {
    const journal = new FileJournal(options);
    try {
      await journal.#load();
      const { storeID, incarnation } = journal.#state;
      const start = { kind: 'Incarnation', storeID: storeID || options.newStoreID, incarnation: incarnation + 1 } as const;
      journal.#state = applyRecords(journal.#state, [start]);
      if (!(await journal.#isRewritten())) await journal.#goOn(start);
    } catch (error) {
      if (error instanceof BerthError) throw error;
      throw journalFailed(options.path, error);
    }
    await journal.#restoreBallast();
    return journal;
  }

  state(): JournalState {
    return this.#state;
  }

  isFull(): boolean {
    return !this.#ballast.isHeld;
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
    this.#restoreTimer?.cancel();
    this.#isRestoreDue = false;
    await this.#writing;
    this.#restoreTimer?.cancel();
    this.#failure ??= journalFailed(this.#options.path, new Error('it was closed'));
    await this.#file?.close();
    this.#file = undefined;
  }

  async #load(): Promise<void> {
    const { path, log } = this.#options;
    const text = await this.#files.read(path);
    const { records, soundBytes } = decodeJournal(text, path);
    const bytes = Buffer.byteLength(text);
    if (soundBytes < bytes) log.warn({ path, bytes: bytes - soundBytes }, 'The end of the journal was torn and is cut');
    this.#state = applyRecords(emptyJournal, records);
    this.#length = soundBytes;
  }

  /** Goes on in the file that is there: the disk has no room for another one. */
  async #goOn(start: JournalRecord): Promise<void> {
    this.#file = await this.#files.open(this.#options.path, 'Kept');
    await this.#file.truncate(this.#length);
    await this.#append([start]);
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0 || this.#isRestoreDue) {
      if (this.#isRestoreDue) await this.#restoreBallast();
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        if (batch.length > 0) await this.#makeDurable(batch.flatMap(({ records }) => records));
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
    if (this.#grown > (this.#options.compactAfterBytes ?? 4 * mebibyte)) {
      if (await this.#isRewritten()) return;
      // It is tried again when it has grown as much once more.
      this.#grown = 0;
    }
    await this.#append(records);
  }

  async #append(records: readonly JournalRecord[]): Promise<void> {
    const header = this.#length === 0 ? `${journalHeader}\n` : '';
    const bytes = Buffer.from(`${header}${encodeLine(records)}`);
    try {
      await this.#put(bytes);
    } catch (error) {
      if (!isNoRoom(error) || !(await this.#ballast.release())) throw error;
      const { path, log } = this.#options;
      log.warn({ path, said: messageOf(error) }, 'The disk is full: the journal uses its reserve, and only what frees room is taken on');
      this.#restoreLater();
      await this.#put(bytes);
    }
  }

  /** All of it, or nothing: half a line must not stand before the next. */
  async #put(bytes: Buffer): Promise<void> {
    try {
      await this.#file?.write(bytes, this.#length);
      FAILPOINT: failpoint('journal.written');
      await this.#file?.sync();
      FAILPOINT: failpoint('journal.synced');
    } catch (error) {
      if (isNoRoom(error)) await this.#file?.truncate(this.#length);
      throw error;
    }
    this.#length += bytes.length;
    this.#grown += bytes.length;
  }

  /** Everything in `state()` into a new file, which takes the place of the old one as a whole. False: there is no room for it. */
  async #isRewritten(): Promise<boolean> {
    const { path, clock } = this.#options;
    const records = compact(this.#state, clock.now());
    const bytes = Buffer.from(`${journalHeader}\n${records.map((record) => encodeLine([record])).join('')}`);
    const aside = `${path}.new`;
    this.#state = applyRecords(emptyJournal, records);
    const next = await this.#writeAside(aside, bytes);
    if (next === undefined) return false;
    await this.#files.replace(path, aside);
    FAILPOINT: failpoint('journal.renamed');
    await this.#file?.close();
    this.#file = next;
    this.#length = bytes.length;
    this.#grown = 0;
    return true;
  }

  async #writeAside(path: string, bytes: Buffer): Promise<JournalFile | undefined> {
    const file = await this.#files.open(path, 'Emptied');
    try {
      await file.write(bytes, 0);
      await file.sync();
      FAILPOINT: failpoint('journal.rewritten');
      return file;
    } catch (error) {
      await file.close();
      if (!isNoRoom(error)) throw error;
      await this.#files.remove(path);
      return undefined;
    }
  }

  /** Sets room aside again, or looks again later. */
  async #restoreBallast(): Promise<void> {
    this.#isRestoreDue = false;
    try {
      if (await this.#ballast.restore()) return;
    } catch (error) {
      this.#options.log.warn({ path: this.#options.path, said: messageOf(error) }, 'No room could be set aside for the journal');
    }
    this.#restoreLater();
  }

  #restoreLater(): void {
    this.#restoreTimer?.cancel();
    this.#restoreTimer = this.#options.clock.after(fullMs, () => {
      this.#isRestoreDue = true;
      if (this.#failure === undefined) this.#writing ??= this.#write();
    });
  }
}
