import { createHash } from 'node:crypto';
import { access, constants, mkdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { BerthError } from '../../process/errors.ts';

/** Where compiled tools are kept: `BERTH_CACHE`, else `$XDG_CACHE_HOME/berth`, else `~/.cache/berth`. Outside the clone, shared by all clones. */
export function cacheDirectory(): string {
  return process.env.BERTH_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'berth');
}

/** A short name for the content of some files and settings: another content, another place in the cache. */
export async function keyOf(files: readonly string[], settings: unknown): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([settings, process.platform, process.arch]));
  for (const file of files) hash.update(await readFile(file));
  return hash.digest('hex').slice(0, 10);
}

export async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Runs `produce` in an empty directory beside `directory`, then moves the files it names into `directory`: nobody ever sees half a file. */
export async function install(directory: string, names: readonly string[], produce: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = `${directory}.tmp-${process.pid}`;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  await mkdir(directory, { recursive: true });
  try {
    await produce(scratch);
    for (const name of names) await rename(join(scratch, name), join(directory, name));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** @throws BerthError `DiskFull` unless the disk of `directory` (created when missing) has `bytes` free. */
export async function requireSpace(directory: string, bytes: number, what: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  if (free >= bytes) return;
  const gib = (value: number) => (value / 2 ** 30).toFixed(1);
  throw new BerthError(
    'DiskFull',
    `${what} needs ${gib(bytes)} GiB on the disk of ${directory}, which has ${gib(free)} GiB free: make room or set BERTH_CACHE, GOCACHE and GOMODCACHE to another disk.`,
  );
}
