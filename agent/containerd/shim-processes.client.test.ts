import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { hasChildren } from './machine-processes.client.ts';
import { ShimProcesses } from './shim-processes.client.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'berth-shims-'));
});
afterEach(() => rm(root, { recursive: true }));

/** A program that is called like a shim: with a process below it, until it is told to go on alone. */
async function aShim(founder: string) {
  const path = join(root, 'containerd-shim-runc-v2');
  await writeFile(path, '#!/bin/sh\nsleep 1000 & child=$!\nread line\nkill $child; wait\nread line\n');
  await chmod(path, 0o755);
  const address = join(root, 'containerd.sock');
  const shim = spawn(path, ['-namespace', 'berth', '-id', founder, '-address', address], { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = once(shim, 'exit');
  const until = async (isSo: () => Promise<boolean>) => {
    while (!(await isSo())) await delay(10);
  };
  const pid = shim.pid ?? 0;
  await until(() => hasChildren(pid));
  return {
    ...{ pid, address, ended },
    goOnAlone: async () => {
      shim.stdin.write('\n');
      await until(async () => !(await hasChildren(pid)));
    },
  };
}

describe('a shim', () => {
  it('is found by the containerd and the namespace that it serves, and by no other', async () => {
    const shim = await aShim('a-1');
    const of = (serving: { address: string; namespace: string }) => new ShimProcesses(serving).list();
    expect(await of({ address: shim.address, namespace: 'berth' })).toEqual([
      { pid: shim.pid, founder: 'a-1', started: expect.any(Number) as unknown },
    ]);
    expect(await of({ address: shim.address, namespace: 'other' })).toEqual([]);
    expect(await of({ address: '/other.sock', namespace: 'berth' })).toEqual([]);
    await shim.goOnAlone();
    process.kill(shim.pid);
    await shim.ended;
  });

  it('is ended only when no process is below it, and only that very one', async () => {
    const shim = await aShim('a-1');
    const shims = new ShimProcesses({ address: shim.address, namespace: 'berth' });
    const [known] = await shims.list();
    if (known === undefined) throw new Error('the shim is not found');
    expect(await shims.end(known)).toBe(false);
    await shim.goOnAlone();
    expect(await shims.end({ ...known, started: known.started - 1 })).toBe(false);
    expect(await shims.end({ ...known, founder: 'b-1' })).toBe(false);
    expect(await shims.list()).toEqual([known]);
    expect(await shims.end(known)).toBe(true);
    expect(await shim.ended).toEqual([null, 'SIGTERM']);
    expect(await shims.list()).toEqual([]);
    expect(await shims.end(known)).toBe(false);
  });
});
