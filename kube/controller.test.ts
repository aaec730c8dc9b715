import { describe, expect, it } from '@jest/globals';
import { FakeClock, settle } from '../process/fake-clock.ts';
import type { LogFields, Logger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { createController } from './controller.ts';
import type { Reconcile } from './controller.ts';
import { KubeError } from './errors.ts';
import { createWorkQueue } from './queue.ts';

function recordingLogger(lines: string[], fields: LogFields = {}): Logger {
  const write = (level: string) => (more: LogFields, message: string) =>
    void lines.push(`${level} ${String({ ...fields, ...more }.key)} ${message}`);
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (more) => recordingLogger(lines, { ...fields, ...more }),
  };
}

function setUp(reconcile: Reconcile, workers = 2) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const metrics = createMetrics({ processMetrics: false });
  const queue = createWorkQueue({ name: 'test', clock, random: () => 0, backoff: { initialMs: 10, maxMs: 1000, jitter: 0 } });
  const controller = createController({ name: 'test', queue, reconcile, workers, clock, log: recordingLogger(lines), metrics });
  const stop = new AbortController();
  const running = controller.run(stop.signal);
  return { clock, lines, metrics, queue, controller, stop, running };
}

describe('controller', () => {
  it.each([
    { when: 'it succeeds', outcome: undefined, again: undefined, result: 'success', logged: [] },
    { when: 'it asks to look again', outcome: { requeueAfterMs: 500 }, again: 500, result: 'requeue_after', logged: [] },
    { when: 'it asks to look again at once', outcome: { requeueAfterMs: 0 }, again: 1, result: 'requeue_after', logged: [] },
    { when: 'it fails', outcome: new Error('no'), again: 10, result: 'error', logged: ['error a Reconcile failed'] },
    {
      when: 'the object changed meanwhile',
      outcome: new KubeError('Conflict', 'changed'),
      again: 10,
      result: 'conflict',
      logged: ['debug a Object changed meanwhile, reconciling again'],
    },
  ])('when $when, comes back after $again ms', async ({ outcome, again, result, logged }) => {
    const { clock, lines, metrics, queue } = setUp(() => (outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome)));
    queue.add('a');
    await settle();
    expect(clock.untilNext()).toBe(again);
    expect(lines).toEqual(logged);
    expect(await metrics.text()).toContain(`controller_runtime_reconcile_total{controller="test",result="${result}"} 1`);
  });

  it('backs off from failure to failure and starts over after a success', async () => {
    const begun: number[] = [];
    const outcomes = [false, false, false, true, false, true];
    const { clock, queue } = setUp(() => {
      begun.push(clock.monotonic());
      return outcomes[begun.length - 1] === true ? Promise.resolve(undefined) : Promise.reject(new Error('no'));
    });
    queue.add('a');
    await clock.run(1000);
    queue.add('a');
    await clock.run(1000);
    expect(begun).toEqual([0, 10, 30, 70, 1000, 1010]);
  });

  it('works on as many keys at once as it has workers, each alone', async () => {
    const finish: (() => void)[] = [];
    const active: string[] = [];
    const { queue } = setUp(async (key) => {
      active.push(key);
      await new Promise<void>((resolve) => finish.push(resolve));
      return undefined;
    });
    for (const key of ['a', 'b', 'c']) queue.add(key);
    await settle();
    queue.add('a');
    await settle();
    expect(active).toEqual(['a', 'b']);
    finish.shift()?.();
    await settle();
    expect(active).toEqual(['a', 'b', 'c']);
    finish.shift()?.();
    await settle();
    expect(active).toEqual(['a', 'b', 'c', 'a']);
  });

  it('stops when the last reconcile is over, and tells it to hurry', async () => {
    const seen: string[] = [];
    const { queue, stop, running } = setUp(async (key, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await settle();
      seen.push(key);
      return undefined;
    });
    queue.add('a');
    queue.add('b');
    queue.add('c');
    await settle();
    stop.abort();
    await running;
    expect(seen).toEqual(['a', 'b']);
  });

  it('says which reconcile is stuck', async () => {
    const { clock, queue, controller } = setUp(() => new Promise(() => undefined));
    queue.add('default/a');
    await clock.run(61_000);
    expect(controller.stuck(60_000)).toBe('test: the reconcile of default/a has not ended for 61 s');
    expect(controller.stuck(62_000)).toBeUndefined();
  });
});
