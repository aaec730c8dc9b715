import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { lyingOn } from './lying-on.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a copy that no object claims', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ agentEnv: { BERTH_UNCLAIMED_AFTER_SECONDS: '10' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const listed = async (uid: string) => {
    const { unclaimed } = (await world.user.runner('runner-1')).status;
    return unclaimed.find((one) => one.uid === uid);
  };

  it('is told of with an Event, left alone for its time, then stopped, listed and kept; one that is claimed is not touched', async () => {
    const [lonely, claimed] = [{ name: 'lonely' }, { name: 'claimed' }];
    for (const { name } of [lonely, claimed]) await world.user.create(remembering(name, world.image));
    const before = await world.user.untilState(lonely, 'Started');
    const other = await world.user.untilState(claimed, 'Started');
    for (const { name } of [lonely, claimed]) expect(await world.boots(name)).toBe(1);
    const [operator] = world.cluster.operators;
    const runner = world.cluster.runner('runner-1');

    await operator?.stop();
    await world.user.kubectl('patch', 'sandbox', lonely.name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
    await world.user.kubectl('delete', 'sandbox', lonely.name, '--wait=true', '--timeout=60s');
    await operator?.start();

    const running = await eventually('the Runner lists the copy', () => listed(before.metadata.uid));
    expect(running).toMatchObject({ epoch: before.status.assignment?.epoch, namespace: 'default', name: lonely.name, contentVersion: 1 });
    const stopped = await eventually('the copy is stopped', async () => {
      const copy = await listed(before.metadata.uid);
      return copy?.state === 'Stopped' ? copy : undefined;
    });
    expect(stopped.startTime).toBe(running.startTime);
    const lying = await lyingOn(runner, before.metadata.uid);
    expect([lying.containers.length, lying.snapshots.length, lying.tasks]).toEqual([1, 1, []]);
    const { metadata } = await world.user.runner('runner-1');
    const events = await world.user.told({ metadata: { ...metadata, namespace: 'default' } }, 'UnclaimedCopy');
    expect(events.filter(({ reason }) => reason === 'UnclaimedCopy')).toMatchObject([
      { type: 'Warning', note: expect.stringContaining(`default/${lonely.name}`) },
    ]);

    const { status } = await world.user.sandbox(claimed);
    expect(status).toMatchObject({ state: 'Started', order: other.status.order });
    expect(await listed(other.metadata.uid)).toBeUndefined();
    expect(await world.boots(claimed.name)).toBe(1);
    await world.user.delete(claimed);
  });
});
