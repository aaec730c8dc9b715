import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { withLock } from './lock.ts';

describe('a lock', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'lock-'));
    path = join(directory, 'lock');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('lets one in at a time, and names the holder to the one who waits', async () => {
    const events: string[] = [];
    const [inside, leave] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    const waits = Promise.withResolvers<string>();
    const first = withLock(
      path,
      () => undefined,
      async () => {
        inside.resolve(undefined);
        await leave.promise;
        events.push('first leaves');
      },
    );
    await inside.promise;
    const second = withLock(path, waits.resolve, async () => {
      events.push('second enters');
      return Promise.resolve();
    });
    expect(await waits.promise).toBe(`waiting for process ${process.pid}, which holds ${path} …`);
    leave.resolve(undefined);
    await Promise.all([first, second]);
    expect(events).toEqual(['first leaves', 'second enters']);
  });

  it('is free again after an error inside, and after its holder was killed', async () => {
    await expect(
      withLock(
        path,
        () => undefined,
        () => Promise.reject(new Error('inside')),
      ),
    ).rejects.toThrow('inside');
    const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    holder.kill('SIGKILL');
    holder.stdin.destroy();
    await expect(
      withLock(
        path,
        () => undefined,
        () => Promise.resolve('mine'),
      ),
    ).resolves.toBe('mine');
  });
});
