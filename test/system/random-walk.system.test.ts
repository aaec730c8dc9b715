import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { added, livingOn } from '../harness/leftovers.ts';
import { eventually } from './eventually.ts';
import { lyingOn, nothingLiesOn } from './lying-on.ts';
import { writtenBy } from './on-disk.ts';
import { isObserved, stateOf } from './user.ts';
import { planWalk } from './walk/plan.ts';
import { Walk } from './walk/walk.ts';
import { Witness } from './walk/witness.ts';
import { startTimeoutMs, World } from './world.ts';

/** Any text; `make walk SEED=…` repeats a walk: the same operations and faults in the same sequence. */
const seed = process.env.BERTH_WALK_SEED ?? String(Math.floor(Math.random() * 1_000_000));
const size = { operations: Number(process.env.BERTH_WALK_OPERATIONS ?? 200), sandboxes: 8, faultChance: 0.3 };

describe(`a walk of users and faults (repeat it with: make walk SEED=${seed})`, () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      runners: ['runner-1', 'runner-2'],
      operators: 2,
      operatorEnv: {
        ...{ BERTH_LEASE_SECONDS: '4', BERTH_PATIENCE_SECONDS: '4' },
        ...{ BERTH_STARTING_SECONDS: '10', BERTH_STOPPING_SECONDS: '5', BERTH_DELETING_SECONDS: '10', BERTH_CREATING_SECONDS: '20' },
      },
    });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it(`converges, starts nothing twice and leaves nothing (seed ${seed})`, async () => {
    const { runners } = world.cluster;
    const before = await Promise.all(runners.map(livingOn));
    const plan = planWalk(seed, size);
    const witness = new Witness(runners);
    const walk = new Walk(world, plan);
    try {
      await walk.run();
      for (const [name, wanted] of plan.wanted)
        await world.user.until(
          { name },
          `is ${wanted}`,
          (sandbox) => sandbox.metadata.deletionTimestamp === undefined && stateOf(sandbox) === wanted && isObserved(sandbox),
        );
      await eventually('those that were deleted are gone', async () => {
        const names = (await walk.sandboxes()).map(({ metadata }) => metadata.name);
        return names.every((name) => plan.wanted.has(name)) ? true : undefined;
      });

      for (const { metadata, status } of await walk.sandboxes()) {
        const { uid } = metadata;
        const boots = await writtenBy(world.runnerOf({ status }), uid, 'data/boots');
        // Each contentVersion permits one start; one that a runner was gone for, none.
        expect(boots.length).toBeLessThanOrEqual(status.contentVersion);
        expect(boots.length).toBeGreaterThan(0);
        expect(witness.starts.get(uid)?.size ?? 0).toBeLessThanOrEqual(status.contentVersion);
        const own = world.runnerOf({ status });
        const copy = await lyingOn(own, uid);
        expect(copy.containers).toHaveLength(1);
        expect(copy.tasks).toHaveLength(status.state === 'Started' ? 1 : 0);
        // What was prepared ahead there, by an operator that was killed before it decided, is kept for a while, and never started.
        for (const other of runners.filter((runner) => runner !== own)) await nothingLiesOn(other, uid);
      }
      await world.user.kubectl('delete', 'sandboxes', '--all', '--timeout=180s');
    } finally {
      await witness.stop();
    }
    expect([...witness.twice]).toEqual([]);
    expect(walk.ended).toEqual([]);
    for (const [index, runner] of runners.entries()) {
      const last: { left: readonly string[] } = { left: [] };
      const look = async () => {
        last.left = added(before[index] ?? [], await livingOn(runner));
        return last.left.length === 0 ? true : undefined;
      };
      await eventually(`nothing is left on ${runner.name}`, look, () => last.left);
      await eventually(`${runner.name} has nothing to remove`, async () => {
        const seen = await world.user.runner(runner.name);
        return seen.status.removals.length === 0 && seen.status.startedSandboxes === 0 ? true : undefined;
      });
    }
  });
});
