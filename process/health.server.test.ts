import { afterEach, describe, expect, it } from '@jest/globals';
import { startHealthServer } from './health.server.ts';
import type { HealthServer } from './health.server.ts';
import { createMetrics } from './metrics.ts';

const reasons: { alive?: string; ready?: string } = {};
const started: HealthServer[] = [];
afterEach(async () => {
  delete reasons.alive;
  delete reasons.ready;
  await Promise.all(started.splice(0).map((server) => server.close()));
});

async function start() {
  const metrics = createMetrics({ processMetrics: false });
  metrics.counter({ name: 'test_things_total', help: 'Things.', labels: ['kind'] }).inc({ kind: 'a' }, 2);
  const server = await startHealthServer({
    host: '127.0.0.1',
    port: 0,
    alive: { loop: () => reasons.alive },
    ready: { cache: () => reasons.ready },
    metrics,
  });
  started.push(server);
  return async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
    return { status: response.status, body: await response.text() };
  };
}

describe('health', () => {
  it.each([
    { when: 'all is well', given: {}, path: '/readyz', want: { status: 200, body: '[+]loop ok\n[+]cache ok\nok\n' } },
    {
      when: 'it is not ready',
      given: { ready: 'sandboxes are not listed yet' },
      path: '/healthz',
      want: { status: 200, body: '[+]loop ok\nok\n' },
    },
    {
      when: 'it is not ready',
      given: { ready: 'sandboxes are not listed yet' },
      path: '/readyz?verbose',
      want: { status: 503, body: '[+]loop ok\n[-]cache failed: sandboxes are not listed yet\nfailed\n' },
    },
    {
      when: 'it is stuck',
      given: { alive: 'no turn for 60 s' },
      path: '/healthz',
      want: { status: 503, body: '[-]loop failed: no turn for 60 s\nfailed\n' },
    },
    {
      when: 'it is asked for something else',
      given: {},
      path: '/debug',
      want: { status: 404, body: 'There are /healthz, /readyz and /metrics.\n' },
    },
  ])('when $when, $path answers $want.status', async ({ given, path, want }) => {
    const get = await start();
    Object.assign(reasons, given);
    expect(await get(path)).toEqual(want);
  });

  it('serves the metrics', async () => {
    const get = await start();
    expect((await get('/metrics')).body).toContain('test_things_total{kind="a"} 2');
  });

  it('refuses other methods', async () => {
    const get = await start();
    expect((await get('/healthz', 'POST')).status).toBe(405);
  });

  it('says which address is taken', async () => {
    await start();
    const port = started[0]?.port ?? 0;
    const again = startHealthServer({ host: '127.0.0.1', port, alive: {}, ready: {}, metrics: createMetrics({ processMetrics: false }) });
    await expect(again).rejects.toMatchObject({ code: 'ListenFailed', message: expect.stringContaining(`127.0.0.1:${port}`) as unknown });
  });
});

describe('metrics', () => {
  it('gives the same metric for the same name, and forgets a removed series', async () => {
    const metrics = createMetrics({ processMetrics: false });
    const gauge = { name: 'test_level', help: 'Level.', labels: ['of'] };
    metrics.gauge(gauge).set(1, { of: 'a' });
    metrics.gauge(gauge).set(2, { of: 'b' });
    metrics.gauge(gauge).remove({ of: 'a' });
    metrics.histogram({ name: 'test_seconds', help: 'Time.', buckets: [1] }).observe(0.5);
    const text = await metrics.text();
    expect(text).toContain('test_level{of="b"} 2');
    expect(text).not.toContain('of="a"');
    expect(text).toContain('test_seconds_bucket{le="1"} 1');
  });
});
