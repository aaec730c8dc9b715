import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox } from '../../crds/sandbox.ts';
import type { Runner } from '../harness/runner.ts';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { lyingOn, nothing } from './lying-on.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a runner that is lost', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      runners: ['runner-1', 'runner-2'],
      agentEnv: { BERTH_LEASE_SECONDS: '8' },
      operatorEnv: { BERTH_DELETING_SECONDS: '10' },
    });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const readyOf = ({ status }: Pick<Sandbox, 'status'>) => status.conditions.find(({ type }) => type === 'Ready');
  const conditionsOf = async ({ name }: Runner) => (await world.user.runner(name)).status.conditions;
  const other = ({ name }: Runner) => world.cluster.runner(name === 'runner-1' ? 'runner-2' : 'runner-1');

  it.each([
    { how: 'killed', lose: (runner: Runner) => runner.agent.kill(), bring: (runner: Runner) => runner.agent.start() },
    {
      how: 'frozen',
      lose: (runner: Runner) => {
        runner.agent.freeze();
        return Promise.resolve();
      },
      bring: (runner: Runner) => {
        runner.agent.thaw();
        return Promise.resolve();
      },
    },
  ])(
    'when its agent is $how, is said to be unknown with everything on it; what runs there goes on, nothing starts elsewhere, a deleted object goes, and all is made good when it is back',
    async ({ how, lose, bring }) => {
      const [kept, deleted] = [{ name: `kept-${how}` }, { name: `deleted-${how}` }];
      await world.user.create(remembering(kept.name, world.image));
      const before = await world.user.untilState(kept, 'Started');
      const runner = world.runnerOf(before);
      await world.user.patchRunner(other(runner).name, { unschedulable: true });
      await world.user.create(remembering(deleted.name, world.image));
      const doomed = await world.user.untilState(deleted, 'Started');
      expect(doomed.status.runnerName).toBe(runner.name);
      await world.user.patchRunner(other(runner).name, { unschedulable: false });
      expect(await world.boots(kept.name)).toBe(1);

      await lose(runner);
      const lost = await world.user.until(kept, 'is on a lost runner', (sandbox) => readyOf(sandbox)?.status === 'Unknown');
      expect(readyOf(lost)).toMatchObject({ reason: 'RunnerLost', message: expect.stringContaining(runner.name) });
      expect(lost.status).toMatchObject({ state: 'Started', runnerName: runner.name, order: before.status.order });
      expect((await world.user.told(lost, 'RunnerLost')).filter(({ reason }) => reason === 'RunnerLost')).toMatchObject([
        { type: 'Warning' },
      ]);
      const conditions = await eventually('the Runner says so too', async () => {
        const now = await conditionsOf(runner);
        return now.some(({ type, status }) => type === 'Ready' && status === 'Unknown') ? now : undefined;
      });
      expect(conditions.find(({ type }) => type === 'Ready')).toMatchObject({ reason: 'LeaseExpired' });
      const connections = conditions.filter(({ type }) => type.startsWith('connection.berth.dev/'));
      expect(connections.map(({ status }) => status)).toEqual(['Unknown']);

      await world.user.delete(deleted);
      const { status } = await world.user.runner(runner.name);
      expect(status.removals).toMatchObject([{ uid: doomed.metadata.uid, epoch: doomed.status.assignment?.epoch }]);
      expect((await lyingOn(runner, doomed.metadata.uid)).tasks).toHaveLength(1);
      expect((await lyingOn(runner, before.metadata.uid)).tasks).toHaveLength(1);
      expect(await lyingOn(other(runner), before.metadata.uid)).toEqual(nothing);

      await bring(runner);
      const back = await world.user.until(kept, 'is seen again', (sandbox) => readyOf(sandbox)?.status === 'True');
      const { order, contentVersion, startTime } = before.status;
      expect(back.status).toMatchObject({ state: 'Started', reason: 'Started', order, contentVersion, startTime, restartCount: 0 });
      await eventually('the noted copy is removed', async () => {
        const { removals } = (await world.user.runner(runner.name)).status;
        return removals.length === 0 ? true : undefined;
      });
      expect(await lyingOn(runner, doomed.metadata.uid)).toEqual(nothing);
      await eventually('the runner says that it is connected', async () => {
        const now = await conditionsOf(runner);
        return now.every(({ type, status }) => type.endsWith('Pressure') || status === 'True') ? true : undefined;
      });
      expect(await world.boots(kept.name)).toBe(1);
      await world.user.delete(kept);
    },
  );

  it.each([
    {
      how: 'the administrator says so',
      say: (runner: Runner) => world.user.patchRunner(runner.name, { fenced: true }),
      takeBack: (runner: Runner) => world.user.patchRunner(runner.name, { fenced: false }),
    },
    {
      how: 'its Node is out of service',
      say: (runner: Runner) => world.user.kubectl('taint', 'node', runner.name, `${taint}=nodeshutdown:NoExecute`),
      takeBack: (runner: Runner) => world.user.kubectl('taint', 'node', runner.name, `${taint}-`),
    },
  ])(
    'what ran there has ended as soon as $how, is started nowhere else, and again in its place when the machine is back and that is taken back',
    async ({ how, say, takeBack }) => {
      const ref = { name: how.startsWith('its') ? 'out-of-service' : 'fenced' };
      await world.user.create(remembering(ref.name, world.image));
      const before = await world.user.untilState(ref, 'Started');
      const runner = world.runnerOf(before);
      expect(await world.boots(ref.name)).toBe(1);
      await runner.powerOff();
      await world.user.until(ref, 'is on a lost runner', (sandbox) => readyOf(sandbox)?.status === 'Unknown');
      await say(runner);
      const ended = await world.user.until(
        ref,
        'waits for its files',
        ({ status }) => status.state === 'Pending' && status.reason === 'RunnerLost',
      );
      expect(ended.status).toMatchObject({ runnerName: runner.name, exitReason: 'Lost', contentVersion: before.status.contentVersion });
      await world.user.told(ended, 'RunnerLost', 'RestartBackOff');
      expect(await lyingOn(other(runner), before.metadata.uid)).toEqual(nothing);

      await runner.start({ agent: true });
      await world.user.until(ref, 'is not started on a machine that is said to be off', ({ status }) => status.reason === 'RunnerFenced');
      await takeBack(runner);
      await world.user.untilState(ref, 'Started');
      expect(await world.boots(ref.name, 2)).toBe(2);
      await world.user.delete(ref);
    },
  );
});

const taint = 'node.kubernetes.io/out-of-service';
