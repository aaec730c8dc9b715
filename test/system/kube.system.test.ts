import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import type { AnchoredClock } from '../../process/system-clock.ts';
import { createCache } from '../../kube/cache.ts';
import type { RunnableCache } from '../../kube/cache.ts';
import { createClient } from '../../kube/client.ts';
import { setCondition } from '../../kube/conditions.ts';
import { loadConnection } from '../../kube/config.ts';
import { createElector } from '../../kube/election.ts';
import { createEventRecorder } from '../../kube/events.ts';
import { createLeaseKeeper } from '../../kube/lease-keeper.ts';
import { leases, parseLease } from '../../kube/lease.ts';
import { listAll } from '../../kube/list.ts';
import { createReviews } from '../../kube/reviews.ts';
import { createTransport } from '../../kube/transport.client.ts';
import type { HttpTransport } from '../../kube/transport.client.ts';
import type { Condition, KubeObject, Resource } from '../../kube/types.ts';
import { Cluster } from '../harness/cluster.ts';
import { eventually, longEnoughMs } from './eventually.ts';

/** The first start on a machine compiles kube-apiserver. */
const startTimeoutMs = 1_800_000;
jest.setTimeout(longEnoughMs);

const configMaps: Resource = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };
const serviceAccounts: Resource = { group: '', version: 'v1', plural: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true };
const definitions: Resource = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};
const things: Resource = { group: 'test.berth.dev', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}
interface Thing extends KubeObject {
  readonly status?: { readonly size?: number; readonly conditions?: readonly Condition[] };
}
const parseConfigMap = (raw: KubeObject): ConfigMap => raw;

const configMap = (name: string, data: Readonly<Record<string, string>> = {}, over: object = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: 'default', name, ...over },
  data,
});

const thingDefinition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'things.test.berth.dev' },
  spec: {
    group: 'test.berth.dev',
    scope: 'Namespaced',
    names: { kind: 'Thing', plural: 'things', singular: 'thing', listKind: 'ThingList' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: { type: 'object', properties: { size: { type: 'integer', maximum: 9 } } },
              status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
            },
          },
        },
      },
    ],
  },
};

describe('the controller runtime against a real API server', () => {
  let cluster: Cluster;
  let clock: AnchoredClock;
  let transport: HttpTransport;
  const ends: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ operators: 0, agents: false, runners: [] });
    clock = systemClock();
    transport = await open(cluster.kubeconfig);
  }, startTimeoutMs);
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  afterAll(async () => {
    await transport.close();
    await cluster.stop();
  });

  const random = () => Math.random();
  const open = async (kubeconfig: string) =>
    createTransport({
      connection: await loadConnection({ kubeconfig, clock }),
      clock,
      random,
      log: silentLogger,
      userAgent: 'berth-test/1',
    });

  /** Runs something until the end of the test. */
  const until = (run: (signal: AbortSignal) => Promise<void>) => {
    const stop = new AbortController();
    const done = run(stop.signal);
    const end = async () => {
      stop.abort(new Error('the test is over'));
      await done;
    };
    ends.push(end);
    return end;
  };

  const watchConfigMaps = async (labelSelector: string, streaming: boolean): Promise<RunnableCache<ConfigMap>> => {
    const cache = createCache({
      transport,
      resource: configMaps,
      parse: parseConfigMap,
      clock,
      random,
      log: silentLogger,
      labelSelector,
      streaming,
      pageSize: 100,
    });
    until((signal) => cache.run(signal));
    await cache.whenSynced();
    return cache;
  };

  describe('transport', () => {
    it('creates, reads, replaces, patches in all three ways, applies and deletes', async () => {
      const ref = { namespace: 'default', name: 'verbs' };
      const created = (await transport.create(configMaps, configMap('verbs', { a: '1' }))) as ConfigMap;
      expect(created).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', data: { a: '1' } });
      const updated = (await transport.update(configMaps, { ...created, data: { a: '2' } } as ConfigMap)) as ConfigMap;
      await transport.patch(configMaps, ref, { type: 'merge', body: { data: { b: '3' } } });
      await transport.patch(configMaps, ref, { type: 'json', body: [{ op: 'replace', path: '/data/b', value: '4' }] });
      await transport.patch(configMaps, ref, { type: 'apply', body: configMap('verbs', { c: '5' }), fieldManager: 'test', force: true });
      const read = (await transport.get(configMaps, ref)) as ConfigMap;
      expect([updated.data, read.data]).toEqual([{ a: '2' }, { a: '2', b: '4', c: '5' }]);
      expect(await transport.delete(configMaps, ref, { preconditions: { uid: created.metadata.uid } })).toEqual({ kind: 'deleted' });
      await expect(transport.get(configMaps, ref)).rejects.toMatchObject({ code: 'NotFound' });
    });

    it('says what the API server refuses, by code', async () => {
      const ref = { namespace: 'default', name: 'refusals' };
      const created = await transport.create(configMaps, configMap('refusals'));
      await transport.patch(configMaps, ref, { type: 'merge', body: { data: { a: '1' } } });
      const refusals = [
        transport.create(configMaps, configMap('refusals')),
        transport.update(configMaps, created),
        transport.patch(configMaps, ref, { type: 'merge', body: { metadata: { resourceVersion: created.metadata.resourceVersion } } }),
        transport.delete(configMaps, ref, { preconditions: { uid: 'another' } }),
        transport.create(configMaps, configMap('Not_A_Name')),
        transport.patch(configMaps, ref, { type: 'json', body: [{ op: 'test', path: '/data/a', value: '2' }] }),
        transport.list({ ...configMaps, plural: 'nothings' }),
        transport.list(configMaps, { fieldSelector: 'no=where' }),
        transport.list(configMaps, { continueToken: 'nonsense' }),
      ];
      const codes = (await Promise.allSettled(refusals)).map((result) =>
        result.status === 'rejected' ? (result.reason as { code: string }).code : 'accepted',
      );
      expect(codes).toEqual([
        'AlreadyExists',
        'Conflict',
        'Conflict',
        'Conflict',
        'Invalid',
        'Invalid',
        'NotFound',
        'BadRequest',
        'BadRequest',
      ]);
    });

    it('follows the clock of the API server although its own was an hour ahead', async () => {
      const ahead = systemClock({ monotonic: () => performance.now(), wall: () => Date.now() + 3_600_000 });
      const other = createTransport({
        connection: await loadConnection({ kubeconfig: cluster.kubeconfig, clock: ahead }),
        clock: ahead,
        random,
        log: silentLogger,
        userAgent: 'berth-test/1',
      });
      ends.push(() => other.close());
      await other.list(configMaps);
      expect(Math.abs(ahead.now() - Date.now())).toBeLessThan(60_000);
    });

    it('tells a watch from a version that is too old that it is Expired', async () => {
      const old = await transport.create(configMaps, configMap('old'));
      await transport.patch(configMaps, old.metadata, { type: 'merge', body: { data: { a: '1' } } });
      // The history that the server keeps in memory begins at its start.
      await cluster.apiserver.restart();
      const watch = async () => {
        const { resourceVersion } = old.metadata;
        for await (const event of transport.watch(configMaps, { resourceVersion, timeoutSeconds: 30 })) throw new Error(event.type);
      };
      await expect(watch()).rejects.toMatchObject({ code: 'Expired' });
    });

    it('ends a request to a server that is frozen at its deadline, and goes on when it thaws', async () => {
      cluster.apiserver.freeze();
      try {
        await expect(transport.get(configMaps, { namespace: 'default', name: 'x' }, { timeoutMs: 500 })).rejects.toMatchObject({
          code: 'Timeout',
        });
      } finally {
        cluster.apiserver.thaw();
      }
      await expect(transport.get(configMaps, { namespace: 'default', name: 'x' })).rejects.toMatchObject({ code: 'NotFound' });
    });
  });

  describe.each([
    { how: 'pages', streaming: false },
    { how: 'a streaming list where the server can', streaming: true },
  ])('cache filled by $how', ({ streaming }) => {
    const label = `list-${streaming}`;

    it('lists a thousand objects while they change, follows them, and ends like the server', async () => {
      const create = (n: number) => transport.create(configMaps, configMap(`${label}-${n}`, { n: String(n) }, { labels: { test: label } }));
      await Promise.all(Array.from({ length: 1_000 }, (_, n) => create(n)));
      const churn = async () => {
        for (let n = 0; n < 100; n++) {
          await transport.patch(
            configMaps,
            { namespace: 'default', name: `${label}-${n}` },
            { type: 'merge', body: { data: { n: 'changed' } } },
          );
          await transport.delete(configMaps, { namespace: 'default', name: `${label}-${900 + n}` });
          if (n % 2 === 0) await create(900 + n);
        }
      };
      const [cache] = await Promise.all([watchConfigMaps(`test=${label}`, streaming), churn()]);
      const told = new Map<string, string>();
      cache.subscribe({
        added: ({ metadata }) => void told.set(metadata.name, metadata.resourceVersion),
        updated: ({ metadata }) => void told.set(metadata.name, metadata.resourceVersion),
        deleted: ({ metadata }) => void told.delete(metadata.name),
      });
      const { items } = await listAll(transport, configMaps, { labelSelector: `test=${label}` });
      const want = new Map(items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
      const same = (have: ReadonlyMap<string, string>) =>
        have.size === want.size && [...want].every(([name, version]) => have.get(name) === version);
      const cached = () => new Map(cache.list().map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
      expect(want.size).toBe(950);
      await eventually('the cache is like the server', () => Promise.resolve(same(cached()) && same(told) ? true : undefined));
    });

    it('tells an object that is deleted and created again under its name as deleted, then added', async () => {
      const cache = await watchConfigMaps(`again=${label}`, streaming);
      const told: string[] = [];
      cache.subscribe({
        added: ({ data }) => void told.push(`added ${data?.n}`),
        deleted: ({ data }) => void told.push(`deleted ${data?.n}`),
      });
      for (const n of ['1', '2']) {
        await transport.create(configMaps, configMap(`again-${label}`, { n }, { labels: { again: label } }));
        await transport.delete(configMaps, { namespace: 'default', name: `again-${label}` });
      }
      await eventually(
        'both were told',
        () => Promise.resolve(told.length === 4 ? true : undefined),
        () => told,
      );
      expect(told).toEqual(['added 1', 'deleted 1', 'added 2', 'deleted 2']);
    });

    it('never returns anything older than an own write, over many writes', async () => {
      const cache = await watchConfigMaps(`own=${label}`, streaming);
      const client = createClient({ transport, resource: configMaps, parse: parseConfigMap, cache });
      let object = await client.create(configMap(`own-${label}`, { n: '0' }, { labels: { own: label } }));
      const older: string[] = [];
      cache.subscribe({
        updated: (next, old) => {
          if (Number(next.data?.n) < Number(old.data?.n)) older.push(`${old.data?.n}→${next.data?.n}`);
        },
      });
      for (let n = 1; n <= 200; n++) {
        object = await client.apply(configMap(`own-${label}`, { n: String(n) }, { labels: { own: label } }), {
          fieldManager: 'test',
        });
        expect(cache.get(`default/own-${label}`)?.data?.n).toBe(String(n));
      }
      await client.delete(object);
      expect([cache.get(`default/own-${label}`), older]).toEqual([undefined, []]);
    });

    it('goes on by itself when the API server is killed, and learns what happened meanwhile', async () => {
      const cache = await watchConfigMaps(`restart=${label}`, streaming);
      await transport.create(configMaps, configMap(`before-${label}`, {}, { labels: { restart: label } }));
      await eventually('the object is seen', () => Promise.resolve(cache.get(`default/before-${label}`)));
      await cluster.apiserver.kill();
      await cluster.apiserver.start();
      await cluster.kubectl('delete', 'configmap', `before-${label}`);
      await cluster.kubectl('create', 'configmap', `after-${label}`);
      await cluster.kubectl('label', 'configmap', `after-${label}`, `restart=${label}`);
      await eventually('the cache goes on', () => Promise.resolve(cache.get(`default/after-${label}`)));
      await eventually('the old object is gone', () =>
        Promise.resolve(cache.get(`default/before-${label}`) === undefined ? true : undefined),
      );
    });
  });

  describe('client', () => {
    const client = () => createClient<Thing>({ transport, resource: things, parse: (raw) => raw });
    beforeAll(async () => {
      await transport.create(definitions, thingDefinition);
      await eventually('the resource is served', () =>
        transport.list(things).then(
          () => true,
          () => undefined,
        ),
      );
    });

    it('writes a status by compare-and-swap, only what differs, and nothing when nothing differs', async () => {
      const created = await client().create({
        apiVersion: 'test.berth.dev/v1',
        kind: 'Thing',
        metadata: { namespace: 'default', name: 'status' },
      });
      const conditions = setCondition([], { type: 'Ready', status: 'False', reason: 'Starting', message: 'It starts.' }, clock.now());
      const first = await client().patchStatus(created, { size: 1, conditions });
      const same = await client().patchStatus(first, { size: 1, conditions });
      const second = await client().patchStatus(first, { conditions });
      expect([same === first, second.status]).toEqual([true, { conditions }]);
      await expect(client().patchStatus(first, { size: 3 })).rejects.toMatchObject({ code: 'Conflict' });
    });

    it('holds an object by a finalizer and lets it go', async () => {
      const ref = { namespace: 'default', name: 'held' };
      const acknowledged: string[] = [];
      const known: Thing[] = [];
      const held = createClient<Thing>({
        transport,
        resource: things,
        parse: (raw) => raw,
        cache: {
          inVersion: ({ resourceVersion }) => known.find(({ metadata }) => metadata.resourceVersion === resourceVersion),
          acknowledge: (object) => {
            known.push(object);
            acknowledged.push('written');
          },
          acknowledgeDeletion: () => void acknowledged.push('deleted'),
        },
      });
      const metadata = { ...ref, finalizers: ['test.berth.dev/hold'] };
      const created = await held.create({ apiVersion: 'test.berth.dev/v1', kind: 'Thing', metadata });
      await held.delete(created);
      const deleting = await held.get(ref);
      expect(deleting.metadata.deletionTimestamp).toBeDefined();
      const gone = await held.setFinalizers(deleting, []);
      await expect(held.get(ref)).rejects.toMatchObject({ code: 'NotFound' });
      await held.delete(gone);
      expect(acknowledged).toEqual(['written', 'written', 'written', 'deleted']);
    });

    it('says which field the schema refuses', async () => {
      const wrong = {
        apiVersion: 'test.berth.dev/v1',
        kind: 'Thing',
        metadata: { namespace: 'default', name: 'wrong' },
        spec: { size: 10 },
      };
      await expect(client().create(wrong)).rejects.toMatchObject({
        code: 'Invalid',
        message: expect.stringContaining('spec.size') as unknown,
      });
    });
  });

  it('elects one leader, and another when it gives the lease away', async () => {
    const log: string[] = [];
    const stand = (identity: string) => {
      const elector = createElector({
        transport,
        namespace: 'default',
        name: 'election',
        identity,
        clock,
        random,
        log: silentLogger,
        onStartedLeading: () => void log.push(`${identity} started`),
        onStoppedLeading: () => void log.push(`${identity} stopped`),
      });
      return { elector, end: until((signal) => elector.run(signal)) };
    };
    const one = stand('one');
    await eventually('one leads', () => Promise.resolve(one.elector.isLeader() || undefined));
    const two = stand('two');
    await eventually('two sees one', () => Promise.resolve(two.elector.holder === 'one' || undefined));
    await one.end();
    await eventually('two leads', () => Promise.resolve(two.elector.isLeader() || undefined));
    expect(log).toEqual(['one started', 'one stopped', 'two started']);
    const lease = parseLease(await transport.get(leases, { namespace: 'default', name: 'election' }));
    expect(lease.spec).toMatchObject({ holderIdentity: 'two', leaseTransitions: 1, leaseDurationSeconds: 15 });
  });

  it('keeps a lease alive, creating it where it is missing', async () => {
    const keeper = createLeaseKeeper({
      transport,
      namespace: 'default',
      name: 'alive',
      holder: 'me',
      intervalMs: 200,
      clock,
      random,
      log: silentLogger,
    });
    until((signal) => keeper.run(signal));
    const renewTime = async () => {
      const lease = await transport.get(leases, { namespace: 'default', name: 'alive' }).catch(() => undefined);
      return lease === undefined ? undefined : parseLease(lease).spec?.renewTime;
    };
    const first = await eventually('it is there', renewTime);
    await eventually('it is renewed', async () => ((await renewTime()) === first ? undefined : true));
  });

  it('writes events that kubectl describe shows, and counts repetitions', async () => {
    const regarding = await transport.create(configMaps, configMap('told'));
    const recorder = createEventRecorder({
      transport,
      controller: 'berth.dev/test',
      instance: 'test-1',
      clock,
      random,
      log: silentLogger,
      refreshMs: 100,
    });
    until((signal) => recorder.run(signal));
    const note = { regarding, type: 'Warning', reason: 'Tested', action: 'Test', note: `It is ${'very '.repeat(300)}long.` } as const;
    for (let n = 0; n < 3; n++) recorder.record(note);
    await eventually('kubectl shows the count', async () => {
      const described = await cluster.kubectl('describe', 'configmap', 'told');
      return /Warning +Tested .*\(x3 over .*berth\.dev\/test +It is very/.test(described) ? true : undefined;
    });
  });

  it('reviews tokens by audience, and what their owners may do', async () => {
    const reviews = createReviews({ transport, clock });
    await transport.create(serviceAccounts, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { namespace: 'default', name: 'caller' },
    });
    const answer = await transport.createSubresource(serviceAccounts, { namespace: 'default', name: 'caller' }, 'token', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: ['berth-operator'], expirationSeconds: 600 },
    });
    const { token } = (answer as { readonly status: { readonly token: string } }).status;
    const known = await reviews.authenticate(token, ['berth-operator']);
    expect(known).toMatchObject({
      kind: 'authenticated',
      user: { username: 'system:serviceaccount:default:caller' },
      audiences: ['berth-operator'],
    });
    expect(await reviews.authenticate(token, ['another'])).toMatchObject({ kind: 'refused' });
    expect(await reviews.authenticate('nonsense', ['berth-operator'])).toMatchObject({ kind: 'refused' });
    if (known.kind !== 'authenticated') throw new Error('not authenticated');
    const attributes = { verb: 'get', group: '', resource: 'configmaps', namespace: 'default' };
    expect(await reviews.authorize(known.user, attributes)).toMatchObject({ kind: 'denied' });
    await cluster.kubectl('create', 'role', 'reader', '--verb=get', '--resource=configmaps');
    await cluster.kubectl('create', 'rolebinding', 'reader', '--role=reader', '--serviceaccount=default:caller');
    const fresh = createReviews({ transport, clock, refusedMs: 0 });
    await eventually('it is allowed', async () => ((await fresh.authorize(known.user, attributes)).kind === 'allowed' ? true : undefined));
  });
});
