import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockDirectory } from './lock.client.ts';

describe('lock of a directory', () => {
  let path: string;
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), `berth-lock-${'long'.repeat(30)}-`));
  });
  afterEach(() => rm(path, { recursive: true }));

  it('is held by one only, and free again when it is released', async () => {
    const first = await lockDirectory(path);
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: 'StateDirInUse' });
    await first.release();
    await (await lockDirectory(path)).release();
    expect(await readdir(path)).toEqual([]);
  });

  it('of many that try at once one gets it', async () => {
    const tries = await Promise.allSettled(Array.from({ length: 10 }, () => lockDirectory(path)));
    const got = tries.filter((one) => one.status === 'fulfilled');
    expect(got).toHaveLength(1);
    await got[0]?.value.release();
  });

  it('is free when the process that held it was killed', async () => {
    const file = join(import.meta.dirname, 'lock.client.ts');
    const script = `const { lockDirectory } = await import(${JSON.stringify(file)}); await lockDirectory(${JSON.stringify(path)}); console.log('held'); setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: 'StateDirInUse' });
    const ended = once(holder, 'exit');
    holder.kill('SIGKILL');
    await ended;
    await (await lockDirectory(path)).release();
  });
});
