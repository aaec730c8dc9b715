import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Operator } from '../harness/operator.ts';
import { aSandbox, after } from './a-sandbox.ts';
import { eventually, neverWithin } from './eventually.ts';
import { inside, lyingOn, nothing } from './lying-on.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a leader that was stopped between its acknowledged patch and its order', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'], operators: 2 });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const leader = () =>
    eventually('an operator leads', async () => {
      const leases = JSON.parse(await world.user.kubectl('get', 'leases', '-n', 'berth-system', '-o', 'json')) as Leases;
      const holders = leases.items.map(({ spec }) => spec.holderIdentity ?? '');
      return world.cluster.operators.find(({ name }) => holders.some((holder) => holder === name || holder.startsWith(`${name}_`)));
    });
  const counting = (name: string) => aSandbox(name, { image: world.image, command: after('mkdir -p /data; echo boot >> /data/boots') });

  it('changes nothing when it is resumed after another has started, stopped and deleted the sandboxes', async () => {
    const names = Array.from({ length: 9 }, (_, index) => `late-${index}`);
    const [kept, stopped, deleted] = [names.slice(0, 3), names.slice(3, 6), names.slice(6)] as const;
    const old = await leader();
    await world.user.apply(...names.map(counting));
    await eventually('an assignment is acknowledged', async () => {
      const states = await Promise.all(names.map(async (name) => stateOf(await world.user.sandbox({ name }))));
      return states.some((state) => state === 'Creating') || states.includes('Started') ? true : undefined;
    });
    old.freeze();
    try {
      const next = await eventually('another operator leads', async () => differentFrom(await leader(), old));
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
            if ((await lyingOn(runner, uids.get(name) ?? '')).tasks.length > 0) return `${name} runs although it was stopped or deleted`;
        return undefined;
      });
      for (const name of deleted)
        for (const runner of world.cluster.runners) expect(await lyingOn(runner, uids.get(name) ?? '')).toEqual(nothing);
      for (const { metadata, status } of before) {
        const now = await world.user.sandbox(metadata);
        expect(now.status).toEqual(status);
        if (status.state === 'Started') expect(await inside(world.runnerOf(now), metadata.uid, 'cat', '/data/boots')).toBe('boot');
      }
    } finally {
      old.thaw();
    }
    await world.user.delete(...[...kept, ...stopped].map((name) => ({ name })));
  });
});

interface Leases {
  readonly items: readonly { readonly spec: { readonly holderIdentity?: string } }[];
}

function differentFrom(now: Operator, old: Operator): Operator | undefined {
  return now.name === old.name ? undefined : now;
}
