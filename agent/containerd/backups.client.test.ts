import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import type { BackupRequest } from '../copies/runtime.ts';
import type { Images } from '../images/images.client.ts';
import { Backups } from './backups.client.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { Freezes } from './freezes.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { ContentService } from './gen/services/content/v1/content.ts';
import { DiffService } from './gen/services/diff/v1/diff.ts';
import { SnapshotsService } from './gen/services/snapshots/v1/snapshots.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { Status } from './gen/types/task/task.ts';
import { snapshotLabels } from './labels.ts';
import type { Tasks } from './tasks.client.ts';

const request: BackupRequest = {
  key: { uid: 'u1', epoch: 1 },
  id: 1,
  repository: 'registry.example.com/backups/box',
  contentVersion: 1,
  credentials: [],
};
const amounts = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };
const labels = snapshotLabels('install', {
  ...{
    key: request.key,
    namespace: 'team',
    name: 'box',
    note: { order: 0, contentVersion: 1 },
    requests: amounts,
    baseDigest: 'sha256:base',
  },
  ...{ configHash: '', diskLimitBytes: 0, bootID: '', startTimeMs: 0, shimGroup: '' },
});
const image = JSON.stringify({ layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: 'sha256:layer', size: 1 }] });

/** The chain of the image's one layer. */
const chain = 'sha256:diff';
const upper = ['upperdir=/u', 'workdir=/w'];

/** A containerd in which a comparison lasts until it is cancelled, and a copy whose task is in this state. */
class Stage {
  readonly clock = new FakeClock();
  readonly called: string[] = [];
  readonly compared: unknown[] = [];
  contentsRead = 0;
  pulls = 0;
  hasLayer = true;
  parent = chain;
  mounts: readonly object[] = [];
  task: Status | undefined = Status.RUNNING;
  processes: number[] = [];
  /** Then a pause finds no task, and the processes live on. */
  isShimGone = false;
  readonly backups: Backups;

  constructor() {
    const tasks = { get: () => Promise.resolve(this.task === undefined ? undefined : { status: this.task }) };
    const images = {
      onChain: () => Promise.resolve([{ name: 'base', digest: 'sha256:base' }]),
      contents: () => {
        this.contentsRead += 1;
        return Promise.resolve({ manifest: image, config: JSON.stringify({ rootfs: { diff_ids: ['sha256:diff'] } }) });
      },
      ensure: () => {
        this.pulls += 1;
        return Promise.resolve();
      },
    };
    this.backups = new Backups({
      connection: { call: this.#call, duplex: this.#duplex } as unknown as ContainerdConnection,
      images: images as unknown as Images,
      tasks: tasks as unknown as Tasks,
      cgroups: { processes: () => Promise.resolve(this.processes) } as unknown as Cgroups,
      freezes: new Freezes(),
      transfer: { snapshotter: 'overlayfs', architecture: 'amd64', plainHttpHosts: [], registryConfigDir: '' },
      ...{ installID: 'install', snapshotter: 'overlayfs', clock: this.clock, logger: silentLogger, maxPauseMs: 60_000 },
    });
  }

  /** The writes of blobs: there are none. */
  readonly #duplex = (): never => {
    throw new ContainerdError(ContentService.write.path, status.notFound, 'not found');
  };

  readonly #call = <Req, Res>(method: Method<Req, Res>, asked: Req, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Res> => {
    this.called.push(method.path);
    if (method.path === DiffService.diff.path) this.compared.push((asked as { readonly left: unknown }).left);
    const answers: Readonly<Record<string, () => Promise<unknown>>> = {
      [SnapshotsService.stat.path]: () => Promise.resolve({ info: { parent: this.parent, labels } }),
      [ContentService.info.path]: () =>
        this.hasLayer ? Promise.resolve({}) : Promise.reject(new ContainerdError(method.path, status.notFound, 'not found')),
      [ContainersService.get.path]: () => Promise.resolve({ container: { image: 'registry.example.com/base:1' } }),
      [SnapshotsService.view.path]: () => Promise.resolve({ mounts: [view((asked as { readonly parent: string }).parent)] }),
      [SnapshotsService.mounts.path]: () => Promise.resolve({ mounts: this.mounts }),
      [ContentService.status.path]: () => Promise.reject(new ContainerdError(method.path, status.notFound, 'not found')),
      [TasksService.pause.path]: () => this.#pause(),
      [TasksService.resume.path]: () => Promise.resolve((this.task = Status.RUNNING)),
      [DiffService.diff.path]: () =>
        new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => reject(new ContainerdError(method.path, status.cancelled, 'cancelled')));
        }),
    };
    return (answers[method.path]?.() ?? Promise.resolve({})) as Promise<Res>;
  };

  #pause(): Promise<void> {
    if (!this.isShimGone) {
      this.task = Status.PAUSED;
      return Promise.resolve();
    }
    [this.task, this.processes] = [undefined, [7]];
    return Promise.reject(new ContainerdError(TasksService.pause.path, status.notFound, 'no such task'));
  }

  read(): Promise<unknown> {
    return this.backups.read(request, () => undefined, new AbortController().signal);
  }
}

const overlay = (...options: string[]) => ({ type: 'overlay', source: 'overlay', target: '', options });
const view = (parent: string) => ({ type: 'bind', source: `/view/${parent}`, target: '', options: ['ro', 'rbind'] });

describe('a copy is compared with the layers of its base image', () => {
  const comparedWith = async (parent: string, mounts: readonly object[]) => {
    const stage = new Stage();
    [stage.parent, stage.mounts, stage.task] = [parent, mounts, Status.STOPPED];
    stage.read().catch(() => undefined);
    await stage.clock.run(1_000);
    return { left: stage.compared[0], called: stage.called };
  };

  it('where they lie, when it stands on them', async () => {
    const { left, called } = await comparedWith(chain, [overlay(...upper, 'lowerdir=/base')]);
    expect(left).toEqual([{ type: 'bind', source: '/base', target: '', options: ['ro', 'rbind'] }]);
    expect(called).not.toContain(SnapshotsService.view.path);
  });

  it('and not with the backup that it was restored from', async () => {
    const { left } = await comparedWith('sha256:of-a-backup', [overlay(...upper, 'lowerdir=/backup:/base')]);
    expect(left).toEqual([view(chain)]);
  });

  it('of which is asked each time whether they are here still; what is known of the image is not read again', async () => {
    const stage = new Stage();
    [stage.mounts, stage.task] = [[overlay(...upper, 'lowerdir=/base')], Status.STOPPED];
    const read = async () => {
      stage.read().catch(() => undefined);
      await stage.clock.run(1_000);
    };
    await read();
    await read();
    expect([stage.contentsRead, stage.compared.length, stage.pulls]).toEqual([1, 2, 0]);
    stage.hasLayer = false;
    await read();
    expect([stage.contentsRead, stage.compared.length, stage.pulls]).toEqual([1, 3, 1]);
  });

  it('in a view, when its mounts do not say where they lie', async () => {
    const { left } = await comparedWith(chain, [{ type: 'btrfs', source: '/dev/sda1', target: '', options: [] }]);
    expect(left).toEqual([view(chain)]);
  });
});

describe('a backup of a sandbox that runs', () => {
  it('pauses it no longer than it may: then it goes on, and the backup fails with what to do', async () => {
    const stage = new Stage();
    const failed = stage.read().catch((error: unknown) => error);
    await stage.clock.run(59_000);
    expect(stage.task).toBe(Status.PAUSED);
    await stage.clock.run(2_000);
    expect(stage.task).toBe(Status.RUNNING);
    await stage.clock.run(15_000);
    await expect(failed).resolves.toMatchObject({ code: 'BackupFailed', message: expect.stringContaining('paused for 60 s') });
  });

  it('is not begun when its task is gone and processes of it are left', async () => {
    const stage = new Stage();
    stage.isShimGone = true;
    const failed = stage.read().catch((error: unknown) => error);
    await stage.clock.run(1_000);
    await expect(failed).resolves.toMatchObject({ code: 'CopyRunning' });
    expect(stage.called).not.toContain(DiffService.diff.path);
  });
});
