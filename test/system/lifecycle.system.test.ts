import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aSandbox, remembering } from './a-sandbox.ts';
import { eventually, longEnoughMs } from './eventually.ts';
import { inside, lyingOn, memoryLimitOf, nothing } from './lying-on.ts';
import { StatusWrites } from './status-writes.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('the life of a sandbox', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'] });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('is applied, becomes Ready, and kubectl shows where it is', async () => {
    await world.user.apply(aSandbox('first', { image: world.image }));
    await world.user.kubectl('wait', '--for=condition=Ready', 'sandbox/first', `--timeout=${longEnoughMs / 1000}s`);
    const { status } = await world.user.sandbox({ name: 'first' });
    expect((await world.user.kubectl('get', 'sandbox', 'first', '--no-headers')).split(/\s+/).slice(0, 4)).toEqual([
      'first',
      'Started',
      'Started',
      status.runnerName,
    ]);
    await world.user.delete({ name: 'first' });
  });

  it('keeps its files while it is stopped, and each start costs two status writes', async () => {
    const ref = { name: 'keeper' };
    const writes = await StatusWrites.follow(world.user.kubeconfig, ref.name);
    try {
      await world.user.create(remembering(ref.name, world.image));
      const started = await world.user.untilState(ref, 'Started');
      const before = await writes.upTo(started);
      expect(before.map(({ state }) => state)).toEqual(['Creating', 'Started']);
      expect(await world.boots(ref.name, 1)).toBe(1);

      await world.user.patch(ref, { desiredState: 'Stopped' });
      const stopped = await world.user.untilState(ref, 'Stopped');
      expect(stopped.status).toMatchObject({ exitCode: 0, reason: 'Stopped' });
      expect((await lyingOn(world.runnerOf(stopped), stopped.metadata.uid)).tasks).toEqual([]);

      const inAll = (await writes.upTo(stopped)).length;
      await world.user.patch(ref, { desiredState: 'Started' });
      const again = await world.user.untilState(ref, 'Started');
      expect((await writes.upTo(again)).slice(inAll).map(({ state }) => state)).toEqual(['Starting', 'Started']);
      expect(again.status.runnerName).toBe(stopped.status.runnerName);
      expect(again.status.contentVersion).toBe(stopped.status.contentVersion + 1);
      expect(await world.boots(ref.name, 2)).toBe(2);
    } finally {
      await writes.stop();
    }
  });

  it('is restarted once for each new restartID', async () => {
    const ref = { name: 'keeper' };
    const before = await world.boots(ref.name);
    await world.user.patch(ref, { restartID: 'first' });
    const restarted = await world.user.until(
      ref,
      'has done the restart',
      (sandbox) => sandbox.status.restartID === 'first' && stateOf(sandbox) === 'Started',
    );
    expect(restarted.status.restartCount).toBe(0);
    expect(await world.boots(ref.name, before + 1)).toBe(before + 1);

    await world.user.kubectl('annotate', 'sandbox', ref.name, 'touched=yes');
    await world.user.patch(ref, { terminationGracePeriodSeconds: 4 });
    await world.user.untilState(ref, 'Started');
    expect(await world.boots(ref.name, before + 1)).toBe(before + 1);
  });

  it('takes a changed environment and changed limits at its next start, with its files', async () => {
    const ref = { name: 'keeper' };
    const before = await world.boots(ref.name);
    await world.user.patch(ref, {
      env: [{ name: 'GREETING', value: 'changed' }],
      resources: { limits: { memory: '96Mi' } },
      restartID: 'second',
    });
    const { metadata, status } = await world.user.until(
      ref,
      'has done the restart',
      (sandbox) => sandbox.status.restartID === 'second' && stateOf(sandbox) === 'Started',
    );
    const runner = world.runnerOf({ status });
    expect(await world.boots(ref.name, before + 1)).toBe(before + 1);
    expect((await inside(runner, metadata.uid, 'tail', '-n1', '/data/boots')).trim()).toBe('boot changed');
    expect(await memoryLimitOf(runner, metadata.uid)).toBe(96 * 1024 * 1024);
  });

  it('leaves nothing on its runner when it is deleted', async () => {
    const { metadata, status } = await world.user.sandbox({ name: 'keeper' });
    const runner = world.runnerOf({ status });
    const before = await lyingOn(runner, metadata.uid);
    expect(before).toMatchObject({ containers: [expect.any(String)], snapshots: [expect.any(String)], tasks: [expect.any(String)] });
    expect(before.files.length).toBeGreaterThan(0);
    expect(before.cgroups.length).toBeGreaterThan(0);
    await world.user.delete({ name: 'keeper' });
    expect(await lyingOn(runner, metadata.uid)).toEqual(nothing);
  });

  it('can be deleted while it is being created, while it is being stopped, and when it is stopped', async () => {
    const slow = {
      image: world.image,
      command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'],
      terminationGracePeriodSeconds: 3,
    };
    const made = [
      await world.user.create(aSandbox('young', { image: world.image })),
      await world.user.create(aSandbox('stubborn', slow)),
      await world.user.create(aSandbox('asleep', { image: world.image })),
    ];
    await world.user.delete({ name: 'young' });
    await world.user.untilState({ name: 'stubborn' }, 'Started');
    await world.user.untilState({ name: 'asleep' }, 'Started');
    await world.user.patch({ name: 'stubborn' }, { desiredState: 'Stopped' });
    await world.user.patch({ name: 'asleep' }, { desiredState: 'Stopped' });
    await world.user.until({ name: 'stubborn' }, 'is Stopping', (sandbox) => stateOf(sandbox) === 'Stopping');
    await world.user.untilState({ name: 'asleep' }, 'Stopped');
    await world.user.delete({ name: 'stubborn' }, { name: 'asleep' });
    for (const runner of world.cluster.runners)
      for (const { metadata } of made) expect(await lyingOn(runner, metadata.uid)).toEqual(nothing);
  });

  it('is not placed on a cordoned runner, and stays where it is when its runner is cordoned', async () => {
    const [first, second] = world.cluster.runners;
    if (first === undefined || second === undefined) throw new Error('two runners are needed');
    await world.user.patchRunner(first.name, { unschedulable: true });
    await eventually('the runner shows that it is cordoned', async () => {
      const { status } = await world.user.runner(first.name);
      return status.conditions.find(({ type }) => type === 'Schedulable')?.reason === 'Cordoned' ? true : undefined;
    });
    const names = ['a', 'b', 'c', 'd'].map((letter) => `avoiding-${letter}`);
    await world.user.apply(...names.map((name) => aSandbox(name, { image: world.image })));
    for (const name of names) expect((await world.user.untilState({ name }, 'Started')).status.runnerName).toBe(second.name);

    await world.user.patchRunner(second.name, { unschedulable: true });
    await world.user.apply(aSandbox('homeless', { image: world.image }));
    const waiting = await world.user.until({ name: 'homeless' }, 'waits', (sandbox) => sandbox.status.reason === 'NoRunnerAvailable');
    expect(stateOf(waiting)).toBe('Pending');
    for (const name of names)
      expect((await world.user.sandbox({ name })).status).toMatchObject({ state: 'Started', runnerName: second.name });

    await world.user.patchRunner(first.name, { unschedulable: false });
    expect((await world.user.untilState({ name: 'homeless' }, 'Started')).status.runnerName).toBe(first.name);
    await world.user.patchRunner(second.name, { unschedulable: false });
    await world.user.delete({ name: 'homeless' }, ...names.map((name) => ({ name })));
  });

  it('kubectl get runners tells what each runner has', async () => {
    const look = async () => (await world.user.kubectl('get', 'runners')).trim().split('\n');
    const [head, ...rows] = await eventually('no runner is cordoned any more', async () => {
      const lines = await look();
      return lines.some((line) => line.includes('False')) ? undefined : lines;
    });
    expect(head?.split(/\s+/)).toEqual(['NAME', 'READY', 'SCHEDULABLE', 'SANDBOXES', 'TASKS', 'CONNECTIONS', 'REGION', 'CLASS', 'AGE']);
    expect(rows.map((row) => row.split(/\s+/).slice(0, 3))).toEqual([
      ['runner-1', 'True', 'True'],
      ['runner-2', 'True', 'True'],
    ]);
    for (const { name } of world.cluster.runners) {
      await eventually(`${name} is empty and connected to the operator`, async () => {
        const { status } = await world.user.runner(name);
        return status.startedSandboxes === 0 && status.connections?.summary === '1/1' ? true : undefined;
      });
    }
  });
});
