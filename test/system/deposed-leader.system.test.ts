import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sandboxSpecSchema, sandboxStatusSchema } from '../../crds/sandbox.ts';
import { ordersOf } from '../../operator/lifecycle/orders.ts';
import { copyConfigOf } from '../../operator/sandboxes/copy-config.ts';
import { wireOrder } from '../../operator/sandboxes/wire.ts';
import { CrashablePart } from '../harness/crash.ts';
import { systemNamespace } from '../harness/identity.ts';
import type { Operator } from '../harness/operator.ts';
import { freePort } from '../harness/ports.ts';
import { remembering } from './a-sandbox.ts';
import { cordon, isBackedUp } from './crash/moves.ts';
import { eventually, neverWithin } from './eventually.ts';
import { lyingOn, nothingLiesOn, runningOn } from './lying-on.ts';
import { LateHub } from './late-hub.ts';
import { StatusWrites } from './status-writes.ts';
import { stateOf, type SandboxRef } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a leader that was stopped between its acknowledged patch and its order', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'], operators: 2 });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('changes nothing when it is resumed after another has started, stopped and deleted the sandboxes', async () => {
    const names = Array.from({ length: 9 }, (_, index) => `late-${index}`);
    const [kept, stopped, deleted] = [names.slice(0, 3), names.slice(3, 6), names.slice(6)] as const;
    const old = await leaderOf(world);
    await world.user.apply(...names.map((name) => remembering(name, world.image)));
    await eventually('an assignment is acknowledged', async () => {
      const states = await Promise.all(names.map(async (name) => stateOf(await world.user.sandbox({ name }))));
      return states.some((state) => state === 'Creating') || states.includes('Started') ? true : undefined;
    });
    old.freeze();
    try {
      const next = await eventually('another operator leads', async () => differentFrom(await leaderOf(world), old));
      expect(next.name).not.toBe(old.name);
      for (const name of names) await world.user.untilState({ name }, 'Started');
      const uids = new Map(
        await Promise.all(names.map(async (name) => [name, (await world.user.sandbox({ name })).metadata.uid] as const)),
      );
      for (const name of stopped) await world.user.patch({ name }, { desiredState: 'Stopped' });
      for (const name of stopped) await world.user.untilState({ name }, 'Stopped');
      await world.user.delete(...deleted.map((name) => ({ name })));
      const before = await Promise.all([...kept, ...stopped].map((name) => world.user.sandbox({ name })));

      old.thaw();
      await old.waitReady();
      await neverWithin(10_000, async () => {
        for (const name of [...stopped, ...deleted])
          for (const runner of world.cluster.runners)
            if ((await runningOn(runner, uids.get(name) ?? '')).length > 0) return `${name} runs although it was stopped or deleted`;
        return undefined;
      });
      for (const name of deleted) for (const runner of world.cluster.runners) await nothingLiesOn(runner, uids.get(name) ?? '');
      for (const { metadata, status } of before) {
        const now = await world.user.sandbox(metadata);
        expect(now.status).toEqual(status);
        if (status.state === 'Started') expect(await world.boots(metadata.name)).toBe(1);
      }
    } finally {
      old.thaw();
    }
    await world.user.delete(...[...kept, ...stopped].map((name) => ({ name })));
  });
});

describe('a leader that was stopped in the middle of a move', () => {
  let world: World;
  const crashable = new Map<string, CrashablePart>();
  beforeAll(async () => {
    world = await World.start({
      ...{ backups: true, failpoints: true, runners: ['runner-1', 'runner-2'], operators: 2 },
      operatorEnv: { BERTH_LEASE_SECONDS: '5', BERTH_PATIENCE_SECONDS: '2' },
    });
    for (const operator of world.cluster.operators) {
      crashable.set(operator.name, new CrashablePart(operator, world.cluster.stateDir));
      await operator.restart();
    }
    await world.connected();
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it.each(['move.proposed', 'move.committed', 'move.finished'])(
    'at %s, between its acknowledged patch and its orders, changes nothing when it is resumed after another has moved, stopped, moved back and deleted sandboxes',
    async (failpoint) => {
      const [kept, deleted] = ['kept', 'deleted'].map((name) => ({ name: `${name}-${failpoint.slice(5)}` }));
      if (kept === undefined || deleted === undefined) throw new Error('there are two');
      const stopped = async (ref: SandboxRef) => {
        await world.user.patch(ref, { desiredState: 'Stopped' });
        return world.user.until(ref, 'is stopped and backed up', (sandbox) => stateOf(sandbox) === 'Stopped' && isBackedUp(sandbox));
      };
      const started = async (ref: SandboxRef) => {
        await world.user.patch(ref, { desiredState: 'Started' });
        return world.user.untilState(ref, 'Started');
      };
      await cordon(world, 'runner-2');
      for (const { name } of [kept, deleted]) {
        await world.user.create(remembering(name, world.image));
        await world.user.untilState({ name }, 'Started');
        await world.boots(name);
        await stopped({ name });
      }
      await cordon(world, 'runner-2', false);
      await cordon(world, 'runner-1');
      const old = await leaderOf(world);
      crashable.get(old.name)?.arm(failpoint, 1, 'freeze');
      try {
        for (const ref of [kept, deleted]) await world.user.patch(ref, { desiredState: 'Started' });
        await eventually(`it stands at ${failpoint}`, () => Promise.resolve(crashable.get(old.name)?.isArmed === false ? true : undefined));
        await eventually('another operator leads', async () => differentFrom(await leaderOf(world), old));
        const uids: string[] = [];
        for (const ref of [kept, deleted]) {
          const moved = await world.user.untilState(ref, 'Started');
          uids.push(moved.metadata.uid);
          expect(moved.status.runnerName).toBe('runner-2');
          await world.boots(ref.name, 2);
        }
        await stopped(kept);
        await world.user.delete(deleted);
        await cordon(world, 'runner-1', false);
        await cordon(world, 'runner-2');
        const back = await started(kept);
        expect(back.status.runnerName).toBe('runner-1');
        const before = await world.user.until(kept, 'has no release left', ({ status }) => status.releases.length === 0);

        old.thaw();
        await old.waitReady();
        const [uid = '', gone = ''] = uids;
        await neverWithin(8_000, async () => {
          const [first, second] = [world.cluster.runner('runner-1'), world.cluster.runner('runner-2')];
          if ((await lyingOn(second, uid)).containers.length > 0) return 'what was moved away is back';
          if ((await runningOn(first, uid)).length !== 1) return 'what ran runs no more';
          const left = await Promise.all([lyingOn(first, gone), lyingOn(second, gone)]);
          return left.every(({ containers, snapshots }) => containers.length + snapshots.length === 0)
            ? undefined
            : 'what was deleted is back';
        });
        expect((await world.user.sandbox(kept)).status).toEqual(before.status);
        expect(await world.boots(kept.name, 3)).toBe(3);
      } finally {
        old.thaw();
      }
      await world.user.delete(kept);
      await cordon(world, 'runner-2', false);
    },
  );

  it('prepares what was deleted meanwhile, and that is never started, and dropped', async () => {
    const ref = { name: 'prepared-ahead' };
    const [first, second] = [world.cluster.runner('runner-1'), world.cluster.runner('runner-2')];
    await cordon(world, second.name);
    const old = await leaderOf(world);
    crashable.get(old.name)?.arm('preparation.sent', 1, 'freeze');
    try {
      const { uid } = (await world.user.create(remembering(ref.name, world.image))).metadata;
      await eventually('it stands behind its preparation', () =>
        Promise.resolve(crashable.get(old.name)?.isArmed === false ? true : undefined),
      );
      await cordon(world, first.name);
      await cordon(world, second.name, false);
      expect((await world.user.untilState(ref, 'Started')).status).toMatchObject({ runnerName: second.name, contentVersion: 1 });
      await world.user.delete(ref);
      // What it gave to its connections goes out only now.
      old.thaw();
      await eventually('it is prepared on the other one', async () => ((await lyingOn(first, uid)).tasks.length === 1 ? true : undefined));
      await neverWithin(5_000, async () => {
        const running = await Promise.all([runningOn(first, uid), runningOn(second, uid)]);
        return running.flat().length > 0 ? 'it runs although it was deleted' : undefined;
      });
      for (const runner of [first, second]) await nothingLiesOn(runner, uid);
    } finally {
      old.thaw();
    }
    await cordon(world, first.name, false);
  });
});

describe('every order that was ever given, given again by an operator that knows nothing else', () => {
  let world: World;
  let late: LateHub;
  beforeAll(async () => {
    const [operator, other] = [await freePort(), await freePort()];
    world = await World.start({
      ports: { 'operator-1': operator },
      agentEnv: { BERTH_OPERATORS: `127.0.0.1:${operator},127.0.0.1:${other}` },
    });
    const name = `berth-operator.${systemNamespace}.svc`;
    late = await LateHub.listen(`127.0.0.1:${other}`, await world.cluster.authority.issue('late', 'berth-operator', [name]));
    await late.connected('runner-1');
  }, startTimeoutMs);
  afterAll(async () => {
    late.close();
    await world.stop();
  }, startTimeoutMs);

  it('changes nothing: what runs goes on, what was stopped stays stopped, what was deleted stays gone', async () => {
    const ref = { name: 'replayed' };
    const [runner] = world.cluster.runners;
    if (runner === undefined) throw new Error('there is a runner');
    const writes = await StatusWrites.follow(world.user.kubeconfig, ref.name);
    const { metadata, spec } = await world.user.create(remembering(ref.name, world.image));
    /** In the sequence in which they were given, and in the reverse. */
    const repeat = () => {
      const config = copyConfigOf(sandboxSpecSchema.parse(spec));
      const orders = writes
        .written()
        .map((status) => sandboxStatusSchema.parse(status))
        .flatMap((status) => {
          const sandbox = { metadata: { ...metadata, finalizers: [] }, spec: sandboxSpecSchema.parse(spec), status };
          return ordersOf(sandbox).map((order) => wireOrder(sandbox, order, config, { credentials: [], secretEnv: [] }));
        })
        .filter((order) => order !== undefined);
      for (const order of [...orders, ...orders.toReversed()]) late.send(runner.name, order);
      return orders.length;
    };
    const steady = async (what: string, isAsBefore: () => Promise<boolean>) =>
      neverWithin(3_000, async () => ((await isAsBefore()) ? undefined : `a late order changed that it ${what}`));
    try {
      const started = await world.user.untilState(ref, 'Started');
      await world.user.patch(ref, { restartID: 'again' });
      const again = await world.user.until(
        ref,
        'has done the restart',
        ({ status }) => status.restartID === 'again' && status.state === 'Started',
      );
      expect(again.status.contentVersion).toBe(started.status.contentVersion + 1);
      expect(repeat()).toBeGreaterThan(3);
      await steady('runs since its second start', async () => (await world.boots(ref.name, 2)) === 2);
      expect((await world.user.sandbox(ref)).status).toEqual(again.status);
      expect(late.refusals.map(({ code }) => code)).toContain('Superseded');

      await world.user.patch(ref, { desiredState: 'Stopped' });
      await world.user.untilState(ref, 'Stopped');
      repeat();
      await steady('is stopped', async () => (await lyingOn(runner, metadata.uid)).tasks.length === 0);

      await world.user.delete(ref);
      repeat();
      await neverWithin(3_000, async () => {
        const remains = await lyingOn(runner, metadata.uid);
        return Object.values(remains).flat().length === 0 ? undefined : `a late order brought back ${JSON.stringify(remains)}`;
      });
    } finally {
      await writes.stop();
    }
  });
});

function leaderOf({ user, cluster }: World): Promise<Operator> {
  return eventually('an operator leads', async () => {
    const leases = JSON.parse(await user.kubectl('get', 'leases', '-n', 'berth-system', '-o', 'json')) as Leases;
    const holders = leases.items.map(({ spec }) => spec.holderIdentity ?? '');
    return cluster.operators.find(({ name }) => holders.some((holder) => holder === name || holder.startsWith(`${name}_`)));
  });
}

interface Leases {
  readonly items: readonly { readonly spec: { readonly holderIdentity?: string } }[];
}

function differentFrom(now: Operator, old: Operator): Operator | undefined {
  return now.name === old.name ? undefined : now;
}
