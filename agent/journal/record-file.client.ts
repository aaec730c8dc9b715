import type { Clock, Timer } from '../../process/clock.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import { Ballast } from './ballast.client.ts';
import { isNoRoom, type JournalFile, type JournalFiles, nodeFiles } from './files.client.ts';
import { decodeJournal, encodeLine, journalFailed, journalHeader } from './line.ts';

/** What the records of a file mean. */
export interface RecordFormat<State, Record> {
  readonly empty: State;
  /** The state after `records`, in their sequence. */
  readonly apply: (state: State, records: readonly Record[]) => State;
  /** The shortest list of records that gives the same state, without what need not be remembered any more. */
  readonly compact: (state: State, nowMs: number) => readonly Record[];
}

export interface RecordFileOptions {
  /** The file; its directory must exist. */
  readonly path: string;
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
/** So many records are noted before the disk is waited for all the same: each time all of them are written. */
const mostNoted = 32;
/** How often it is looked whether a disk that was full has room again. */
const fullMs = 10_000;

interface Waiting<Record> {
  readonly records: readonly Record[];
  /** It is to be durable, not only written. */
  readonly isAppended: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Records in an append-only file, and the state that they make. Appends that come while a write is under way become durable together, with one fsync.
 * It is written anew (beside, fsync, rename, fsync of the directory) at every start and when it has grown. On a full disk it is not, and what
 * is appended takes the room of the ballast.
 */
export class RecordFile<State, Record> {
  readonly #options: RecordFileOptions;
  readonly #format: RecordFormat<State, Record>;
  readonly #files: JournalFiles;
  readonly #ballast: Ballast;
  #file: JournalFile | undefined;
  #state: State;
  /** The bytes of the file that are sound, and those of them that came since it was written anew. */
  #length = 0;
  #grown = 0;
  #waiting: Waiting<Record>[] = [];
  /** Written behind the sound bytes and perhaps not on the disk yet: what comes next is written over them, together with them. */
  #noted: readonly Record[] = [];
  #writing: Promise<void> | undefined;
  #failure: Error | undefined;
  #isRestoreDue = false;
  #restoreTimer: Timer | undefined;

  private constructor(options: RecordFileOptions, format: RecordFormat<State, Record>) {
    this.#options = options;
    this.#format = format;
    this.#state = format.empty;
    this.#files = options.files ?? nodeFiles;
    this.#ballast = new Ballast(this.#files, `${options.path}.ballast`, options.ballastBytes ?? 2 * mebibyte);
  }

  /**
   * Reads or makes the file and adds what `begin` says to what is in it: when it resolves that is durable.
   * @throws BerthError `JournalCorrupt`, `JournalFailed`
   */
  static async open<State, Record>(
    options: RecordFileOptions,
    format: RecordFormat<State, Record>,
    begin: (state: State) => readonly Record[] = () => [],
  ): Promise<RecordFile<State, Record>> {
    const file = new RecordFile(options, format);
    try {
      await file.#load();
      const start = begin(file.#state);
      file.#state = format.apply(file.#state, start);
      if (!(await file.#isRewritten())) await file.#goOn(start);
    } catch (error) {
      if (error instanceof BerthError) throw error;
      throw journalFailed(options.path, error);
    }
    await file.#restoreBallast();
    return file;
  }

  /** After everything appended so far, durable or not. */
  state(): State {
    return this.#state;
  }

  /** As Journal.isFull. */
  isFull(): boolean {
    return !this.#ballast.isHeld;
  }

  /** As Journal.append. */
  append(records: readonly Record[]): Promise<void> {
    return this.#take(records, true);
  }

  /** As `append`, without waiting for the disk: what is noted outlives this process at once, and the machine when something is appended after it. */
  note(records: readonly Record[]): Promise<void> {
    return this.#take(records, false);
  }

  /** Resolves when everything appended is durable and the file is closed. */
  async close(): Promise<void> {
    this.#restoreTimer?.cancel();
    this.#isRestoreDue = false;
    await this.#writing;
    this.#restoreTimer?.cancel();
    if (this.#noted.length > 0) await this.#file?.sync();
    this.#failure ??= journalFailed(this.#options.path, new Error('it was closed'));
    await this.#file?.close();
    this.#file = undefined;
  }

  async #load(): Promise<void> {
    const { path, log } = this.#options;
    const text = await this.#files.read(path);
    const { records, soundBytes } = decodeJournal<Record>(text, path);
    const bytes = Buffer.byteLength(text);
    if (soundBytes < bytes) log.warn({ path, bytes: bytes - soundBytes }, 'The end of the journal was torn and is cut');
    this.#state = this.#format.apply(this.#format.empty, records);
    this.#length = soundBytes;
  }

  /** Goes on in the file that is there: the disk has no room for another one. */
  async #goOn(start: readonly Record[]): Promise<void> {
    this.#file = await this.#files.open(this.#options.path, 'Kept');
    await this.#file.truncate(this.#length);
    if (start.length > 0) await this.#append(start);
  }

  #take(records: readonly Record[], isAppended: boolean): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#state = this.#format.apply(this.#state, records);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, isAppended, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0 || this.#isRestoreDue) {
      if (this.#isRestoreDue) await this.#restoreBallast();
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const isAppended = batch.some((one) => one.isAppended);
        if (batch.length > 0)
          await this.#keep(
            batch.flatMap(({ records }) => records),
            isAppended,
          );
      } catch (error) {
        this.#fail(journalFailed(this.#options.path, error), batch);
        return;
      }
      for (const { resolve } of batch) resolve();
    }
    this.#writing = undefined;
  }

  #fail(failure: Error, batch: readonly Waiting<Record>[]): void {
    this.#failure = failure;
    for (const { reject } of [...batch, ...this.#waiting]) reject(failure);
    this.#waiting = [];
    this.#writing = undefined;
  }

  async #keep(records: readonly Record[], isAppended: boolean): Promise<void> {
    if (this.#grown > (this.#options.compactAfterBytes ?? 4 * mebibyte)) {
      if (await this.#isRewritten()) return;
      // It is tried again when it has grown as much once more.
      this.#grown = 0;
    }
    const all = [...this.#noted, ...records];
    await this.#append(all, isAppended || all.length >= mostNoted);
  }

  /** A line of all that is not durable, so that what a power loss leaves of a write is the last line. */
  async #append(records: readonly Record[], isAppended = true): Promise<void> {
    const header = this.#length === 0 ? `${journalHeader}\n` : '';
    const bytes = Buffer.from(`${header}${encodeLine(records)}`);
    try {
      await this.#put(bytes, isAppended);
    } catch (error) {
      if (!isNoRoom(error) || !(await this.#ballast.release())) throw error;
      const { path, log } = this.#options;
      log.warn({ path, said: messageOf(error) }, 'The disk is full: the journal uses its reserve, and only what frees room is taken on');
      this.#restoreLater();
      await this.#put(bytes, isAppended);
    }
    this.#noted = isAppended ? [] : records;
  }

  /** All of it, or nothing: half a line must not stand before the next. */
  async #put(bytes: Buffer, isAppended: boolean): Promise<void> {
    try {
      await this.#file?.write(bytes, this.#length);
      FAILPOINT: failpoint('journal.written');
      if (!isAppended) return;
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
    const records = this.#format.compact(this.#state, clock.now());
    const bytes = Buffer.from(`${journalHeader}\n${records.map((record) => encodeLine([record])).join('')}`);
    const aside = `${path}.new`;
    this.#state = this.#format.apply(this.#format.empty, records);
    const next = await this.#writeAside(aside, bytes);
    if (next === undefined) return false;
    this.#noted = [];
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
