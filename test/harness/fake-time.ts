import { readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '../../process/errors.ts';
import type { Part } from './part.ts';

/** The wall clock of one part, by libfaketime; its monotonic clock is the machine's. The part must be started after this. */
export class FakeTime {
  readonly #file: string;

  /** `directory` is the instance's own. The clock begins `offsetSeconds` from the machine's. */
  constructor(part: Part, directory: string, offsetSeconds = 0) {
    this.#file = join(directory, `faketime.${part.name}`);
    this.jumpTo(offsetSeconds);
    part.setEnvironment({
      LD_PRELOAD: library(),
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    });
  }

  /** Within about a second the clock is that far from the machine's, however far it was before. */
  jumpTo(offsetSeconds: number): void {
    writeFileSync(`${this.#file}.new`, `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}s\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

/** Debian keeps it below the directory of the architecture. */
function library(): string {
  const places = readdirSync('/usr/lib').map((name) => join('/usr/lib', name, 'faketime'));
  const found = places.map((place) => files(place).map((name) => join(place, name))).flat();
  const path = found.find((name) => name.endsWith('libfaketimeMT.so.1'));
  if (path === undefined) throw new BerthError('ToolMissing', 'libfaketime is not below /usr/lib: install the package faketime.');
  return path;
}

function files(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
