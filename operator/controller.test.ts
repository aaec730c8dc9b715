import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CopyState, Wanted } from '../agent/proto/gen/berth/agent/v1/agent.ts';
import { runnerManifestSchema, sandboxManifestSchema, type Runner, type Sandbox, type SandboxSpec } from '../crds/index.ts';
import { FakeApi } from '../kube/fake-api.ts';
import { KubeError } from '../kube/errors.ts';
import { events } from '../kube/events.ts';
import { leases, newLease } from '../kube/lease.ts';
import type { Manifest } from '../kube/types.ts';
import { FakeClock } from '../process/fake-clock.ts';
import { silentLogger, type LogFields, type Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import { ScriptedAgent, aReport, obedient } from '../test/builders/scripted-agent.ts';
import { Operator } from './controller.ts';
import { noAuthentication } from './hub/token-review.client.ts';
import { readRunner, readSandbox, runnerResource, sandboxResource } from './resources.ts';

/** An operator over a fake API server, with agents that tests play. */
class Stage {
  readonly api = new FakeApi();
  readonly clock = new FakeClock();
  readonly lines: { readonly fields: LogFields; readonly message: string }[] = [];
  readonly operator: Operator;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #draws = 0;

  constructor() {
    const log: Logger = { ...silentLogger, debug: (fields, message) => void this.lines.push({ fields, message }), child: () => log };
    this.operator = new Operator({
      transport: this.api,
      clock: this.clock,
      random: () => (this.#draws = (this.#draws + 0.618034) % 1),
      log,
      metrics: noMetrics,
      namespace: 'berth-system',
      podName: 'operator-1',
      identity: 'operator-1_a',
      version: 'test',
      authenticator: noAuthentication,
      watchesNodes: true,
    });
  }

  async start(): Promise<void> {
    this.#running = this.operator.run(this.#stop.signal);
    await this.clock.run(100);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.clock.run(5_000);
    await this.#running;
  }

  async runner(name: string): Promise<void> {
    const nodes = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
    const isKnown = this.api.objects(nodes).some(({ metadata }) => metadata.name === name);
    if (!isKnown) await this.api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    const manifest = runnerManifestSchema.parse({ apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', metadata: { name } });
    await this.api.create(runnerResource, { ...manifest, status: { storeID: `store-${name}`, bootID: `boot-${name}` } } as Manifest);
    const lease = newLease({ namespace: 'berth-system', name: `runner-${name}`, holder: name, durationMs: 40_000, nowMs: 0 });
    await this.api.create(leases, lease);
  }

  /** An agent that is connected with an empty inventory. */
  async agent(name: string): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(name).dial(this.operator.hub);
    await this.clock.run(1);
    agent.inventory();
    await this.clock.run(200);
    return agent;
  }

  async create(name: string, spec: Partial<SandboxSpec> = {}): Promise<Sandbox> {
    const manifest = sandboxManifestSchema.parse({
      apiVersion: 'berth.dev/v1alpha1',
      kind: 'Sandbox',
      metadata: { name, namespace: 'default' },
      spec: { image: 'demo:1', ...spec },
    });
    const metadata = { ...manifest.metadata, finalizers: ['berth.dev/sandbox'], generation: 1 };
    const created = readSandbox(await this.api.create(sandboxResource, { ...manifest, metadata } as Manifest));
    await this.clock.run(50);
    return created;
  }

  async change(name: string, spec: object): Promise<void> {
    const generation = this.sandbox(name).metadata.generation + 1;
    await this.api.patch(sandboxResource, { name, namespace: 'default' }, { type: 'merge', body: { metadata: { generation }, spec } });
    await this.clock.run(50);
  }

  find(name: string): Sandbox | undefined {
    return this.api
      .objects(sandboxResource)
      .map(readSandbox)
      .find(({ metadata }) => metadata.name === name);
  }

  sandbox(name: string): Sandbox {
    const found = this.find(name);
    if (found === undefined) throw new Error(`there is no sandbox ${name}`);
    return found;
  }

  runnerObject(name: string): Runner {
    const found = this.api
      .objects(runnerResource)
      .map(readRunner)
      .find(({ metadata }) => metadata.name === name);
    if (found === undefined) throw new Error(`there is no runner ${name}`);
    return found;
  }

  /** The states that were written into a sandbox's status, in order. */
  statusWrites(name: string): readonly unknown[] {
    return this.api.requests.flatMap(({ verb, resource, what }) => {
      const { name: of, body } = what as { readonly name?: string; readonly body?: { readonly status?: { readonly state?: string } } };
      return verb === 'patch' && resource === 'sandboxes' && of === name && body?.status !== undefined ? [body.status.state] : [];
    });
  }

  eventReasons(): readonly unknown[] {
    return this.api.objects(events).map((event) => (event as unknown as { readonly reason: string }).reason);
  }
}

it('an operator lets agents in once its caches know the world', async () => {
  const stage = new Stage();
  const listed = Promise.withResolvers<undefined>();
  stage.api.intercept = ({ verb, resource }) => (verb === 'list' && resource === 'sandboxes' ? listed.promise : undefined);
  await stage.runner('r1');
  await stage.start();
  const agent = new ScriptedAgent('r1').dial(stage.operator.hub);
  await stage.clock.run(5_000);
  expect([stage.operator.notReady(), agent.heard]).toEqual(['the caches have not synced yet', []]);
  await stage.clock.run(4_000);
  expect(agent.ended).toMatchObject({ code: 'Unavailable', message: expect.stringContaining('the caches have not synced yet') });
  const again = new ScriptedAgent('r1').dial(stage.operator.hub);
  await stage.clock.run(5_000);
  listed.resolve(undefined);
  await stage.clock.run(100);
  expect([stage.operator.notReady(), again.heard.map(({ $case }) => $case)]).toEqual([undefined, ['welcome']]);
  await stage.stop();
});

describe('an operator', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = new Stage();
    await stage.runner('r1');
    await stage.start();
  });
  afterEach(() => stage.stop());

  it('starts a sandbox with two status writes, after preparing it while the first is on its way', async () => {
    const agent = obedient(await stage.agent('r1'));
    await stage.create('box');
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', runnerName: 'r1', contentVersion: 1, order: 1 });
    expect(stage.statusWrites('box')).toEqual(['Creating', 'Started']);
    expect(agent.heard.map(({ $case }) => $case)).toEqual(['welcome', 'preparation', 'order']);
    expect(agent.orders).toMatchObject([{ wanted: Wanted.WANTED_RUNNING, contentVersion: 1, epoch: 1, order: 1, storeId: 'store-r1' }]);
    expect(agent.orders[0]?.config?.hash).toBe(stage.sandbox('box').status.assignment?.configHash);
    await stage.clock.run(600_000);
    expect(stage.statusWrites('box')).toHaveLength(2);
  });

  it('stops it, starts it in place with two writes, restarts it, and removes it', async () => {
    const agent = obedient(await stage.agent('r1'));
    const { metadata } = await stage.create('box');
    await stage.change('box', { desiredState: 'Stopped' });
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Stopped', order: 2, observedGeneration: 2 });
    await stage.change('box', { desiredState: 'Started' });
    expect(stage.statusWrites('box').slice(-2)).toEqual(['Starting', 'Started']);
    await stage.change('box', { restartID: 'one' });
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', contentVersion: 3, restartID: 'one', restartCount: 0 });
    await stage.api.delete(sandboxResource, metadata);
    await stage.clock.run(50);
    expect(stage.find('box')).toBeUndefined();
    expect(agent.orders.map(({ wanted }) => wanted)).toEqual([2, 3, 2, 3, 2, 4]);
    expect(agent.orders.map(({ order }) => order)).toEqual([1, 2, 3, 4, 5, 6]);
    // Events are written after the work that they tell of.
    await stage.clock.run(250);
    expect(stage.eventReasons()).toEqual(
      expect.arrayContaining(['Creating', 'Started', 'Stopping', 'Stopped', 'Starting', 'Restarting', 'Deleting', 'Deleted']),
    );
  });

  it('puts the finalizer on where nobody else did, before it orders anything', async () => {
    const agent = obedient(await stage.agent('r1'));
    const manifest = {
      apiVersion: 'berth.dev/v1alpha1',
      kind: 'Sandbox',
      metadata: { name: 'bare', namespace: 'default' },
      spec: { image: 'demo:1' },
    };
    agent.onOrder = () => expect(stage.sandbox('bare').metadata.finalizers).toEqual(['berth.dev/sandbox']);
    await stage.api.create(sandboxResource, manifest);
    await stage.clock.run(50);
    expect(agent.orders).toHaveLength(1);
  });

  it('waits for a runner, says why, and wakes when one connects', async () => {
    await stage.create('box');
    expect(stage.sandbox('box').status).toMatchObject({
      state: 'Pending',
      reason: 'NoRunnerAvailable',
      message: '0 of 1 runners fit: 1 not connected.',
    });
    const agent = obedient(new ScriptedAgent('r1').dial(stage.operator.hub));
    await stage.clock.run(1);
    agent.inventory();
    await stage.clock.run(500);
    expect(stage.sandbox('box').status.state).toBe('Started');
  });

  it('sends no order whose patch was not acknowledged', async () => {
    const agent = obedient(await stage.agent('r1'));
    stage.api.intercept = ({ verb, resource }) => {
      if (verb === 'patch' && resource === 'sandboxes') throw new KubeError('Unreachable', 'no answer');
    };
    await stage.create('box');
    await stage.clock.run(1_000);
    expect(agent.orders).toEqual([]);
    expect(agent.preparations.length).toBeGreaterThan(0);
    stage.api.intercept = () => undefined;
    await stage.clock.run(70_000);
    expect(agent.orders).toHaveLength(1);
  });

  it('never gives the same room away twice, whatever is decided at once', async () => {
    obedient(await stage.agent('r1'));
    await stage.runner('r2');
    obedient(await stage.agent('r2'));
    const names = Array.from({ length: 20 }, (_, index) => `box-${index}`);
    await Promise.all(
      names.map((name) => stage.create(name, { resources: { limits: { cpu: '1', memory: '4Gi', disk: '4Gi', pids: 64 } } })),
    );
    await stage.clock.run(1_000);
    const placed = names.map((name) => stage.sandbox(name).status);
    const on = (runner: string) => placed.filter(({ runnerName, state }) => runnerName === runner && state === 'Started').length;
    expect([on('r1'), on('r2')]).toEqual([7, 7]);
    expect(placed.filter(({ reason }) => reason === 'NoRunnerAvailable').map(({ message }) => message)).toEqual(
      Array.from({ length: 6 }, () => '0 of 2 runners fit: 2 insufficient memory.'),
    );
  });

  it('sends an order again on a new stream, and again while it is not accepted', async () => {
    const first = await stage.agent('r1');
    await stage.create('box');
    expect(first.orders).toHaveLength(1);
    await stage.clock.run(10_500);
    expect(first.orders).toHaveLength(2);
    first.drop();
    const second = await stage.agent('r1');
    expect(second.orders).toHaveLength(1);
    expect(second.orders[0]).toEqual(first.orders[0]);
  });

  it('records an exit under a raised order and starts again after a wait', async () => {
    const agent = obedient(await stage.agent('r1'));
    const { metadata } = await stage.create('box');
    const exit = { code: 3, reason: 'Error', signal: 0, finishTimeMs: stage.clock.now(), ordered: false };
    agent.report(aReport(metadata.uid, 1, { contentVersion: 1, state: CopyState.COPY_STATE_STOPPED, exit }));
    await stage.clock.run(50);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Stopped', reason: 'RestartBackOff', order: 2, exitCode: 3 });
    await stage.clock.run(2_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', order: 3, contentVersion: 2, restartCount: 1 });
  });

  it('lets a deleted object go when its runner does not answer, notes the copy, and has it removed when the runner is back', async () => {
    const agent = obedient(await stage.agent('r1'));
    const { metadata } = await stage.create('box');
    agent.drop();
    await stage.api.delete(sandboxResource, metadata);
    await stage.clock.run(110_000);
    expect(stage.sandbox('box').status.state).toBe('Deleting');
    await stage.clock.run(12_000);
    expect(stage.find('box')).toBeUndefined();
    expect(stage.runnerObject('r1').status.removals).toMatchObject([{ uid: metadata.uid, epoch: 1, storeID: 'store-r1', order: 3 }]);
    const back = obedient(new ScriptedAgent('r1').dial(stage.operator.hub));
    await stage.clock.run(1);
    back.inventory(aReport(metadata.uid, 1, { contentVersion: 1, state: CopyState.COPY_STATE_RUNNING }));
    await stage.clock.run(500);
    expect(back.orders).toMatchObject([{ uid: metadata.uid, wanted: Wanted.WANTED_ABSENT, order: 3, bootId: '' }]);
    expect(stage.runnerObject('r1').status.removals).toEqual([]);
  });

  it('leaves a sandbox alone whose Runner object is deleted while its agent is connected', async () => {
    const agent = obedient(await stage.agent('r1'));
    await stage.create('box');
    await stage.api.delete(runnerResource, { name: 'r1' });
    await stage.clock.run(60_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', order: 1, contentVersion: 1 });
    await stage.api.delete(leases, { namespace: 'berth-system', name: 'runner-r1' });
    await stage.runner('r1');
    await stage.change('box', { desiredState: 'Stopped' });
    await stage.clock.run(1_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Stopped', reason: 'Stopped', order: 2 });
    expect(agent.orders).toMatchObject([{ wanted: Wanted.WANTED_RUNNING }, { wanted: Wanted.WANTED_STOPPED }]);
  });

  it('keeps Ready and Schedulable of runners', async () => {
    const agent = await stage.agent('r1');
    const conditions = () => stage.runnerObject('r1').status.conditions.map(({ type, status, reason }) => [type, status, reason]);
    expect(conditions()).toEqual([
      ['Ready', 'True', 'LeaseRenewed'],
      ['Schedulable', 'True', 'Schedulable'],
    ]);
    await stage.api.patch(runnerResource, { name: 'r1' }, { type: 'merge', body: { spec: { unschedulable: true } } });
    await stage.clock.run(100);
    expect(conditions()[1]).toEqual(['Schedulable', 'False', 'Cordoned']);
    agent.drop();
    await stage.clock.run(41_000);
    expect(conditions()[0]).toEqual(['Ready', 'Unknown', 'LeaseExpired']);
  });

  it('says of a lost runner and of what was started there that nobody knows, does nothing about it, and takes it back when the agent is back', async () => {
    const agent = obedient(await stage.agent('r1'));
    await stage.runner('r2');
    obedient(await stage.agent('r2'));
    const renew = (name: string, nowMs: number) =>
      stage.api.patch(
        leases,
        { namespace: 'berth-system', name: `runner-${name}` },
        { type: 'merge', body: { spec: newLease({ namespace: '', name: '', holder: name, durationMs: 40_000, nowMs }).spec } },
      );
    await stage.api.patch(runnerResource, { name: 'r2' }, { type: 'merge', body: { spec: { unschedulable: true } } });
    const { metadata } = await stage.create('box');
    await stage.api.patch(runnerResource, { name: 'r2' }, { type: 'merge', body: { spec: { unschedulable: false } } });
    const ready = () => stage.sandbox('box').status.conditions.find(({ type }) => type === 'Ready');
    const before = stage.sandbox('box').status;
    agent.drop();
    await stage.clock.run(32_000);
    const connected = { type: 'connection.berth.dev/10-0-0-1-3001', status: 'True', reason: 'Connected', message: 'm' };
    const conditions = [...stage.runnerObject('r1').status.conditions, { ...connected, lastTransitionTime: '2026-01-01T00:00:00Z' }];
    await stage.api.patch(runnerResource, { name: 'r1' }, { type: 'merge', body: { status: { conditions } } }, { subresource: 'status' });
    await renew('r2', 1);
    await stage.clock.run(9_000);
    const runnerConditions = () => stage.runnerObject('r1').status.conditions.map(({ type, status, reason }) => [type, status, reason]);
    expect(runnerConditions()).toEqual(
      expect.arrayContaining([
        ['Ready', 'Unknown', 'LeaseExpired'],
        ['connection.berth.dev/10-0-0-1-3001', 'Unknown', 'Unknown'],
      ]),
    );
    expect(ready()).toMatchObject({ status: 'Unknown', reason: 'RunnerLost' });
    expect(stage.eventReasons()).toEqual(expect.arrayContaining(['LeaseExpired', 'RunnerLost']));
    await renew('r2', 2);
    await stage.clock.run(600_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', runnerName: 'r1', order: before.order, contentVersion: 1 });
    const writes = stage.statusWrites('box').length;

    const back = obedient(new ScriptedAgent('r1').dial(stage.operator.hub));
    await renew('r1', 3);
    await stage.clock.run(1);
    back.inventory(aReport(metadata.uid, 1, { order: before.order, contentVersion: 1, state: CopyState.COPY_STATE_RUNNING }));
    await stage.clock.run(500);
    expect(ready()).toMatchObject({ status: 'True', reason: 'Started' });
    expect([back.orders, stage.statusWrites('box').length - writes]).toEqual([[], 1]);
  });

  describe('the deadline of a sandbox whose image is being pulled', () => {
    const pulling = (uid: string, bytes: number) =>
      aReport(uid, 1, { state: CopyState.COPY_STATE_PREPARING, progress: { phase: 'Pulling', bytes, totalBytes: 9_000 } });
    const state = () => stage.sandbox('box').status;
    /** Keeps the runner ready, every 30 s, for so long; `busy` is what happens meanwhile. */
    const pass = async (ms: number, busy: (second: number) => Promise<void> | void) => {
      for (const at of Array.from({ length: ms / 30_000 }, (_, index) => 30 * (index + 1))) {
        const spec = newLease({ namespace: '', name: '', holder: 'r1', durationMs: 40_000, nowMs: stage.clock.now() }).spec;
        await stage.api.patch(leases, { namespace: 'berth-system', name: 'runner-r1' }, { type: 'merge', body: { spec } });
        await stage.clock.run(30_000);
        await busy(at);
      }
    };

    it('moves with its bytes, and ends at most 60 min after the begin', async () => {
      const agent = await stage.agent('r1');
      const { metadata } = await stage.create('box');
      await pass(3_570_000, (second) => agent.report(pulling(metadata.uid, second)));
      expect(state().state).toBe('Creating');
      await pass(60_000, (second) => agent.report(pulling(metadata.uid, 4_000 + second)));
      expect(state()).toMatchObject({ state: 'Error', reason: 'DeadlineExceeded' });
    });

    it('does not move with status updates, changes of its object or of others, reports without bytes, or a raised order', async () => {
      const agent = await stage.agent('r1');
      const { metadata } = await stage.create('box');
      agent.report(pulling(metadata.uid, 100));
      await pass(270_000, async (second) => {
        agent.report(pulling(metadata.uid, 100));
        await stage.api.patch(sandboxResource, metadata, { type: 'merge', body: { metadata: { labels: { seen: String(second) } } } });
        const conditions = [
          { type: 'example.com/Seen', status: 'True', reason: 'Seen', message: String(second), lastTransitionTime: '2026-01-01T00:00:00Z' },
        ];
        await stage.api.patch(sandboxResource, metadata, { type: 'merge', body: { status: { conditions } } }, { subresource: 'status' });
        if (second === 120) await stage.change('box', { env: [{ name: 'A', value: 'b' }] });
        if (second === 150) agent.report({ ...pulling(metadata.uid, 100), order: state().order });
      });
      expect(state().state).toBe('Creating');
      await pass(60_000, () => agent.report({ ...pulling(metadata.uid, 100), order: state().order }));
      expect(state()).toMatchObject({ state: 'Error', reason: 'DeadlineExceeded' });
    });
  });

  it('says that recovery is suspended while many runners are lost at once, believes no Node meanwhile, and takes that back by itself', async () => {
    const agent = obedient(await stage.agent('r1'));
    const { metadata } = await stage.create('box', { restartPolicy: 'Never' });
    await stage.runner('r2');
    await stage.clock.run(100);
    agent.drop();
    const state = () => stage.sandbox('box').status;
    await stage.clock.run(45_000);
    expect(state()).toMatchObject({ state: 'Started', reason: 'RunnerLost' });
    expect(stage.eventReasons()).toEqual(expect.arrayContaining(['RecoverySuspended']));
    const nodes = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
    await stage.api.delete(nodes, { name: 'r1' });
    await stage.clock.run(10_000);
    expect(state()).toMatchObject({ state: 'Started', reason: 'RunnerLost' });

    const spec = newLease({ namespace: '', name: '', holder: 'r2', durationMs: 40_000, nowMs: 9 }).spec;
    await stage.api.patch(leases, { namespace: 'berth-system', name: 'runner-r2' }, { type: 'merge', body: { spec } });
    await stage.clock.run(1_000);
    expect(stage.eventReasons()).toEqual(expect.arrayContaining(['RecoveryResumed']));
    expect(state()).toMatchObject({ state: 'Stopped', reason: 'ExitLost', runnerName: 'r1', contentVersion: 1 });
    expect(stage.sandbox('box').metadata.uid).toBe(metadata.uid);
  });

  describe('a copy that nobody claims', () => {
    const lonely = aReport('uid-lonely', 4, { name: 'lonely', contentVersion: 2, state: CopyState.COPY_STATE_RUNNING });
    const said = (agent: ScriptedAgent) =>
      agent.heard.flatMap((message) =>
        message.$case === 'unclaimed' ? [message.value.copies.map(({ uid, epoch }) => `${uid}/${epoch}`)] : [],
      );

    it('is told to its agent again and again, with an Event once, and ordered nothing', async () => {
      const agent = await stage.agent('r1');
      agent.inventory(lonely);
      await stage.clock.run(6_000);
      expect(said(agent)).toEqual([['uid-lonely/4']]);
      expect(agent.heard.at(-1)).toMatchObject({ value: { storeId: 'store-r1', validSeconds: 180, copies: [{ kind: 1 }] } });
      await stage.clock.run(180_000);
      expect(said(agent).length).toBeGreaterThanOrEqual(3);
      expect(stage.eventReasons().filter((reason) => reason === 'UnclaimedCopy')).toHaveLength(1);
      expect(agent.orders).toEqual([]);
    });

    it('is claimed again by an object that names it', async () => {
      const agent = await stage.agent('r1');
      agent.inventory(lonely);
      await stage.clock.run(6_000);
      const { metadata } = await stage.create('lonely', { desiredState: 'Stopped' });
      const status = {
        ...{ state: 'Stopped', order: 1, contentVersion: 2, runnerName: 'r1', observedGeneration: 1 },
        assignment: {
          ...{ epoch: 4, storeID: 'store-r1', bootID: 'boot-r1', phase: 'Committed', source: { kind: 'Local' } },
          ...{ reason: 'FirstPlacement', startTime: '2026-01-01T00:00:00Z', configHash: 'x' },
        },
      };
      await stage.api.patch(sandboxResource, metadata, { type: 'merge', body: { status } }, { subresource: 'status' });
      agent.inventory({ ...lonely, uid: metadata.uid, state: CopyState.COPY_STATE_STOPPED });
      await stage.clock.run(6_000);
      expect(said(agent).at(-1)).toEqual([]);
    });

    it('is not said to be unclaimed while its object can not be read', async () => {
      const agent = await stage.agent('r1');
      await stage.api.create(sandboxResource, {
        apiVersion: 'berth.dev/v1alpha1',
        kind: 'Sandbox',
        metadata: { name: 'lonely', namespace: 'default' },
        spec: { image: 7 },
      } as Manifest);
      agent.inventory(lonely);
      await stage.clock.run(120_000);
      expect(said(agent).flat()).toEqual([]);
    });

    it('is not said to be unclaimed while the API server does not answer for its object', async () => {
      const agent = await stage.agent('r1');
      const { api } = stage;
      const get = api.get.bind(api);
      api.get = (resource, ref) =>
        resource.plural === 'sandboxes' ? Promise.reject(new KubeError('Unreachable', 'The API server is away.')) : get(resource, ref);
      agent.inventory(lonely);
      await stage.clock.run(120_000);
      expect(said(agent)).toEqual([]);
      api.get = get;
      await stage.clock.run(120_000);
      expect(said(agent)[0]).toEqual(['uid-lonely/4']);
    });
  });

  it('reads the Secrets that a sandbox names, gives them to its agent, and logs nothing of them', async () => {
    const agent = obedient(await stage.agent('r1'));
    await stage.create('box', { imagePullSecrets: [{ name: 'pull' }] });
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Error', reason: 'ImagePullSecretNotFound' });
    const config = JSON.stringify({ auths: { 'registry.test:5000': { auth: Buffer.from('me:hush').toString('base64') } } });
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'pull', namespace: 'default' },
      type: 'kubernetes.io/dockerconfigjson',
    };
    const secrets = { group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true };
    await stage.api.create(secrets, { ...secret, data: { '.dockerconfigjson': Buffer.from(config).toString('base64') } } as Manifest);
    await stage.clock.run(3_000);
    expect(stage.sandbox('box').status.state).toBe('Started');
    expect(agent.orders[0]?.credentials).toEqual([{ host: 'registry.test:5000', username: 'me', password: 'hush' }]);
    expect(JSON.stringify([stage.lines, stage.api.objects(sandboxResource), stage.api.objects(events)])).not.toContain('hush');
  });

  it('waits for a Secret that the environment comes from, reads it at every start, and tells nothing of it', async () => {
    const agent = obedient(await stage.agent('r1'));
    const env = [
      { name: 'GREETING', value: 'hello' },
      { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'mine', key: 'token', optional: false } } },
    ];
    await stage.create('box', { env });
    await stage.clock.run(11_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Pending', reason: 'EnvSecretNotFound' });
    expect(stage.statusWrites('box')).toEqual(['Pending']);
    const secrets = { group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true };
    const data = (value: string) => ({ data: { token: Buffer.from(value).toString('base64') } });
    const metadata = { name: 'mine', namespace: 'default' };
    await stage.api.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata, ...data('hush-1') });
    await stage.clock.run(11_000);
    expect(stage.sandbox('box').status.state).toBe('Started');
    await stage.api.patch(secrets, metadata, { type: 'merge', body: data('hush-2') });
    await stage.change('box', { restartID: '1' });
    await stage.clock.run(3_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Started', restartID: '1' });
    await stage.api.delete(secrets, metadata);
    await stage.change('box', { restartID: '2' });
    await stage.clock.run(11_000);
    expect(stage.sandbox('box').status).toMatchObject({ state: 'Pending', reason: 'EnvSecretNotFound' });
    const started = agent.orders.filter(({ wanted }) => wanted === Wanted.WANTED_RUNNING);
    expect(started.map(({ config, secretEnv }) => [config?.env, secretEnv])).toEqual(
      ['hush-1', 'hush-2'].map((value) => [[{ name: 'GREETING', value: 'hello' }], [{ name: 'TOKEN', value }]]),
    );
    expect(JSON.stringify([stage.lines, stage.api.objects(sandboxResource), stage.api.objects(events)])).not.toContain('hush');
  });

  it('logs where it considers to run a sandbox', async () => {
    obedient(await stage.agent('r1'));
    const { metadata } = await stage.create('box');
    expect(stage.lines).toContainEqual({
      message: 'Processing sandbox runner assignment',
      fields: {
        sandboxId: metadata.uid,
        currentRunnerId: undefined,
        prevRunnerId: undefined,
        runnerUnschedulable: undefined,
        backupState: 'NoBackup',
      },
    });
  });

  it('acts no longer when it does not lead', async () => {
    const agent = await stage.agent('r1');
    await stage.api.patch(
      leases,
      { namespace: 'berth-system', name: 'berth-operator' },
      { type: 'merge', body: { spec: { holderIdentity: 'other' } } },
    );
    await stage.clock.run(3_000);
    expect(stage.operator.isLeader()).toBe(false);
    await stage.create('box');
    await stage.clock.run(3_000);
    expect([agent.orders, stage.statusWrites('box')]).toEqual([[], []]);
  });
});
