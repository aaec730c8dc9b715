import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox, SandboxManifest } from '../../crds/index.ts';
import { CrashablePart } from '../harness/crash.ts';
import type { Runner } from '../harness/runner.ts';
import { after, aSandbox, remembering } from './a-sandbox.ts';
import { cordon, isBackedUp } from './crash/moves.ts';
import { eventually, neverWithin } from './eventually.ts';
import { lyingOn, nothing, runningOn } from './lying-on.ts';
import { writtenBy } from './on-disk.ts';
import { isObserved, stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

const [origin, target, third] = ['runner-1', 'runner-2', 'runner-3'] as const;

describe('a move on whose way something breaks', () => {
  let world: World;
  const crashable = new Map<string, CrashablePart>();
  beforeAll(async () => {
    world = await World.start({
      ...{ backups: true, failpoints: true, runners: [origin, target, third], diskBytes: 256 * 2 ** 20 },
      ...{ operatorEnv: { BERTH_PATIENCE_SECONDS: '2', BERTH_STARTING_SECONDS: '5' }, agentEnv: { BERTH_LEASE_SECONDS: '8' } },
    });
    for (const { name, agent } of world.cluster.runners) {
      crashable.set(name, new CrashablePart(agent, world.cluster.stateDir));
      await agent.restart();
    }
    await world.connected();
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  /** Cordons all but those. */
  const onlyOn = async (...names: readonly string[]) => {
    for (const { name } of world.cluster.runners) await cordon(world, name, !names.includes(name));
  };
  /** Stopped on the first runner and backed up; it can go to the second one alone. */
  const toBeMoved = async (name: string, manifest = small(remembering(name, world.image))) => {
    await onlyOn(origin);
    await world.user.create(manifest);
    await world.user.untilState({ name }, 'Started');
    await world.boots(name);
    await stopped(name);
    await onlyOn(target);
  };
  const stopped = async (name: string) => {
    await world.user.patch({ name }, { desiredState: 'Stopped' });
    return world.user.until({ name }, 'is stopped and backed up', (sandbox) => stateOf(sandbox) === 'Stopped' && isBackedUp(sandbox));
  };
  const start = (name: string) => world.user.patch({ name }, { desiredState: 'Started' });
  /** The agent of the target stands still at the failpoint, and then its machine is off. */
  const diesAt = async (name: string, failpoint: string) => {
    const part = crashable.get(target);
    part?.arm(failpoint, 1, 'freeze');
    await start(name);
    await eventually(`${target} has come to ${failpoint}`, () => Promise.resolve(part?.isArmed === false ? true : undefined));
    const runner = world.cluster.runner(target);
    await runner.powerOff();
    return runner;
  };
  const lies = async (name: string, uid: string) => lyingOn(world.cluster.runner(name), uid);
  const bootsOf = async ({ metadata, status }: Sandbox) =>
    writtenBy(world.cluster.runner(status.runnerName ?? ''), metadata.uid, 'data/boots');
  /** How many moves have ended so, whatever they were for. */
  const migrations = async (result: string) => {
    const metrics = await (await fetch(`${world.cluster.operators[0]?.healthUrl ?? ''}/metrics`)).text();
    const counts = metrics.matchAll(new RegExp(`^berth_sandbox_migrations_total\\{.*result="${result}".*\\} (\\d+)$`, 'gm'));
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const isBack = async (runner: Runner) => {
    await runner.start({ agent: true });
    await world.connected();
  };

  it('goes to another target when its target dies before anything may start there', async () => {
    await toBeMoved('prepared');
    const runner = await diesAt('prepared', 'image.pulling');
    await cordon(world, third, false);
    const moved = await world.user.untilState({ name: 'prepared' }, 'Started');
    expect(moved.status).toMatchObject({ runnerName: third, prevRunnerName: origin });
    expect(await world.boots('prepared', 2)).toBe(2);
    await isBack(runner);
    await world.user.until({ name: 'prepared' }, 'has no release left', ({ status }) => status.releases.length === 0);
    expect(await lies(target, moved.metadata.uid)).toEqual(nothing);
    await world.user.delete({ name: 'prepared' });
  });

  it('goes back to where the files are when its only target dies before anything may start there, and counts as failed alone', async () => {
    const counted = await Promise.all(['Failed', 'Succeeded'].map(migrations));
    await toBeMoved('alone');
    const runner = await diesAt('alone', 'image.pulling');
    const back = await world.user.untilState({ name: 'alone' }, 'Started');
    expect(back.status).toMatchObject({ runnerName: origin, assignment: { epoch: 1 } });
    expect(await world.boots('alone', 2)).toBe(2);
    expect(await Promise.all(['Failed', 'Succeeded'].map(migrations))).toEqual([(counted[0] ?? 0) + 1, counted[1]]);
    await isBack(runner);
    await world.user.delete({ name: 'alone' });
  });

  it('starts nowhere else when its target dies after it was permitted to start, and goes on when that is back', async () => {
    await toBeMoved('committed');
    const runner = await diesAt('committed', 'task.starting');
    await cordon(world, third, false);
    const late = await world.user.until({ name: 'committed' }, 'is overdue', ({ status }) => status.reason === 'DeadlineExceeded');
    const { uid } = late.metadata;
    await neverWithin(5_000, async () => {
      const { status } = await world.user.sandbox({ name: 'committed' });
      if (status.runnerName !== target) return `it was taken away from ${target}`;
      const elsewhere = await Promise.all([origin, third].map((name) => runningOn(world.cluster.runner(name), uid)));
      return elsewhere.some((tasks) => tasks.length > 0) ? 'it was started elsewhere' : undefined;
    });
    await isBack(runner);
    const again = await world.user.untilState({ name: 'committed' }, 'Started');
    expect((await bootsOf(again)).length).toBeGreaterThanOrEqual(2);
    await world.user.delete({ name: 'committed' });
  });

  it('is restored once more when its target comes back with another disk before anybody saw it run', async () => {
    await toBeMoved('rebuilt');
    const runner = await diesAt('rebuilt', 'task.starting');
    await runner.wipe();
    await cordon(world, third, false);
    await cordon(world, target);
    await isBack(runner);
    const moved = await world.user.untilState({ name: 'rebuilt' }, 'Started');
    expect(moved.status).toMatchObject({ runnerName: third, prevRunnerName: target, assignment: { reason: 'ContentMissing' } });
    expect(await bootsOf(moved)).toHaveLength(2);
    await world.user.told(moved, 'ContentMissing');
    await world.user.delete({ name: 'rebuilt' });
    expect(await lies(origin, moved.metadata.uid)).toEqual(nothing);
  });

  it('starts where the files are while the disk of its target is full, says so, and moves when there is room', async () => {
    const fill = 'mkdir -p /data; [ -e /data/large ] || head -c 41943040 /dev/urandom > /data/large; echo boot >> /data/boots';
    await toBeMoved('full', small(aSandbox('full', { image: world.image, command: after(fill) })));
    const free = await full(world.cluster.runner(target));
    await start('full');
    const inPlace = await world.user.untilState({ name: 'full' }, 'Started');
    expect(inPlace.status.runnerName).toBe(origin);
    expect(await world.boots('full', 2)).toBe(2);
    await world.user.told(inPlace, 'OutOfDisk');
    await free();
    await stopped('full');
    await start('full');
    const moved = await world.user.untilState({ name: 'full' }, 'Started');
    expect(moved.status.runnerName).toBe(target);
    expect(await world.boots('full', 3)).toBe(3);
    await world.user.delete({ name: 'full' });
  });

  it('is not begun while a backup fails for want of disk, which is said, leaves the files, and goes on when there is room', async () => {
    await onlyOn(origin);
    const write = 'mkdir -p /data; head -c 41943040 /dev/urandom > /data/large; echo boot >> /data/boots';
    await world.user.create(small(aSandbox('no-room', { image: world.image, command: after(write) })));
    await world.user.untilState({ name: 'no-room' }, 'Started');
    await world.boots('no-room');
    const free = await full(world.cluster.runner(origin));
    await world.user.patch({ name: 'no-room' }, { desiredState: 'Stopped' });
    const failing = await world.user.until(
      { name: 'no-room' },
      'says why',
      ({ status }) => status.backup?.operation?.reason === 'OutOfDisk',
    );
    expect(failing.status.backup?.history).toEqual([]);
    expect(await bootsOf(failing)).toHaveLength(1);
    await free();
    const done = await world.user.until({ name: 'no-room' }, 'is backed up', isBackedUp);
    expect(isObserved(done)).toBe(true);
    await onlyOn(target);
    await start('no-room');
    expect((await world.user.untilState({ name: 'no-room' }, 'Started')).status.runnerName).toBe(target);
    expect(await world.boots('no-room', 2)).toBe(2);
    await world.user.delete({ name: 'no-room' });
  });
});

/** Asks for no disk: the runners have little. */
function small({ spec, ...rest }: SandboxManifest): SandboxManifest {
  return { ...rest, spec: { ...spec, resources: { ...spec.resources, requests: { disk: '0' } } } };
}

/** Fills the runner's disk but for 10 MiB; what is returned frees it. */
async function full(runner: Runner): Promise<() => Promise<string>> {
  const filler = join(runner.containerdRoot, 'filler');
  await runner.exec('sh', '-c', `dd if=/dev/zero of=${filler} bs=1M 2>/dev/null || truncate -s -10M ${filler}`);
  return () => runner.exec('rm', filler);
}
