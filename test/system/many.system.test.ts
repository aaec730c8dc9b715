import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { added, livingOn } from '../harness/leftovers.ts';
import { aSandbox } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a thousand sandboxes', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'], agentEnv: { BERTH_CAPACITY_DISK: '2Ti' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('150 of them Started, are gone after `kubectl delete sandboxes --all`, and the runners are empty', async () => {
    const { runners } = world.cluster;
    const before = await Promise.all(runners.map(livingOn));
    const manifest = (name: string, desiredState: 'Started' | 'Stopped') =>
      aSandbox(name, {
        image: world.image,
        desiredState,
        resources: { limits: { cpu: '50m', memory: '32Mi' } },
        terminationGracePeriodSeconds: 2,
      });
    await world.user.create(manifest('first', 'Started'));
    await world.user.untilState({ name: 'first' }, 'Started');
    const running = Array.from({ length: 149 }, (_, index) => manifest(`running-${index}`, 'Started'));
    const resting = Array.from({ length: 850 }, (_, index) => manifest(`resting-${index}`, 'Stopped'));
    await Promise.all([world.user.createAll(resting), world.user.createAll(running)]);
    const states = async () =>
      (await world.user.kubectl('get', 'sandboxes', '-o', 'jsonpath={range .items[*]}{.status.state}{"\\n"}{end}')).split('\n');
    const last: { counts: object } = { counts: {} };
    await eventually(
      '150 are Started and 850 Stopped',
      async () => {
        const seen = await states();
        const count = (state: string) => seen.filter((one) => one === state).length;
        last.counts = { Started: count('Started'), Stopped: count('Stopped') };
        return count('Started') === 150 && count('Stopped') === 850 ? true : undefined;
      },
      () => last.counts,
    );
    // kubectl waits with a request per object and second, which its own rate limiter draws out.
    await world.user.kubectl('delete', 'sandboxes', '--all', '--wait=false');
    await eventually('all are gone', async () =>
      (await world.user.kubectl('get', 'sandboxes', '-o', 'name')).trim() === '' ? true : undefined,
    );
    for (const [index, runner] of runners.entries()) {
      await eventually(`${runner.name} is empty`, async () => {
        const seen = await world.user.runner(runner.name);
        return seen.status.startedSandboxes === 0 && seen.status.removals.length === 0 ? true : undefined;
      });
      const last: { left: readonly string[] } = { left: [] };
      const look = async () => {
        last.left = added(before[index] ?? [], await livingOn(runner));
        return last.left.length === 0 ? true : undefined;
      };
      await eventually(`nothing is left on ${runner.name}`, look, () => last.left);
    }
  });
});
