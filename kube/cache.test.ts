import { afterEach, describe, expect, it } from '@jest/globals';
import { FakeClock, settle } from '../process/fake-clock.ts';
import type { LogFields, Logger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { createCache } from './cache.ts';
import type { CacheOptions, RunnableCache } from './cache.ts';
import { KubeError } from './errors.ts';
import { FakeApi } from './fake-api.ts';
import { listAll } from './list.ts';
import type { KubeObject, Resource } from './types.ts';

const things: Resource = { group: 'example.dev', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };

interface Thing extends KubeObject {
  readonly spec: { readonly size: number; readonly tags?: readonly string[] };
}

function parse(raw: KubeObject): Thing {
  if (typeof (raw as Partial<Thing>).spec?.size !== 'number') throw new Error('spec.size is not a number');
  return raw as Thing;
}

const manifest = (name: string, size: number, over: object = {}) => ({
  apiVersion: 'example.dev/v1',
  kind: 'Thing',
  metadata: { namespace: 'ns', name },
  spec: { size },
  ...over,
});

function logTo(lines: string[]): Logger {
  const write = (level: string) => (fields: LogFields, message: string) =>
    void lines.push(`${level} ${[fields.key, fields.handler].join('')} ${message}`);
  return { debug: () => undefined, info: write('info'), warn: write('warn'), error: write('error'), child: () => logTo(lines) };
}

const running: AbortController[] = [];
afterEach(() => {
  for (const stop of running.splice(0)) stop.abort();
});

function setUp(over: Partial<CacheOptions<Thing>> = {}) {
  const api = new FakeApi();
  const clock = new FakeClock();
  const lines: string[] = [];
  const metrics = createMetrics({ processMetrics: false });
  const cache: RunnableCache<Thing> = createCache({
    transport: api,
    resource: things,
    parse,
    clock,
    random: () => 0,
    log: logTo(lines),
    metrics,
    streaming: false,
    indexes: { size: ({ spec }) => [String(spec.size)], tag: ({ spec }) => spec.tags ?? [] },
    ...over,
  });
  const told: string[] = [];
  const tell = (what: string) => (thing: Thing) => void told.push(`${what} ${thing.metadata.name} ${thing.spec.size}`);
  cache.subscribe({
    added: tell('added'),
    updated: (thing, old) => void told.push(`updated ${thing.metadata.name} ${old.spec.size}→${thing.spec.size}`),
    deleted: tell('deleted'),
  });
  const stop = new AbortController();
  running.push(stop);
  const start = async () => {
    void cache.run(stop.signal);
    await clock.run(0);
  };
  const sizes = () => Object.fromEntries(cache.list().map((thing) => [thing.metadata.name, thing.spec.size]));
  const count = (verb: string) => api.requests.filter((request) => request.verb === verb).length;
  const set = (name: string, size: number) => api.patch(things, { namespace: 'ns', name }, { type: 'merge', body: { spec: { size } } });
  return { api, clock, lines, metrics, cache, told, stop, start, sizes, count, set };
}

describe.each([
  { how: 'pages', streaming: false },
  { how: 'a streaming list', streaming: true },
])('cache filled by $how', ({ streaming }) => {
  it('lists, then follows every change, and tells it', async () => {
    const { api, cache, told, start, sizes, set } = setUp({ streaming });
    api.streaming = streaming;
    await api.create(things, manifest('a', 1));
    expect(cache.hasSynced()).toBe(false);
    await start();
    expect([cache.hasSynced(), sizes()]).toEqual([true, { a: 1 }]);
    await api.create(things, manifest('b', 2));
    await set('a', 3);
    await api.delete(things, { namespace: 'ns', name: 'b' });
    await settle();
    expect(sizes()).toEqual({ a: 3 });
    expect(told).toEqual(['added a 1', 'added b 2', 'updated a 1→3', 'deleted b 2']);
    expect(api.requests.filter(({ verb }) => verb === 'list')).toHaveLength(streaming ? 0 : 1);
  });

  it('lists again after a version that is too old, and tells only what changed meanwhile', async () => {
    const { api, clock, told, start, sizes, set } = setUp({ streaming });
    api.streaming = streaming;
    for (const name of ['a', 'b', 'c']) await api.create(things, manifest(name, 1));
    await start();
    told.length = 0;
    api.breakWatches(new KubeError('Expired', 'too old'));
    await set('a', 2);
    await api.delete(things, { namespace: 'ns', name: 'b' });
    await api.delete(things, { namespace: 'ns', name: 'c' });
    await api.create(things, manifest('c', 1));
    api.compact();
    await clock.run(1_000);
    expect(sizes()).toEqual({ a: 2, c: 1 });
    expect(told).toEqual(['deleted b 1', 'updated a 1→2', 'deleted c 1', 'added c 1']);
  });
});

describe('cache', () => {
  it('reads pages of one version while objects change, and then what changed', async () => {
    const { api, told, start, sizes, set } = setUp({ pageSize: 2 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) await api.create(things, manifest(name, 1));
    api.intercept = async ({ verb, what }) => {
      if (verb !== 'list' || what === '') return;
      api.intercept = () => undefined;
      await set('a', 2);
      await api.delete(things, { namespace: 'ns', name: 'e' });
      await api.create(things, manifest('f', 1));
    };
    await start();
    expect(sizes()).toEqual({ a: 2, b: 1, c: 1, d: 1, f: 1 });
    expect(told).toEqual(['added a 1', 'added b 1', 'added c 1', 'added d 1', 'added e 1', 'updated a 1→2', 'deleted e 1', 'added f 1']);
    expect(api.requests.filter(({ verb }) => verb === 'list').map(({ what }) => what)).toEqual(['', '105:2', '105:4']);
  });

  it('begins the list anew when a page token expires, at last without pages', async () => {
    const { api, start, sizes } = setUp({ pageSize: 1 });
    for (const name of ['a', 'b']) await api.create(things, manifest(name, 1));
    api.intercept = ({ verb, what }) => {
      if (verb === 'list' && what !== '') {
        api.bookmark();
        api.compact();
      }
    };
    await start();
    expect(sizes()).toEqual({ a: 1, b: 1 });
    expect(api.requests.filter(({ verb }) => verb === 'list')).toHaveLength(7);
  });

  it('asks a server without streaming lists once, and then for pages', async () => {
    const { api, clock, start, sizes, count } = setUp({ streaming: true });
    await api.create(things, manifest('a', 1));
    await start();
    expect(sizes()).toEqual({ a: 1 });
    api.breakWatches(new KubeError('Expired', 'too old'));
    await clock.run(500);
    expect(api.requests.filter(({ what }) => what === 'initial')).toHaveLength(1);
    expect(count('list')).toBe(2);
  });

  it('gives up a streaming list that does not end', async () => {
    const { api, clock, start, cache, count } = setUp({ streaming: true });
    api.streaming = true;
    api.intercept = ({ verb }) => {
      if (verb === 'watch') queueMicrotask(() => queueMicrotask(() => api.silenceWatches()));
    };
    const silent = api.watch.bind(api);
    api.watch = async function* (resource, options) {
      if (options.sendInitialEvents === true) await new Promise((resolve) => options.signal?.addEventListener('abort', resolve));
      else yield* silent(resource, options);
    };
    await start();
    await clock.run(29_999);
    expect(cache.hasSynced()).toBe(false);
    await clock.run(1);
    expect([cache.hasSynced(), count('list')]).toEqual([true, 1]);
  });

  it('begins the watch where the bookmark was, without a list', async () => {
    const { api, clock, start, count } = setUp();
    await start();
    api.bookmark();
    await settle();
    api.breakWatches();
    await clock.run(10_000);
    expect(api.requests.filter(({ verb }) => verb === 'watch').map(({ what }) => what)).toEqual(['100', '101']);
    expect(count('list')).toBe(1);
  });

  it('begins a watch anew when it says nothing for too long, and learns what it missed', async () => {
    const { api, clock, start, sizes, count, metrics } = setUp();
    await start();
    await clock.run(60_000);
    api.bookmark();
    await clock.run(89_999);
    expect(count('watch')).toBe(1);
    api.silenceWatches();
    await api.create(things, manifest('a', 1));
    await clock.run(1);
    expect([count('watch'), sizes()]).toEqual([2, { a: 1 }]);
    expect(await metrics.text()).toContain('kube_cache_watches_total{resource="things",result="silent"} 1');
  });

  it('goes on at once after a normal end, but backs off from a server that ends every watch', async () => {
    const { api, clock, start, count } = setUp();
    await start();
    await clock.run(5_000);
    api.breakWatches();
    await clock.run(0);
    expect(count('watch')).toBe(2);
    api.intercept = ({ verb }) => {
      if (verb === 'watch') setImmediate(() => api.breakWatches());
    };
    api.breakWatches();
    for (let second = 0; second < 60; second++) await clock.run(1_000);
    expect(count('watch')).toBeGreaterThan(6);
    expect(count('watch')).toBeLessThan(16);
  });

  it('asks again and again while the server is away, ever more slowly, and then resumes', async () => {
    const { api, clock, lines, start, sizes, count, set } = setUp();
    await api.create(things, manifest('a', 1));
    await start();
    api.intercept = ({ verb }) => {
      if (verb !== 'patch') throw new KubeError('Unreachable', 'connection refused');
    };
    api.breakWatches(new KubeError('Unreachable', 'connection reset'));
    await clock.run(60_000);
    expect(count('list') + count('watch')).toBeLessThan(16);
    expect(lines.every((line) => line === 'warn  Watch failed, trying again')).toBe(true);
    api.intercept = () => undefined;
    await set('a', 2);
    await clock.run(10_000);
    expect(sizes()).toEqual({ a: 2 });
  });

  it('backs off from a server that calls every version too old, and forgets that after a watch that stood', async () => {
    const { api, clock, start, count } = setUp();
    await start();
    api.intercept = ({ verb }) => {
      if (verb === 'watch') throw new KubeError('Expired', 'too old');
    };
    api.breakWatches(new KubeError('Expired', 'too old'));
    await clock.run(60_000);
    const lists = count('list');
    expect(lists).toBeGreaterThan(8);
    expect(lists).toBeLessThan(14);
    api.intercept = () => undefined;
    await clock.run(10_000);
    await clock.run(10_000);
    const before = count('list');
    api.breakWatches(new KubeError('Expired', 'too old'));
    await clock.run(500);
    expect(count('list')).toBe(before + 1);
  });

  it('waits as long as the server asks', async () => {
    const { api, clock, start, count, cache } = setUp();
    api.intercept = () => {
      throw new KubeError('TooManyRequests', 'busy', { retryAfterMs: 20_000 });
    };
    await start();
    api.intercept = () => undefined;
    await clock.run(19_999);
    expect([count('list'), cache.hasSynced()]).toEqual([1, false]);
    await clock.run(1);
    expect([count('list'), cache.hasSynced()]).toEqual([2, true]);
  });

  it('lists again when the server comes back from a backup, and believes it', async () => {
    const { api, clock, start, sizes, told } = setUp();
    for (const name of ['a', 'b']) await api.create(things, manifest(name, 1));
    await start();
    api.lose(50);
    await api.create(things, manifest('b', 7));
    await clock.run(2_000);
    expect(sizes()).toEqual({ b: 7 });
    await api.create(things, manifest('c', 8));
    await settle();
    expect(told.slice(2)).toEqual(['deleted a 1', 'deleted b 1', 'added b 7', 'added c 8']);
  });

  it('reports an object that it cannot read and goes on', async () => {
    const { api, cache, lines, start, sizes } = setUp();
    await api.create(things, manifest('bad', 1, { spec: {} }));
    await api.create(things, manifest('good', 1));
    await start();
    expect([sizes(), cache.isUnreadable('ns/bad'), cache.get('ns/bad')]).toEqual([{ good: 1 }, true, undefined]);
    expect(lines).toEqual(['error ns/bad Object cannot be read, left alone']);
    await api.patch(things, { namespace: 'ns', name: 'bad' }, { type: 'merge', body: { spec: { size: 5 } } });
    await settle();
    expect([sizes(), cache.isUnreadable('ns/bad')]).toEqual([{ good: 1, bad: 5 }, false]);
  });

  it('logs a handler that fails, and tells the others', async () => {
    const { api, cache, lines, told, start } = setUp();
    cache.subscribe({
      added: () => {
        throw new Error('bug');
      },
    });
    await start();
    const more: string[] = [];
    cache.subscribe({ added: ({ metadata }) => void more.push(metadata.name) });
    await api.create(things, manifest('a', 1));
    await settle();
    expect([told, more, lines]).toEqual([['added a 1'], ['a'], ['error added Cache handler failed']]);
  });

  it('tells a subscriber that comes later of what is there', async () => {
    const { api, cache, start } = setUp();
    await api.create(things, manifest('a', 1));
    await start();
    const seen: string[] = [];
    const unsubscribe = cache.subscribe({ added: ({ metadata }) => void seen.push(metadata.name) });
    await api.create(things, manifest('b', 1));
    await settle();
    unsubscribe();
    await api.create(things, manifest('c', 1));
    await settle();
    expect(seen).toEqual(['a', 'b']);
  });

  it('tells all subscribers of changes in the same order, also when a handler writes', async () => {
    const { api, cache, start, told } = setUp();
    await start();
    const acknowledged = { ...manifest('b', 9), metadata: { namespace: 'ns', name: 'b', uid: 'x', resourceVersion: '900' } };
    const first: string[] = [];
    const unsubscribe = cache.subscribe({
      added: ({ metadata }) => {
        first.push(metadata.name);
        if (metadata.name === 'a') cache.acknowledge(acknowledged);
      },
    });
    const second: string[] = [];
    cache.subscribe({
      added: ({ metadata }) => {
        second.push(metadata.name);
        if (metadata.name === 'a') cache.subscribe({ added: (thing) => void second.push(`late ${thing.metadata.name}`) });
      },
    });
    await api.create(things, manifest('a', 1));
    await settle();
    unsubscribe();
    expect([told, first, second]).toEqual([
      ['added a 1', 'added b 9'],
      ['a', 'b'],
      ['a', 'late a', 'late b', 'b'],
    ]);
  });

  it('finds objects by index, also after they changed and went', async () => {
    const { api, cache, start, set } = setUp();
    await api.create(things, manifest('a', 1, { spec: { size: 1, tags: ['x', 'y'] } }));
    await api.create(things, manifest('b', 1, { spec: { size: 1, tags: ['y'] } }));
    await start();
    const names = (index: string, value: string) => cache.byIndex(index, value).map(({ metadata }) => metadata.name);
    expect([names('size', '1'), names('tag', 'x'), names('tag', 'y'), names('tag', 'z')]).toEqual([['a', 'b'], ['a'], ['a', 'b'], []]);
    await set('a', 2);
    await api.delete(things, { namespace: 'ns', name: 'b' });
    await settle();
    expect([names('size', '1'), names('size', '2'), names('tag', 'y')]).toEqual([[], ['a'], ['a']]);
    expect(() => cache.byIndex('colour', 'red')).toThrow('The cache of things has no index colour.');
  });

  it('has indexes that are complete when handlers are told', async () => {
    const { api, cache, start } = setUp();
    const seen: number[] = [];
    cache.subscribe({ added: () => void seen.push(cache.byIndex('size', '1').length) });
    for (const name of ['a', 'b']) await api.create(things, manifest(name, 1));
    await start();
    expect(seen).toEqual([2, 2]);
  });

  it('gives frozen objects without managedFields', async () => {
    const { api, cache, start } = setUp();
    await api.create(
      things,
      manifest('a', 1, { metadata: { namespace: 'ns', name: 'a', managedFields: [{ manager: 'x' }] }, spec: { size: 1, tags: ['x'] } }),
    );
    await start();
    const thing = cache.get('ns/a');
    expect(thing?.metadata).not.toHaveProperty('managedFields');
    expect([thing, thing?.metadata, thing?.spec, thing?.spec.tags].every(Object.isFrozen)).toBe(true);
  });

  it('never goes back behind an acknowledged write, whenever the watch tells it', async () => {
    const { api, cache, told, start, sizes, set } = setUp();
    await api.create(things, manifest('a', 1));
    const late: (() => void)[] = [];
    const watch = api.watch.bind(api);
    api.watch = async function* (resource, options) {
      for await (const event of watch(resource, options)) {
        await new Promise<void>((resolve) => late.push(resolve));
        yield event;
      }
    };
    await start();
    await set('a', 2);
    const mine = parse(await set('a', 3));
    cache.acknowledge(mine);
    await set('a', 4);
    expect(sizes()).toEqual({ a: 3 });
    await settle();
    for (let events = 0; events < 3; events++) {
      late.shift()?.();
      await settle();
    }
    expect(told).toEqual(['added a 1', 'updated a 1→3', 'updated a 3→4']);
    cache.acknowledgeDeletion(mine);
    expect(sizes()).toEqual({});
  });

  it('does not read an own write again when the watch tells it', async () => {
    const read: string[] = [];
    const counting = (raw: KubeObject) => {
      read.push(raw.metadata.resourceVersion);
      return parse(raw);
    };
    const { api, cache, told, start, set } = setUp({ parse: counting });
    await api.create(things, manifest('a', 1));
    const late: (() => void)[] = [];
    const watch = api.watch.bind(api);
    api.watch = async function* (resource, options) {
      for await (const event of watch(resource, options)) {
        await new Promise<void>((resolve) => late.push(resolve));
        yield event;
      }
    };
    await start();
    const before = read.length;
    cache.acknowledge(parse(await set('a', 2)));
    await settle();
    late.shift()?.();
    await settle();
    expect(read).toHaveLength(before);
    await set('a', 3);
    await settle();
    late.shift()?.();
    await settle();
    expect(read).toHaveLength(before + 1);
    expect(told).toEqual(['added a 1', 'updated a 1→2', 'updated a 2→3']);
  });

  it('resolves whenSynced once, and rejects it with the reason of the signal', async () => {
    const { cache, start } = setUp();
    const stop = new AbortController();
    const early = cache.whenSynced(stop.signal);
    const given = cache.whenSynced();
    stop.abort(new Error('enough'));
    await expect(early).rejects.toThrow('enough');
    await start();
    await given;
    await cache.whenSynced();
    expect(cache.hasSynced()).toBe(true);
  });

  it.each(['while it watches', 'while it waits after a failure', 'while it lists'])('stops %s and leaves nothing behind', async (when) => {
    const { api, clock, cache, stop } = setUp();
    let release: () => void = () => undefined;
    if (when !== 'while it watches') {
      api.intercept = () => {
        if (when === 'while it waits after a failure') throw new KubeError('Unreachable', 'no');
        return new Promise<void>((resolve) => (release = resolve));
      };
    }
    const done = cache.run(stop.signal);
    await clock.run(0);
    stop.abort();
    release();
    await done;
    expect([clock.timers, api.watches]).toEqual([0, 0]);
  });
});

describe('a long list', () => {
  const readWith = (over: Partial<CacheOptions<Thing>>) => {
    const steps: string[] = [];
    const stage = setUp({
      ...over,
      parse: (raw) => {
        steps.push(`read ${raw.metadata.name}`);
        return parse(raw);
      },
    });
    stage.api.intercept = ({ verb }) => void steps.push(verb);
    return { ...stage, steps };
  };

  it('is read page by page', async () => {
    const { api, start, steps, sizes } = readWith({ pageSize: 2 });
    for (const name of ['a', 'b', 'c']) await api.create(things, manifest(name, 1));
    steps.length = 0;
    await start();
    expect(steps).toEqual(['list', 'read a', 'read b', 'list', 'read c', 'watch']);
    expect(sizes()).toEqual({ a: 1, b: 1, c: 1 });
  });

  it('that is streamed is read object by object, and told when it is complete', async () => {
    const { api, start, steps, told } = readWith({ streaming: true });
    api.streaming = true;
    for (const name of ['a', 'b']) await api.create(things, manifest(name, 1));
    steps.length = 0;
    await start();
    expect([steps, told]).toEqual([
      ['watch', 'read a', 'read b'],
      ['added a 1', 'added b 1'],
    ]);
  });
});

describe('listAll', () => {
  it('gives all pages as one list', async () => {
    const api = new FakeApi();
    for (const name of ['a', 'b', 'c']) await api.create(things, manifest(name, 1));
    const { items, resourceVersion } = await listAll(api, things, { limit: 2 });
    expect([items.map(({ metadata }) => metadata.name), resourceVersion]).toEqual([['a', 'b', 'c'], '103']);
  });
});
