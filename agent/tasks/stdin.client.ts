import { closeSync, constants, openSync, write } from 'node:fs';
import { type Clock, sleep } from '../../process/clock.ts';

const retryMs = 5;
const piece = 64 * 1024;

/**
 * Feeds the FIFO that a process reads as its stdin. It is held open for reading too, so that nothing is lost before the process reads. The runtime
 * holds it open as well, until it is told: so an agent may be away in between.
 */
export class StdinFeed {
  readonly #fd: number;
  readonly #clock: Clock;
  #isClosed = false;
  #isTaken = false;
  #last: Promise<void>;
  readonly #closeStdin: () => Promise<void>;

  /** `closeStdin` tells the runtime that nothing follows. */
  constructor(path: string, begin: Promise<Uint8Array>, closeStdin: () => Promise<void>, clock: Clock) {
    this.#clock = clock;
    this.#closeStdin = closeStdin;
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    this.#last = begin.then((bytes) => this.#writeAll(bytes));
    this.#last.catch(() => undefined);
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
  }

  /** After what was fed the process sees the end. */
  async end(): Promise<void> {
    await this.#last.catch(() => undefined);
    this.close();
    await this.#closeStdin();
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
