import { describe, expect, it } from '@jest/globals';
import { FakeClock, settle } from '../process/fake-clock.ts';
import { silentLogger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { KubeError } from './errors.ts';
import { createEventRecorder, cut, events } from './events.ts';
import type { EventRecorderOptions } from './events.ts';
import { FakeApi } from './fake-api.ts';
import type { EventNote, KubeObject } from './types.ts';

const sandbox: KubeObject = {
  apiVersion: 'berth.dev/v1alpha1',
  kind: 'Sandbox',
  metadata: { namespace: 'ns', name: 'a', uid: 'u1', resourceVersion: '5' },
};
const runner: KubeObject = { apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', metadata: { name: 'r', uid: 'u2', resourceVersion: '6' } };
const started: EventNote = { regarding: sandbox, type: 'Normal', reason: 'Started', action: 'Start', note: 'It runs.' };

function setUp(over: Partial<EventRecorderOptions> = {}) {
  const api = new FakeApi();
  const clock = new FakeClock(Date.UTC(2026, 0, 1));
  const metrics = createMetrics({ processMetrics: false });
  let seed = 0;
  const random = () => (seed = (seed + 0.37) % 1);
  const recorder = createEventRecorder({
    transport: api,
    controller: 'berth.dev/operator',
    instance: 'pod-1',
    clock,
    random,
    log: silentLogger,
    metrics,
    ...over,
  });
  const stop = new AbortController();
  const done = recorder.run(stop.signal);
  const written = () => api.objects(events) as unknown as readonly Record<string, unknown>[];
  const writes = () => api.requests.filter(({ verb }) => verb === 'create' || verb === 'patch').length;
  return { api, clock, metrics, recorder, stop, done, written, writes };
}

describe('event recorder', () => {
  it('writes an event as events.k8s.io/v1 wants it', async () => {
    const { clock, recorder, written } = setUp();
    recorder.record({ ...started, related: runner });
    await clock.run(0);
    expect(written()).toEqual([
      {
        apiVersion: 'events.k8s.io/v1',
        kind: 'Event',
        metadata: {
          name: expect.stringMatching(/^a\.[0-9a-f]{16}$/) as unknown,
          namespace: 'ns',
          creationTimestamp: '2026-01-01T00:00:00Z',
          uid: 'uid-1',
          resourceVersion: '101',
        },
        eventTime: '2026-01-01T00:00:00.000000Z',
        reportingController: 'berth.dev/operator',
        reportingInstance: 'pod-1',
        type: 'Normal',
        reason: 'Started',
        action: 'Start',
        note: 'It runs.',
        regarding: { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', name: 'a', namespace: 'ns', uid: 'u1', resourceVersion: '5' },
        related: { apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', name: 'r', uid: 'u2', resourceVersion: '6' },
      },
    ]);
  });

  it('writes an event a while after it was recorded when it is to, with the time at which it was, and at once when it ends', async () => {
    const { clock, recorder, stop, done, written } = setUp({ lingerMs: 250 });
    recorder.record(started);
    await clock.run(249);
    recorder.record(started);
    expect(written()).toEqual([]);
    await clock.run(1);
    expect(written()).toMatchObject([{ eventTime: '2026-01-01T00:00:00.000000Z', series: { count: 2 } }]);
    recorder.record({ ...started, reason: 'Stopped' });
    stop.abort();
    await clock.run(0);
    await done;
    expect(written()).toHaveLength(2);
  });

  it('drops events when too many linger', async () => {
    const { clock, recorder, written } = setUp({ lingerMs: 250, queue: 2 });
    for (const reason of ['One', 'Two', 'Three']) recorder.record({ ...started, reason });
    await clock.run(250);
    expect(written().map(({ reason }) => reason)).toEqual(['One', 'Two']);
  });

  it('writes events of cluster-scoped objects to the namespace default', async () => {
    const { clock, recorder, written } = setUp();
    recorder.record({ ...started, regarding: runner });
    await clock.run(0);
    expect(written()[0]?.metadata).toMatchObject({ namespace: 'default' });
  });

  it('makes equal events one series whose count is written now and then', async () => {
    const { clock, recorder, written, writes } = setUp();
    for (let second = 0; second < 30; second++) {
      recorder.record({ ...started, regarding: { ...sandbox, metadata: { ...sandbox.metadata, resourceVersion: String(second) } } });
      await clock.run(1_000);
    }
    await clock.run(20_000);
    expect(written()).toHaveLength(1);
    expect(written()[0]?.series).toEqual({ count: 30, lastObservedTime: '2026-01-01T00:00:29.000000Z' });
    expect(writes()).toBeLessThanOrEqual(5);
    expect(clock.timers).toBe(0);
  });

  it('counts what happens while the first of a series is being written, and writes no second event', async () => {
    const { api, clock, recorder, written } = setUp({ refreshMs: 1_000 });
    let release: () => void = () => undefined;
    api.intercept = () => new Promise<void>((resolve) => (release = resolve));
    recorder.record(started);
    await clock.run(0);
    recorder.record(started);
    await clock.run(5_000);
    api.intercept = () => undefined;
    release();
    await clock.run(1_000);
    expect(written().map(({ series }) => series)).toEqual([{ count: 2, lastObservedTime: '2026-01-01T00:00:00.000000Z' }]);
  });

  it.each([
    { when: 'the note', other: { note: 'Another.' } },
    { when: 'the reason', other: { reason: 'Stopped' } },
    { when: 'the object', other: { regarding: { ...sandbox, metadata: { ...sandbox.metadata, uid: 'u9' } } } },
    { when: 'the type', other: { type: 'Warning' as const } },
  ])('keeps events apart that differ in $when', async ({ other }) => {
    const { clock, recorder, written } = setUp();
    recorder.record(started);
    recorder.record({ ...started, ...other });
    await clock.run(0);
    expect(written()).toHaveLength(2);
  });

  it('begins a new event when the last one is long ago, or was deleted', async () => {
    const { api, clock, recorder, written } = setUp();
    recorder.record(started);
    await clock.run(400_000);
    recorder.record(started);
    await clock.run(0);
    expect(written()).toHaveLength(2);
    for (const { metadata } of api.objects(events)) await api.delete(events, metadata);
    recorder.record(started);
    await clock.run(20_000);
    expect(written().map(({ series }) => series)).toEqual([{ count: 2, lastObservedTime: '2026-01-01T00:06:40.000000Z' }]);
  });

  it('remembers so many series and no more: what was forgotten begins a new event', async () => {
    const { clock, recorder, written } = setUp({ memory: 2 });
    const tell = (uid: string) => recorder.record({ ...started, regarding: { ...sandbox, metadata: { ...sandbox.metadata, uid } } });
    for (const uid of ['u1', 'u2', 'u3', 'u3', 'u1']) tell(uid);
    await clock.run(20_000);
    expect(
      written().map(({ regarding, series }) => [(regarding as { uid: string }).uid, (series as { count: number } | undefined)?.count]),
    ).toEqual([
      ['u1', undefined],
      ['u2', undefined],
      ['u3', 2],
      ['u1', undefined],
    ]);
  });

  it('drops and counts what one object tells too often, and nothing of others', async () => {
    const { clock, metrics, recorder, written } = setUp({ burst: 3, perObjectMs: 1_000 });
    const note = (n: number, regarding = sandbox) => recorder.record({ ...started, regarding, note: String(n) });
    for (let n = 0; n < 10; n++) note(n);
    note(0, runner);
    await clock.run(1_000);
    note(20);
    note(21);
    await clock.run(0);
    expect(written().map(({ note: text }) => text)).toEqual(['0', '1', '2', '0', '20']);
    expect(await metrics.text()).toContain('kube_events_total{result="dropped"} 8');
  });

  it('drops what does not fit into its queue while the server is away, and writes the rest when it is back', async () => {
    const { api, clock, recorder, written } = setUp({ queue: 3 });
    api.intercept = () => {
      throw new KubeError('Unreachable', 'no');
    };
    for (let n = 0; n < 10; n++) recorder.record({ ...started, note: String(n) });
    await settle();
    api.intercept = () => undefined;
    await clock.run(5_000);
    expect(written()).toHaveLength(3);
  });

  it('gives up an event that the server refuses, and goes on', async () => {
    const { api, clock, metrics, recorder, written } = setUp();
    api.intercept = () => {
      api.intercept = () => undefined;
      throw new KubeError('Forbidden', 'namespace is being terminated');
    };
    recorder.record(started);
    recorder.record({ ...started, note: 'next' });
    await clock.run(0);
    expect(written().map(({ note }) => note)).toEqual(['next']);
    expect(await metrics.text()).toContain('kube_events_total{result="failed"} 1');
  });

  it('writes at shutdown what still waits, but not for ever', async () => {
    const { api, clock, recorder, stop, done, written } = setUp();
    await clock.run(0);
    for (let n = 0; n < 8; n++) recorder.record({ ...started, note: String(n) });
    stop.abort();
    await done;
    expect([written().length, clock.timers]).toEqual([8, 0]);
    api.intercept = () => {
      throw new KubeError('Unreachable', 'no');
    };
    const again = setUp();
    again.api.intercept = api.intercept;
    again.recorder.record(started);
    again.stop.abort();
    await again.clock.run(2_000);
    await again.done;
    expect(again.written()).toEqual([]);
  });

  it('never throws', () => {
    const { recorder } = setUp();
    expect(() => recorder.record({ ...started, regarding: undefined as unknown as KubeObject })).not.toThrow();
  });
});

describe('cut', () => {
  it.each([
    { text: 'short', bytes: 10, want: 'short' },
    { text: 'exactly10b', bytes: 10, want: 'exactly10b' },
    { text: 'more than ten', bytes: 10, want: 'more th…' },
    { text: 'ääääää', bytes: 10, want: 'äää…' },
    { text: 'a😀😀😀', bytes: 10, want: 'a😀…' },
  ])('$text to $bytes bytes is $want', ({ text, bytes, want }) => {
    expect(cut(text, bytes)).toBe(want);
    expect(Buffer.byteLength(cut(text, bytes))).toBeLessThanOrEqual(bytes);
  });
});
