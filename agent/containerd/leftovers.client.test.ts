import { beforeEach, describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import type { Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { Leftovers } from './leftovers.client.ts';
import { idleMs, type Shim } from './leftovers.ts';

/** A containerd with these records and tasks. */
class FakeContainerd {
  readonly records = new Set<string>();
  readonly tasks: string[] = [];
  /** What happens right after the records were listed. */
  afterList: () => void = () => undefined;
  isAway = false;

  call<Req, Res>({ path }: Method<Req, Res>, request: Req): Promise<Res> {
    if (this.isAway) return Promise.reject(new ContainerdError(path, status.unavailable, 'away'));
    if (path === TasksService.list.path) return Promise.resolve({ tasks: this.tasks.map((id) => ({ id })) } as Res);
    const { id } = request as { readonly id: string };
    return this.records.has(id)
      ? Promise.resolve({ container: { id } } as Res)
      : Promise.reject(new ContainerdError(path, status.notFound, 'not found'));
  }

  collect<Req, Item>({ path }: Method<Req, Item>): Promise<readonly Item[]> {
    expect(path).toBe(ContainersService.listStream.path);
    const items = [...this.records].map((id) => ({ container: { id, labels: {} } }) as Item);
    this.afterList();
    return Promise.resolve(items);
  }
}

let containerd: FakeContainerd;
let inRuntime: string[];
let removed: string[];
let shims: Shim[];
let ended: number[];
let clock: FakeClock;
let leftovers: Leftovers;
beforeEach(() => {
  containerd = new FakeContainerd();
  inRuntime = [];
  removed = [];
  [shims, ended] = [[], []];
  clock = new FakeClock();
  leftovers = new Leftovers({
    connection: containerd,
    cgroups: { processes: () => Promise.resolve([]) },
    tasks: {
      inRuntime: () => Promise.resolve(inRuntime),
      removeLost: (id) => {
        if (id === 'stuck-1') return Promise.reject(new Error('it does not end'));
        removed.push(id);
        return Promise.resolve();
      },
    },
    shims: {
      list: () => Promise.resolve(shims),
      end: ({ pid }) => {
        ended.push(pid);
        return Promise.resolve(true);
      },
    },
    clock,
    logger: silentLogger,
  });
});

describe('a look at what containerd has lost', () => {
  it('removes what had no record at the look before, too, and nothing else', async () => {
    containerd.records.add('kept-1');
    inRuntime = ['kept-1', 'lost-1'];
    await leftovers.look();
    expect(removed).toEqual([]);
    await leftovers.look();
    expect(removed).toEqual(['lost-1']);
  });

  it('leaves what has a record again since the records were listed', async () => {
    inRuntime = ['back-1'];
    await leftovers.look();
    containerd.afterList = () => containerd.records.add('back-1');
    await leftovers.look();
    expect(removed).toEqual([]);
  });

  it('goes on with the others when one cannot be removed', async () => {
    inRuntime = ['stuck-1', 'lost-1'];
    await leftovers.look();
    await leftovers.look();
    expect(removed).toEqual(['lost-1']);
  });

  it('takes no look that failed for one that found nothing', async () => {
    inRuntime = ['lost-1'];
    await leftovers.look();
    containerd.isAway = true;
    await expect(leftovers.look()).rejects.toThrow('away');
    containerd.isAway = false;
    await leftovers.look();
    expect(removed).toEqual([]);
    await leftovers.look();
    expect(removed).toEqual(['lost-1']);
  });

  it('removes nothing any more once it is stopped', async () => {
    inRuntime = ['lost-1'];
    await leftovers.look();
    containerd.afterList = () => leftovers.stop();
    await leftovers.look();
    expect(removed).toEqual([]);
  });

  it('ends a shim when nothing was in it for long enough, and not when it was used meanwhile', async () => {
    shims = [
      { pid: 10, started: 1, founder: 'gone-1' },
      { pid: 20, started: 1, founder: 'kept-1' },
    ];
    await leftovers.look();
    containerd.tasks.push('kept-1');
    clock.advance(idleMs - 1);
    await leftovers.look();
    containerd.tasks.length = 0;
    expect(ended).toEqual([]);
    clock.advance(1);
    await leftovers.look();
    expect(ended).toEqual([10]);
  });
});
