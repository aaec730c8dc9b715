import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aSandbox, remembering } from './a-sandbox.ts';
import { cordon, isBackedUp } from './crash/moves.ts';
import { newestBackup } from './registry-of.ts';
import { isObserved, stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

const [first, second] = ['runner-1', 'runner-2'] as const;
/** What a runner has at most before it sheds load, if nobody says otherwise. */
const maxStarted = 35;

describe('where a sandbox starts that has a backup', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ backups: true, runners: [first, second], operatorEnv: { BERTH_PATIENCE_SECONDS: '2' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const want = async (name: string, desiredState: 'Started' | 'Stopped' | 'Archived', spec: object = {}) => {
    await world.user.patch({ name }, { desiredState, ...spec });
    return world.user.untilState({ name }, desiredState);
  };
  const backedUp = async (name: string) => {
    await want(name, 'Stopped');
    return newestBackup(await world.user.until({ name }, 'is backed up', isBackedUp));
  };
  const archived = async (name: string) => {
    await want(name, 'Archived');
    return world.user.until({ name }, 'has no release left', ({ status }) => status.releases.length === 0);
  };
  const created = async (name: string) => {
    await world.user.create(remembering(name, world.image));
    return world.user.untilState({ name }, 'Started');
  };

  it(`stays when ${maxStarted} others are started on its runner, and moves to one with less when one more is`, async () => {
    await cordon(world, second);
    const others = Array.from({ length: maxStarted + 1 }, (_, index) => `other-${index}`);
    const other = (name: string) =>
      aSandbox(name, {
        image: world.image,
        resources: { requests: { cpu: '10m', memory: '8Mi', disk: '0' } },
        backup: { policy: 'Never' },
      });
    const [last = '', ...rest] = others;
    await created('loaded');
    await world.user.createAll(rest.map(other));
    for (const name of rest) await world.user.untilState({ name }, 'Started');
    await backedUp('loaded');
    await cordon(world, second, false);
    const stays = await want('loaded', 'Started');
    expect(stays.status).toMatchObject({ runnerName: first, assignment: { epoch: 1 } });

    await backedUp('loaded');
    await cordon(world, second);
    await world.user.create(other(last));
    await world.user.untilState({ name: last }, 'Started');
    await cordon(world, second, false);
    const moved = await want('loaded', 'Started');
    expect(moved.status).toMatchObject({ runnerName: second, prevRunnerName: first, assignment: { reason: 'LoadBalanced' } });
    expect(await world.boots('loaded', 3)).toBe(3);
    await world.user.kubectl('delete', 'sandboxes', '--all', '--timeout=180s');
  });

  it('is restored on another than the runner before, there when nothing else fits, and waits for one and wakes when there is none', async () => {
    await cordon(world, second);
    await created('rests');
    await cordon(world, second, false);
    expect((await archived('rests')).status).toMatchObject({ prevRunnerName: first });
    expect((await want('rests', 'Started')).status).toMatchObject({ runnerName: second, prevRunnerName: first });

    await archived('rests');
    await cordon(world, first);
    expect((await want('rests', 'Started')).status.runnerName).toBe(second);

    await archived('rests');
    await cordon(world, second);
    await world.user.patch({ name: 'rests' }, { desiredState: 'Started' });
    const waits = await world.user.until({ name: 'rests' }, 'waits', (sandbox) => isObserved(sandbox) && stateOf(sandbox) === 'Pending');
    expect(waits.status).toMatchObject({ reason: 'NoRunnerAvailable' });
    expect(waits.status.runnerName).toBeUndefined();
    await cordon(world, first, false);
    expect((await world.user.untilState({ name: 'rests' }, 'Started')).status.runnerName).toBe(first);
    expect(await world.boots('rests', 4)).toBe(4);
    await cordon(world, second, false);
    await world.user.delete({ name: 'rests' });
  });

  it('is in Error that names the older ones when the newest is gone, and starts from one that is asked for, once', async () => {
    await created('older');
    const older = await backedUp('older');
    await want('older', 'Started');
    const newest = await backedUp('older');
    await archived('older');
    await fetch(`${world.cluster.registry.url}/v2/backups/default.older/manifests/${newest.digest}`, { method: 'DELETE' });
    await world.user.patch({ name: 'older' }, { desiredState: 'Started' });
    const failed = await world.user.until({ name: 'older' }, 'is in Error', (sandbox) => stateOf(sandbox) === 'Error');
    expect(failed.status).toMatchObject({ reason: 'NoCurrentBackup', message: expect.stringContaining(older.digest) });

    const restored = await want('older', 'Started', { restore: { requestID: 'once', digest: older.digest } });
    expect(restored.status).toMatchObject({ restore: { requestID: 'once', digest: older.digest } });
    expect(await world.boots('older', 2)).toBe(2);
    await want('older', 'Stopped');
    await want('older', 'Started');
    expect(await world.boots('older', 3)).toBe(3);
    await world.user.delete({ name: 'older' });
  });
});
