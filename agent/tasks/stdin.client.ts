import { closeSync, constants, openSync, write } from 'node:fs';
import { type Clock, sleep } from '../../process/clock.ts';

const retryMs = 5;
const piece = 64 * 1024;

/**
 * Feeds the FIFO that a process reads as its stdin. It is held open for reading too, so that nothing is lost before the process reads, and the
 * process sees the end when it is closed: also when this agent dies.
 */
export class StdinFeed {
  readonly #fd: number;
  readonly #clock: Clock;
  #isClosed = false;
  #isTaken = false;
  #last: Promise<void>;
  #written = 0;

  constructor(path: string, begin: Promise<Uint8Array>, clock: Clock) {
    this.#clock = clock;
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    this.#last = begin.then((bytes) => this.#writeAll(bytes));
    this.#last.catch(() => undefined);
  }

  /** Bytes that were taken from transfers. */
  get written(): number {
    return this.#written;
  }

  /** One at a time may feed it. False: another does, or it has seen its end. */
  take(): boolean {
    if (this.#isTaken || this.#isClosed) return false;
    this.#isTaken = true;
    return true;
  }

  release(): void {
    this.#isTaken = false;
  }

  /** Resolves when the pipe has taken it, which it does as fast as the process reads. */
  async feed(bytes: Uint8Array): Promise<void> {
    this.#last = this.#last.then(() => this.#writeAll(bytes));
    await this.#last;
    this.#written += bytes.length;
  }

  /** After what was fed the process sees the end. */
  async end(): Promise<void> {
    await this.#last.catch(() => undefined);
    this.close();
  }

  /** What was not written yet is dropped. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Not while a write is under way: its number would be another file's.
    this.#last.catch(() => undefined).finally(() => closeSync(this.#fd));
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && !this.#isClosed;) {
      const written = await writeSome(this.#fd, bytes.subarray(done, done + piece));
      done += written;
      if (written === 0) await sleep(this.#clock, retryMs);
    }
  }
}

function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, (error, written) => {
      if (error === null) resolve(written);
      else if (error.code === 'EAGAIN') resolve(0);
      else reject(error);
    });
  });
}
