import { describe, expect, it } from '@jest/globals';
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
    const tasks = new Tasks({ connection, groups, cgroups, runtimeRoot: '/nowhere-at-all', clock: new FakeClock() });
    await groups.join('lost', () => Promise.resolve());
    await groups.settled();
    expect([...records]).toEqual(['lost']);
    expect(await tasks.end('lost', 0, new AbortController().signal)).toBeUndefined();
    await groups.settled();
    expect([...records]).toEqual([]);
    await expect(groups.join('next', (place) => Promise.resolve(place))).resolves.toEqual({ group: 'next', sandbox: '' });
  });
});
