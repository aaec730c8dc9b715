import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { systemClock } from '../../process/system-clock.ts';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { type StoreCreateRequest, type StoreDeleteRequest, StoreService } from './gen/services/sandbox/v1/sandbox.ts';
import { ShimGroups } from './shim-groups.client.ts';
import { Tasks } from './tasks.client.ts';

/** A containerd that has a sandbox store and knows no task. */
function withoutTasks() {
  const records = new Set<string>();
  const connection = {
    namespace: 'berth',
    call: <Req, Res>(method: Method<Req, Res>, request: Req): Promise<Res> => {
      switch (method.path) {
        case StoreService.create.path:
          records.add((request as StoreCreateRequest).sandbox?.sandboxId ?? '');
          return Promise.resolve({} as Res);
        case StoreService.delete.path:
          records.delete((request as StoreDeleteRequest).sandboxId);
          return Promise.resolve({} as Res);
        default:
          return Promise.reject(new ContainerdError(method.path, status.notFound, 'not found'));
      }
    },
  } as unknown as ContainerdConnection;
  return { connection, records };
}

describe('a task that containerd has lost', () => {
  it('leaves its shim group, so that nobody joins a shim that is gone', async () => {
    const { connection, records } = withoutTasks();
    const groups = new ShimGroups({ connection, size: 10, logger: silentLogger });
    const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
    const tasks = new Tasks({ connection, groups, cgroups, runtimeRoot: '/nowhere-at-all', clock: new FakeClock(), logger: silentLogger });
    await groups.join('lost', () => Promise.resolve());
    await groups.settled();
    expect([...records]).toEqual(['lost']);
    expect(await tasks.end('lost', 0, new AbortController().signal)).toBeUndefined();
    await groups.settled();
    expect([...records]).toEqual([]);
    await expect(groups.join('next', (place) => Promise.resolve(place))).resolves.toEqual({ group: 'next', sandbox: '' });
  });
});

describe('a task whose shim ends in the middle of its removal', () => {
  const removal = (answers: ContainerdError[]) => {
    const connection = {
      namespace: 'berth',
      call: (method: Method<unknown, unknown>) =>
        Promise.reject(answers.shift() ?? new ContainerdError(method.path, status.notFound, 'gone')),
    } as unknown as ContainerdConnection;
    const groups = new ShimGroups({ connection, size: 10, logger: silentLogger });
    const cgroups = new Cgroups({ parent: '/nowhere-at-all' });
    const clock = new FakeClock();
    const tasks = new Tasks({ connection, groups, cgroups, runtimeRoot: '/nowhere-at-all', clock, logger: silentLogger });
    return { clock, done: tasks.delete('last', new AbortController().signal) };
  };
  const closed = () => new ContainerdError('Tasks/Delete', status.unknown, 'failed to delete task: ttrpc: closed');

  it('is asked for again, and removed when containerd says that it is gone', async () => {
    const { clock, done } = removal([closed()]);
    await clock.run(20);
    await expect(done).resolves.toBeUndefined();
  });

  it('fails when containerd goes on saying so', async () => {
    const { clock, done } = removal(Array.from({ length: 1000 }, closed));
    const failed = expect(done).rejects.toMatchObject({ said: expect.stringContaining('ttrpc: closed') });
    await clock.run(3_000);
    await failed;
  });

  it('fails at once by anything else', async () => {
    await expect(removal([new ContainerdError('Tasks/Delete', status.unknown, 'disk full')]).done).rejects.toMatchObject({
      said: 'disk full',
    });
  });
});

describe('what is left of a task that containerd has lost', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'berth-lost-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  /** Directories stand for cgroups: with nothing in them they are removed in the same way. */
  const setUp = async (version: 1 | 2) => {
    const mountPoint = join(root, 'cgroup');
    const hierarchies = version === 1 ? ['memory', 'pids', 'freezer'].map((name) => join(mountPoint, name)) : [mountPoint];
    for (const hierarchy of hierarchies) {
      await mkdir(join(hierarchy, 'berth', 'lost-1', 'below'), { recursive: true });
      await mkdir(join(hierarchy, 'berth', 'other-1'), { recursive: true });
      await writeFile(join(hierarchy, 'cgroup.procs'), '');
    }
    if (version === 2) await writeFile(join(mountPoint, 'cgroup.controllers'), '');
    // Nothing is mounted here.
    else await mkdir(join(mountPoint, 'unified', 'berth', 'lost-1'), { recursive: true });
    const runtimeRoot = join(root, 'oci');
    for (const id of ['lost-1', 'other-1']) {
      await mkdir(join(runtimeRoot, 'berth', id), { recursive: true });
      await writeFile(join(runtimeRoot, 'berth', id, 'status'), '{}');
    }
    const { connection } = withoutTasks();
    const groups = new ShimGroups({ connection, size: 10, logger: silentLogger });
    const cgroups = new Cgroups({ mountPoint });
    const tasks = new Tasks({ connection, groups, cgroups, runtimeRoot, clock: systemClock(), logger: silentLogger });
    return { tasks, hierarchies, mountPoint };
  };

  it.each([1, 2] as const)('is removed, of that one alone (cgroup version %i)', async (version) => {
    const { tasks, hierarchies } = await setUp(version);
    expect((await tasks.inRuntime()).toSorted()).toEqual(['lost-1', 'other-1']);
    expect(await tasks.end('lost-1', 0, new AbortController().signal)).toBeUndefined();
    expect(await tasks.inRuntime()).toEqual(['other-1']);
    for (const hierarchy of hierarchies) expect(await readdir(join(hierarchy, 'berth'))).toEqual(['other-1']);
  });

  it('is none of ours when only a cgroup is there and something runs in it', async () => {
    const { tasks, mountPoint } = await setUp(1);
    await mkdir(join(mountPoint, 'memory', 'berth', 'running-1'));
    await writeFile(join(mountPoint, 'memory', 'berth', 'running-1', 'cgroup.procs'), '0\n');
    expect((await tasks.inRuntime()).toSorted()).toEqual(['lost-1', 'other-1']);
  });

  it('stays to be found again as long as its cgroup cannot be removed, and stops nobody', async () => {
    const { tasks, mountPoint } = await setUp(1);
    const file = join(mountPoint, 'pids', 'berth', 'lost-1', 'busy');
    await writeFile(file, '');
    expect(await tasks.end('lost-1', 0, new AbortController().signal)).toBeUndefined();
    expect(await tasks.inRuntime()).toContain('lost-1');
    await rm(join(root, 'oci', 'berth', 'lost-1'), { recursive: true });
    expect(await tasks.inRuntime()).toContain('lost-1');
    await rm(file);
    await tasks.removeLost('lost-1', new AbortController().signal);
    expect(await tasks.inRuntime()).toEqual(['other-1']);
  });
});
