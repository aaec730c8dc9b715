import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { KeyedLock } from '../containerd/limits.client.ts';
import { decideRotation, type LogLimits } from './rotation.ts';

export interface LogFilesOptions {
  readonly directory: string;
  readonly limits: LogLimits;
  /** How often the files are looked at, in milliseconds. Default 10,000. */
  readonly everyMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const suffix = '.log';
const piece = 2 ** 20;
/** What is copied in the moment of the cut: little, since nothing else happens in this process meanwhile. */
const lastPiece = 2 ** 16;
const never = new AbortController().signal;

/**
 * The logs of sandboxes: `<id>.log`, which a shim appends to whatever becomes of this process, and `<id>.log.1` and on, the newest first. A
 * log is rotated by copying it and cutting it in place: its writer goes on at the new end. So nobody waits for the agent, and an agent that
 * was away rotates what has grown meanwhile. One that dies between copy and cut leaves lines twice, never none.
 */
export class LogFiles {
  readonly #options: LogFilesOptions;
  readonly #lock = new KeyedLock();
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: LogFilesOptions) {
    this.#options = options;
  }

  /** The file that a sandbox's processes write to. */
  pathOf(id: string): string {
    return join(this.#options.directory, `${id}${suffix}`);
  }

  /** Looks at all logs again and again. */
  start(): void {
    const { clock, logger, everyMs = 10_000 } = this.#options;
    this.#timer = clock.after(everyMs, () => {
      this.rotate()
        .catch((error: unknown) => logger.warn({ said: messageOf(error) }, 'The logs of sandboxes could not be looked at'))
        .finally(() => {
          if (!this.#hasEnded) this.start();
        });
    });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  /** Rotates every log that is too large. One that cannot be is left for the next time. */
  async rotate(): Promise<void> {
    const { directory, logger } = this.#options;
    const names = await readdir(directory);
    for (const id of names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length))) {
      try {
        await this.#lock.run(id, never, () => this.#rotateOne(id, names));
      } catch (error) {
        logger.warn({ id, said: messageOf(error) }, 'A log could not be rotated');
      }
    }
  }

  /** Removes every file of a sandbox's log. */
  async remove(id: string): Promise<void> {
    const { directory } = this.#options;
    await this.#lock.run(id, never, async () => {
      const mine = (await readdir(directory)).filter((name) => name === `${id}${suffix}` || name.startsWith(`${id}${suffix}.`));
      await Promise.all(mine.map((name) => rm(join(directory, name), { force: true })));
    });
  }

  async #rotateOne(id: string, names: readonly string[]): Promise<void> {
    const { limits, logger } = this.#options;
    const path = this.pathOf(id);
    const current = (await stat(path).catch(absent))?.size ?? 0;
    if (current <= limits.maxBytes) return;
    const numbers = rotatedOf(id, names);
    const rotated = await Promise.all(numbers.map(async (number) => (await stat(`${path}.${number}`).catch(absent))?.size ?? 0));
    const plan = decideRotation({ current, rotated }, limits);
    if (plan === undefined) return;
    for (const number of numbers.slice(plan.keep)) await rm(`${path}.${number}`, { force: true });
    try {
      await moveContent(path, plan.skip);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      // A writer that gets this error never writes again: better an old line lost than every new one.
      for (const number of ['new', ...numbers]) await rm(`${path}.${number}`, { force: true });
      await cut(path);
      logger.warn({ id }, 'The disk is full: a log was cut without keeping what was in it');
      return;
    }
    for (const number of numbers.slice(0, plan.keep).toReversed()) await rename(`${path}.${number}`, `${path}.${number + 1}`);
    await rename(`${path}.new`, `${path}.1`);
  }
}

/** Copies all but the first bytes of the file into `.new` beside it, and cuts it in the moment in which nothing is left to copy. */
async function moveContent(path: string, skip: number): Promise<void> {
  const source = await open(path, 'r+');
  const target = await open(`${path}.new`, 'w', 0o600);
  try {
    const copied = await copyTo(source, target, skip);
    // From here to the cut everything is done at once, so that what is written in between is as little as can be.
    const buffer = Buffer.allocUnsafe(lastPiece);
    for (let at = copied; ;) {
      const bytes = readSync(source.fd, buffer, 0, lastPiece, at);
      if (bytes > 0) writeSync(target.fd, buffer, 0, bytes);
      at += bytes;
      if (fstatSync(source.fd).size <= at) break;
    }
    ftruncateSync(source.fd, 0);
  } finally {
    await source.close();
    await target.close();
  }
}

/** Copies until little is left; returns how far it came. */
async function copyTo(source: FileHandle, target: FileHandle, from: number): Promise<number> {
  const buffer = Buffer.allocUnsafe(piece);
  let at = from;
  while ((await source.stat()).size - at > lastPiece) {
    const { bytesRead } = await source.read(buffer, 0, piece, at);
    await target.write(buffer, 0, bytesRead);
    at += bytesRead;
  }
  return at;
}

async function cut(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.truncate(0);
  } finally {
    await file.close();
  }
}

/** The numbers of what was rotated, the newest first. */
function rotatedOf(id: string, names: readonly string[]): readonly number[] {
  const start = `${id}${suffix}.`;
  return names
    .filter((name) => name.startsWith(start) && /^[1-9]\d*$/.test(name.slice(start.length)))
    .map((name) => Number(name.slice(start.length)))
    .toSorted((a, b) => a - b);
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  return undefined;
}
