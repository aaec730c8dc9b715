import { describe, expect, it } from '@jest/globals';
import { createCache } from '../../../kube/cache.ts';
import { API_GROUP_VERSION } from '../../../crds/index.ts';
import type { KubeObject } from '../../../kube/types.ts';
import { silentLogger } from '../../../process/log.ts';
import { Process } from '../engine/process.ts';
import { Random } from '../engine/random.ts';
import { Scheduler } from '../engine/scheduler.ts';
import { ApiServer } from './api-client.ts';
import { ApiStore } from './api-store.ts';
import { installSchemas, sandboxes } from './objects.ts';

function world(seed: string) {
  const scheduler = new Scheduler();
  let uids = 0;
  const store = new ApiStore(
    () => '2026-01-01T00:00:00Z',
    () => `uid-${++uids}`,
  );
  installSchemas(store);
  const api = new ApiServer(store, scheduler);
  const random = new Random(seed);
  const process = new Process('p', scheduler, random.fork('p'));
  const stop = new AbortController();
  const cache = createCache<KubeObject>({
    transport: api.clientFor(process),
    resource: sandboxes,
    parse: (raw) => raw,
    clock: process,
    random: () => process.random.next(),
    log: silentLogger,
  });
  void cache.run(stop.signal);
  return { scheduler, store, api, random, cache, process };
}

const versionsOf = (objects: readonly KubeObject[]) => objects.map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`).sort();

describe('the real watch cache over the modelled API server', () => {
  it.each(['1', '2', '3', '4', '5'])(
    'has what the server has after outages, broken watches, lag and compactions (seed %s)',
    async (seed) => {
      const { scheduler, store, api, random, cache } = world(seed);
      const write = () => {
        const ref = { namespace: 'team-a', name: `s${random.between(0, 5)}` };
        if (store.find(sandboxes, ref) === undefined) {
          store.create(
            sandboxes,
            { apiVersion: API_GROUP_VERSION, kind: 'Sandbox', metadata: ref, spec: { image: 'i:1' } } as never,
            'user',
          );
        } else if (random.chance(0.2)) store.delete(sandboxes, ref, {}, 'user');
        else store.patch(sandboxes, ref, { type: 'merge', body: { status: { order: random.between(1, 1000) } } }, 'status', 'user');
      };
      for (let n = 0; n < 200; n++) scheduler.after(random.between(0, 600_000), write);
      for (let n = 0; n < 10; n++) scheduler.after(random.between(0, 600_000), () => api.breakWatches());
      for (let n = 0; n < 5; n++) scheduler.after(random.between(0, 600_000), () => api.compact());
      scheduler.after(100_000, () => Object.assign(api.weather, { isDown: true }));
      scheduler.after(100_000, () => api.breakWatches());
      scheduler.after(160_000, () => Object.assign(api.weather, { isDown: false, refused: 0.2, lostAnswer: 0.2, watchDelay: 5000 }));
      await scheduler.run(600_000);
      Object.assign(api.weather, { refused: 0, lostAnswer: 0, watchDelay: 20 });
      await scheduler.run(760_000);
      expect(cache.hasSynced()).toBe(true);
      expect(store.list(sandboxes).length).toBeGreaterThan(0);
      expect(versionsOf(cache.list())).toEqual(versionsOf(store.list(sandboxes)));
    },
  );

  it('carries out a late write after its sender was told that it timed out', async () => {
    const { scheduler, store, api, process } = world('late');
    Object.assign(api.weather, { lateWrite: 1 });
    const outcomes: string[] = [];
    api
      .clientFor(process)
      .create(sandboxes, {
        apiVersion: API_GROUP_VERSION,
        kind: 'Sandbox',
        metadata: { namespace: 'team-a', name: 'late' },
        spec: { image: 'i:1' },
      } as never)
      .catch((error: unknown) => outcomes.push(`${(error as { code: string }).code} ${store.list(sandboxes).length}`));
    await scheduler.run(200_000);
    expect(outcomes).toEqual(['Timeout 0']);
    expect(store.list(sandboxes)).toHaveLength(1);
  });
});
