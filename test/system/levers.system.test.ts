import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { writtenBy } from './on-disk.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a runner whose packets are lost without a word', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'], networks: true });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const connection = async (name: string) =>
    (await world.user.runner(name)).status.conditions.find(({ type }) => type.startsWith('connection.berth.dev/'));

  it('is noticed by the operator and its agent, keeps what runs, and obeys when they come through again', async () => {
    const ref = { name: 'cut-off' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    const { network } = runner;
    if (network === undefined) throw new Error('the runner has a network of its own');
    const [operator] = world.cluster.operators;
    await network.lose(Number(operator?.address.split(':')[1]));
    await eventually('the agent says that it is not connected', async () =>
      (await connection(runner.name))?.status === 'False' ? true : undefined,
    );
    await eventually('the operator says that it is not connected', async () => {
      const { conditions } = (await world.user.runner(runner.name)).status;
      return conditions.find(({ type }) => type === 'Schedulable')?.reason === 'NotConnected' ? true : undefined;
    });
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.until(ref, 'is Stopping', (sandbox) => stateOf(sandbox) === 'Stopping');
    await network.mend();
    await world.user.untilState(ref, 'Stopped');
    expect(await writtenBy(runner, before.metadata.uid, 'data/boots')).toHaveLength(1);
    await eventually('the agent says that it is connected again', async () =>
      (await connection(runner.name))?.status === 'True' ? true : undefined,
    );
    await world.user.delete(ref);
  });

  it('cut off from everything, is not Ready when its Lease has expired, and is Ready when it is back', async () => {
    const { network } = world.cluster.runner('runner-2');
    const ready = async () => (await world.user.runner('runner-2')).status.conditions.find(({ type }) => type === 'Ready')?.status;
    await network?.lose();
    await eventually('the runner is not Ready', async () => ((await ready()) === 'True' ? undefined : true));
    await network?.mend();
    await eventually('the runner is Ready', async () => ((await ready()) === 'True' ? true : undefined));
    await world.connected();
  });
});
