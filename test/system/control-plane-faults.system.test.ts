import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { request } from 'undici';
import type { Sandbox } from '../../crds/sandbox.ts';
import { FakeTime } from '../harness/fake-time.ts';
import { distinctImage } from '../harness/images.ts';
import type { Operator } from '../harness/operator.ts';
import { RegistryProxy } from '../harness/registry-proxy.ts';
import { after, aSandbox, remembering } from './a-sandbox.ts';
import { Caller } from './caller.ts';
import { eventually } from './eventually.ts';
import { writtenBy } from './on-disk.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

/** Whether it says of itself that it leads; false while it does not answer. */
async function leads({ healthUrl }: Operator): Promise<boolean> {
  const text = await request(`${healthUrl}/metrics`, { headersTimeout: 2_000 }).then(
    ({ body }) => body.text(),
    () => '',
  );
  return /^leader_election_master_status\{[^}]*\} 1$/m.test(text);
}

describe('when the control plane is away', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ operators: 2 });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  /** Writes a line each second. */
  const ticking = (name: string) =>
    aSandbox(name, { image: world.image, command: after('mkdir -p /data; (while :; do echo tick >>/data/ticks; sleep 1; done) & true') });
  const ticks = async (sandbox: Sandbox) => (await writtenBy(world.runnerOf(sandbox), sandbox.metadata.uid, 'data/ticks')).length;

  it('for a minute, sandboxes go on, and afterwards everything does without a restart of anything', async () => {
    await world.user.create(ticking('ticking'));
    await world.user.create(remembering('steady', world.image));
    const [ticker, steady] = [
      await world.user.untilState({ name: 'ticking' }, 'Started'),
      await world.user.untilState({ name: 'steady' }, 'Started'),
    ];
    const pids = [...world.cluster.operators, world.cluster.runner('runner-1').agent].map(({ pid }) => pid);
    await world.cluster.apiserver.kill();
    const before = await ticks(ticker);
    await delay(60_000);
    expect((await ticks(ticker)) - before).toBeGreaterThan(40);
    await world.cluster.apiserver.start();
    await world.served();

    await world.user.create(remembering('later', world.image));
    await world.user.untilState({ name: 'later' }, 'Started');
    await world.user.patch({ name: 'steady' }, { desiredState: 'Stopped' });
    await world.user.untilState({ name: 'steady' }, 'Stopped');
    const [now] = [await world.user.sandbox({ name: 'ticking' })];
    expect(now.status).toMatchObject({
      state: 'Started',
      contentVersion: ticker.status.contentVersion,
      startTime: ticker.status.startTime,
    });
    expect(await writtenBy(world.runnerOf(steady), steady.metadata.uid, 'data/boots')).toHaveLength(1);
    expect([...world.cluster.operators, world.cluster.runner('runner-1').agent].map(({ pid }) => pid)).toEqual(pids);
    await world.user.delete({ name: 'ticking' }, { name: 'steady' }, { name: 'later' });
  });

  it('and an operator starts, that says that it knows nothing yet until it does', async () => {
    const [operator] = world.cluster.operators;
    if (operator === undefined) throw new Error('there is an operator');
    const caller = await Caller.everything(world.cluster);
    const status = () => caller.curl(operator, '/sandbox/status').catch(() => undefined);
    await operator.kill();
    await world.cluster.apiserver.kill();
    await operator.launch();
    const early = await eventually('the new operator answers', status);
    expect({ status: early.status, retry: early.headers['retry-after'], body: early.body }).toMatchObject({
      ...{ status: 503, retry: '1' },
      body: { error: { code: 'NotReady' } },
    });
    await world.cluster.apiserver.start();
    await world.served();
    await eventually('it knows the cluster', async () => ((await status())?.status === 200 ? true : undefined));
  });

  it('and its history is compacted while an operator watches nothing, it sees all that has happened', async () => {
    const { operators } = world.cluster;
    await world.user.create(remembering('unseen', world.image));
    await world.user.create(remembering('to-go', world.image));
    for (const name of ['unseen', 'to-go']) await world.user.untilState({ name }, 'Started');
    for (const operator of operators) operator.freeze();
    try {
      await world.user.patch({ name: 'unseen' }, { desiredState: 'Stopped' });
      await world.user.kubectl('delete', 'sandbox', 'to-go', '--wait=false');
      await world.user.create(remembering('new', world.image));
      for (let index = 0; index < 20; index += 1)
        await world.user.kubectl('annotate', 'sandbox', 'unseen', '--overwrite', `count=${index}`);
      await world.cluster.compactEtcd();
      // Its own history begins now: who watches from before gets Gone.
      await world.cluster.apiserver.restart();
    } finally {
      for (const operator of operators) operator.thaw();
    }
    await world.served();
    await world.user.untilState({ name: 'unseen' }, 'Stopped');
    await world.user.untilState({ name: 'new' }, 'Started');
    await eventually('the deleted one is gone', async () => ((await world.user.find({ name: 'to-go' })) === undefined ? true : undefined));
    await world.user.delete({ name: 'unseen' }, { name: 'new' });
  });
});

describe('under a wall clock that is wrong', () => {
  let world: World;
  let proxy: RegistryProxy;
  let clock: FakeTime;
  beforeAll(async () => {
    world = await World.start({ operators: 2 });
    proxy = await RegistryProxy.before(world.cluster.registry);
    await world.cluster.pushImage('slow:1', await distinctImage(2 ** 21));
  }, startTimeoutMs);
  afterAll(async () => {
    await proxy.close();
    await world.stop();
  }, startTimeoutMs);

  const [hour, day] = [3_600, 86_400];
  const nobodyThinksOtherwise = async (names: readonly string[]) => {
    for (const name of names) {
      const sandbox = await world.user.sandbox({ name });
      // Events are written in their sequence, and later than what they tell of.
      await world.user.told(sandbox, 'Started');
      expect((await world.user.events(sandbox)).filter(({ reason }) => reason === 'DeadlineExceeded')).toEqual([]);
      const started = Date.parse(sandbox.status.startTime ?? '');
      expect(Math.abs(Date.now() - started)).toBeLessThan((hour / 2) * 1000);
    }
  };

  it('an operator an hour ahead does its work, does not share the lead, and lets nothing expire', async () => {
    const [wrong, right] = world.cluster.operators;
    if (wrong === undefined || right === undefined) throw new Error('two operators are needed');
    clock = new FakeTime(wrong, world.cluster.stateDir, hour);
    await wrong.restart();
    await right.restart();
    await eventually('the one with the wrong clock leads', async () => ((await leads(wrong)) ? true : undefined));
    expect(wrong.log()).toContain(new Date(Date.now() + hour * 1000).toISOString().slice(0, 13));

    const split: string[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      while (!stop.signal.aborted) {
        const both = await Promise.all([leads(wrong), leads(right)]);
        if (both.every(Boolean)) split.push(new Date().toISOString());
        await delay(200);
      }
    })();
    try {
      proxy.misbehave({ kind: 'Slow', bytesPerSecond: 60_000 });
      await world.user.create(remembering('before', world.image));
      await world.user.untilState({ name: 'before' }, 'Started');
      await world.user.create(aSandbox('slow', { image: `${proxy.address}/slow:1` }));
      await world.user.until({ name: 'slow' }, 'is Creating', (sandbox) => stateOf(sandbox) === 'Creating');
      for (const offset of [day, -day, hour, 0, -hour, hour]) {
        clock.jumpTo(offset);
        await delay(1_500);
        expect(stateOf(await world.user.sandbox({ name: 'slow' }))).toBe('Creating');
      }
      proxy.misbehave(undefined);
      await world.user.untilState({ name: 'slow' }, 'Started');
      await world.user.patch({ name: 'before' }, { restartID: 'again' });
      await world.user.until(
        { name: 'before' },
        'is restarted',
        ({ status }) => status.restartID === 'again' && status.state === 'Started',
      );
      await nobodyThinksOtherwise(['before', 'slow']);
      const { status } = await world.user.runner('runner-1');
      expect(status.conditions.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'True' });
      expect(await leads(wrong)).toBe(true);
    } finally {
      stop.abort();
      await watching;
    }
    expect(split).toEqual([]);
    await world.user.delete({ name: 'before' }, { name: 'slow' });
  });

  it('an agent an hour ahead, and one that jumps, keeps its runner Ready and reports what is true', async () => {
    const { agent } = world.cluster.runner('runner-1');
    const jumping = new FakeTime(agent, world.cluster.stateDir, hour);
    await agent.restart();
    await world.connected();
    await world.user.create(remembering('skewed', world.image));
    const { status } = await world.user.untilState({ name: 'skewed' }, 'Started');
    jumping.jumpTo(3 * hour);
    await delay(3_000);
    expect((await world.user.sandbox({ name: 'skewed' })).status).toEqual(status);
    await world.user.patch({ name: 'skewed' }, { desiredState: 'Stopped' });
    await world.user.untilState({ name: 'skewed' }, 'Stopped');
    const { conditions } = (await world.user.runner('runner-1')).status;
    expect(conditions.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'True' });
    await world.user.delete({ name: 'skewed' });
  });
});
