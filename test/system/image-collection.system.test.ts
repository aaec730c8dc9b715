import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type ContainerdRuntime, createContainerdRuntime } from '../../agent/containerd/runtime.client.ts';
import type { Attempt, CopyKey } from '../../agent/copies/runtime.ts';
import type { ImageCollection } from '../../agent/images/collector.client.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage, withLayer } from '../harness/images.ts';
import type { Runner } from '../harness/runner.ts';
import { startTimeoutMs } from './world.ts';

describe('images that nothing stands on', () => {
  let cluster: Cluster;
  let runner: Runner;
  let runtime: ContainerdRuntime;
  const images: string[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ operators: 0, agents: false });
    runner = cluster.runner('runner-1');
    for (const name of ['one', 'two', 'three']) {
      const image = withLayer(await demoImage(), [{ path: `etc/${name}`, type: 'file', mode: 0o644, content: name }]);
      images.push(await cluster.pushImage(`${name}:1`, image));
    }
    // The disk is always too full, and nothing is too young.
    runtime = await runtimeWith({ highPercent: 0, lowPercent: 0, minimumAgeMs: 0 });
  }, startTimeoutMs);
  afterAll(async () => {
    await runtime.close();
    await cluster.stop();
  }, startTimeoutMs);

  const runtimeWith = (imageCollection: ImageCollection) =>
    createContainerdRuntime({
      address: runner.socket,
      installID: 'install',
      storeID: 'store',
      bootID: 'boot',
      stateDir: runner.agentStateDir,
      runtimeRoot: runner.runtimeRoot,
      cgroups: { parent: runner.cgroupParent },
      imageCollection,
      clock: systemClock(),
      logger: silentLogger,
    });
  const attempt = (image: string): Attempt => {
    const amounts = { cpuMillis: 100, memoryBytes: 64 * 2 ** 20, diskBytes: 0 };
    return {
      key: { uid: randomUUID(), epoch: 1 },
      namespace: 'team',
      name: 'box',
      source: { kind: 'Image', digest: '' },
      credentials: [],
      secretEnv: [],
      config: {
        hash: 'hash',
        image,
        imagePullPolicy: 'IfNotPresent',
        command: ['sleep', '3600'],
        args: [],
        env: [],
        workingDir: '',
        requests: amounts,
        limits: amounts,
        pidsLimit: 64,
      },
    };
  };
  const prepare = async (image: string): Promise<CopyKey> => {
    const wanted = attempt(image);
    await runtime.prepare(wanted, () => undefined, new AbortController().signal);
    return wanted.key;
  };
  const imageAt = (index: number) => images[index] ?? '';
  const blobs = async () => (await runner.ctr('berth', 'content', 'ls', '-q')).split('\n').filter((line) => line !== '').length;

  it('go, and are pulled again when they are needed; what a stopped copy stands on stays', async () => {
    const [kept, gone] = [await prepare(imageAt(0)), await prepare(imageAt(1))];
    await runtime.stop(kept, 0, new AbortController().signal);
    await runtime.remove(gone);
    const before = await blobs();
    expect(await runtime.collectImages()).toEqual([imageAt(1)]);
    expect([await runtime.images(), (await blobs()) < before]).toEqual([[imageAt(0)], true]);
    expect((await runtime.list()).map(({ key, hasContent }) => [key.uid, hasContent])).toEqual([[kept.uid, true]]);
    const again = await prepare(imageAt(1));
    expect(await runtime.collectImages()).toEqual([]);
    for (const key of [kept, again]) await runtime.remove(key);
    expect((await runtime.collectImages()).toSorted()).toEqual([imageAt(0), imageAt(1)].toSorted());
    expect(await blobs()).toBe(0);
  });

  it('are left while a container that somebody else made stands on them', async () => {
    await runtime.remove(await prepare(imageAt(0)));
    await runner.ctr('berth', 'run', '-d', '--null-io', imageAt(0), 'foreign', 'sleep', '3600');
    expect(await runtime.collectImages()).toEqual([]);
    await runner.ctr('berth', 'tasks', 'rm', '-f', 'foreign');
    await runner.ctr('berth', 'containers', 'rm', 'foreign');
    expect(await runtime.collectImages()).toEqual([imageAt(0)]);
  });

  it('are never taken from under sandboxes that are being made from them in that moment', async () => {
    let isOver = false;
    const collecting = async () => {
      let removed = 0;
      while (!isOver) removed += (await runtime.collectImages()).length;
      return removed;
    };
    const making = async (index: number) => {
      for (let round = 0; round < 6; round++) {
        const key = await prepare(imageAt(index));
        expect((await runtime.list()).find((copy) => copy.key.uid === key.uid)?.task.state).toBe('Created');
        await runtime.remove(key);
      }
    };
    const collected = collecting();
    await Promise.all([making(0), making(0), making(1), making(2)]);
    isOver = true;
    expect(await collected).toBeGreaterThan(0);
  });

  it('of backups go as soon as nothing stands on them, however much room there is', async () => {
    const never = new AbortController().signal;
    const roomy = await runtimeWith({ highPercent: 100, lowPercent: 100, minimumAgeMs: 0 });
    try {
      const first = await prepare(imageAt(0));
      const repository = cluster.image('backups/box');
      const request = { key: first, id: 1, repository, contentVersion: 0, credentials: [] };
      const backup = await roomy.readBackup(request, () => undefined, never);
      await roomy.pushBackup(backup, [], () => undefined, never);
      await roomy.dropBackup(backup);
      const restored = { ...attempt(imageAt(0)), source: { kind: 'Backup', digest: backup.digest, repository } as const };
      await roomy.prepare(restored, () => undefined, never);
      await roomy.stop(restored.key, 0, never);
      expect(await roomy.collectImages()).toEqual([]);
      await roomy.remove(restored.key);
      expect(await roomy.collectImages()).toEqual([`${repository}@${backup.digest}`]);
      expect(await roomy.images()).toContain(imageAt(0));
      await roomy.remove(first);
    } finally {
      await roomy.close();
    }
  });
});
