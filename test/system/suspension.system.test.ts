import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

describe('all runners lost at once', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'], agentEnv: { BERTH_LEASE_SECONDS: '8' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const metric = async (name: string) => {
    const { body } = await request(`${world.cluster.operators[0]?.healthUrl ?? ''}/metrics`);
    const line = (await body.text()).split('\n').find((one) => one.startsWith(`${name} `));
    return Number(line?.split(' ')[1]);
  };
  const told = async (name: string, reason: string) => {
    const { metadata } = await world.user.runner(name);
    const events = await world.user.events({ metadata: { ...metadata, namespace: 'default' } });
    return events.some((event) => event.reason === reason) ? true : undefined;
  };

  it('suspends recovery, says so, concludes nothing from their Nodes, and is lifted by itself', async () => {
    const ref = { name: 'through' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    expect(await world.boots(ref.name)).toBe(1);
    expect([await metric('berth_recovery_suspended'), await metric('berth_lost_runners')]).toEqual([0, 0]);

    await Promise.all(world.cluster.runners.map(({ agent }) => agent.kill()));
    for (const { name } of world.cluster.runners) await eventually(`${name} has an Event about it`, () => told(name, 'RecoverySuspended'));
    expect([await metric('berth_recovery_suspended'), await metric('berth_lost_runners')]).toEqual([1, 2]);
    await world.user.kubectl('taint', 'node', runner.name, 'node.kubernetes.io/out-of-service=yes:NoExecute');
    await world.user.until(ref, 'is on a lost runner', ({ status }) => status.reason === 'RunnerLost');
    await world.user.kubectl('taint', 'node', runner.name, 'node.kubernetes.io/out-of-service-');

    await Promise.all(world.cluster.runners.map(({ agent }) => agent.start()));
    await eventually('recovery is not suspended any more', async () =>
      (await metric('berth_recovery_suspended')) === 0 ? true : undefined,
    );
    const { status } = await world.user.until(ref, 'is seen again', (sandbox) => sandbox.status.reason === 'Started');
    const { order, contentVersion, startTime } = before.status;
    expect(status).toMatchObject({ state: 'Started', order, contentVersion, startTime, restartCount: 0 });
    expect(await world.boots(ref.name)).toBe(1);
    await world.user.delete(ref);
  });
});
