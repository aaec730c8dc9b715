import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError } from '../process/errors.ts';
import type { Log } from './progress.ts';

/**
 * Runs `work` while holding an exclusive lock on `path`. The lock is the kernel's (flock), held by a small process that ends with this one,
 * so that a crash leaves nothing stale. The file names the holder, for those who wait.
 * @throws BerthError `LockFailed` when flock(1) cannot be run.
 */
export async function withLock<T>(path: string, log: Log, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const holder = await acquire(path, log);
  try {
    await writeFile(path, `${process.pid}\n`);
    return await work();
  } finally {
    const ended = once(holder, 'exit');
    holder.stdin.end();
    await ended;
  }
}

async function acquire(path: string, log: Log) {
  const immediate = await flock(path, ['--nonblock', '--conflict-exit-code', '75']);
  if (immediate !== 75) return immediate;
  const owner = (await readFile(path, 'utf8')).trim();
  log(`waiting for process ${owner || '(unknown)'}, which holds ${path} …`);
  const waited = await flock(path, []);
  if (waited === 75) throw new BerthError('LockFailed', `The lock ${path} could not be taken.`);
  return waited;
}

/** Resolves when the lock is held: `cat` echoes the first byte only then. */
async function flock(path: string, options: readonly string[]) {
  const child = spawn('flock', ['--exclusive', ...options, path, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const refused = new Promise<75>((resolve, reject) => {
    child.once('error', (cause) => reject(new BerthError('LockFailed', 'flock is missing: install the package util-linux.', { cause })));
    child.once('exit', (code) => {
      if (code === 75) resolve(75);
      else reject(new BerthError('LockFailed', `flock ${path} ended with status ${String(code)}.`));
    });
  });
  refused.catch(() => undefined);
  // A flock that could not take the lock has ended; its exit status says so.
  child.stdin.on('error', () => undefined);
  child.stdin.write('.');
  const held = once(child.stdout, 'data').then(() => child);
  return Promise.race([held, refused]);
}
