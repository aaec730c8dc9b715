import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import type { FailpointAction } from '../../process/failpoints.ts';
import type { Part } from './part.ts';

/** A part of a cluster with `failpoints: true` that is to end, or to freeze, at a named place. */
export class CrashablePart {
  readonly part: Part;
  readonly #file: string;

  /** `directory` is the instance's own: what is armed lies there as a file. The part must be started after this. */
  constructor(part: Part, directory: string) {
    this.part = part;
    this.#file = `${directory}/failpoint.${part.name}`;
    part.setEnvironment({ BERTH_FAILPOINT: `@${this.#file}` });
  }

  /** From now on it ends, or freezes, the `nth` time that it reaches the place. It may run already. */
  arm(failpoint: string, nth = 1, action: FailpointAction = 'kill'): void {
    writeFileSync(`${this.#file}.new`, `${failpoint}:${nth}=${action}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }

  /** Whether it is armed and has not got there. */
  get isArmed(): boolean {
    return existsSync(this.#file);
  }

  disarm(): void {
    rmSync(this.#file, { force: true });
  }

  /** Resolves when the process has died at the failpoint. @throws BerthError `FailpointNotReached`. */
  async died(timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (this.isArmed || this.part.isRunning) {
      await delay(10);
      if (performance.now() < end) continue;
      this.disarm();
      throw new BerthError('FailpointNotReached', `${this.part.name} did not die at its failpoint within ${timeoutMs / 1000} s.`);
    }
  }
}
