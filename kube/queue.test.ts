import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock, settle } from '../process/fake-clock.ts';
import { createMetrics } from '../process/metrics.ts';
import { createWorkQueue } from './queue.ts';

function setUp() {
  const clock = new FakeClock();
  const metrics = createMetrics({ processMetrics: false });
  const queue = createWorkQueue({ name: 'test', clock, random: () => 0, metrics, backoff: { initialMs: 10, maxMs: 1000, jitter: 0 } });
  /** Takes what waits, without `done`. */
  const take = async () => {
    const taken: string[] = [];
    while (queue.depth > 0) taken.push((await queue.next()) ?? '');
    return taken;
  };
  return { clock, queue, metrics, take };
}

describe('work queue', () => {
  it('gives a key that was added many times once, and keys in the order of adding', async () => {
    const { queue, take } = setUp();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    expect(await take()).toEqual(['a', 'b', 'c']);
  });

  it('gives a key that was added while it is worked on again, but only when it is done', async () => {
    const { queue, take } = setUp();
    queue.add('a');
    await queue.next();
    queue.add('a');
    queue.add('a');
    expect(await take()).toEqual([]);
    queue.done('a');
    expect(await take()).toEqual(['a']);
    queue.done('a');
    expect(await take()).toEqual([]);
  });

  it('hands a key to a worker that waits', async () => {
    const { queue } = setUp();
    const waiting = queue.next();
    queue.add('a');
    expect(await waiting).toBe('a');
  });

  it.each([
    { when: 'the later comes second', delays: [10, 30], at: 10 },
    { when: 'the earlier comes second', delays: [30, 10], at: 10 },
    { when: 'one is not in the future', delays: [30, 0], at: 0 },
    { when: 'one is negative', delays: [-5], at: 0 },
  ])('of several delays the earliest counts: $when', async ({ delays, at }) => {
    const { clock, queue, take } = setUp();
    for (const ms of delays) queue.addAfter('a', ms);
    if (at > 0) {
      clock.advance(at - 1);
      expect(await take()).toEqual([]);
      clock.advance(1);
    }
    expect(await take()).toEqual(['a']);
  });

  it('backs off further with every failure of a key until it is forgotten, each key by itself', async () => {
    const { clock, queue, take } = setUp();
    const delayOf = async (key: string) => {
      queue.addRateLimited(key);
      const ms = clock.untilNext() ?? -1;
      clock.advance(ms);
      for (const taken of await take()) queue.done(taken);
      return ms;
    };
    expect([await delayOf('a'), await delayOf('a'), await delayOf('a'), await delayOf('b')]).toEqual([10, 20, 40, 10]);
    expect(queue.retries('a')).toBe(3);
    queue.forget('a');
    expect([queue.retries('a'), await delayOf('a')]).toEqual([0, 10]);
  });

  it('shuts down when the keys that are worked on are done, and gives and takes nothing more', async () => {
    const { clock, queue } = setUp();
    queue.add('working');
    expect(await queue.next()).toBe('working');
    const idle = queue.next();
    queue.addAfter('delayed', 5);
    const seen: string[] = [];
    const shutdown = queue.shutdown().then(() => seen.push('drained'));
    queue.add('late');
    queue.addAfter('late', 1);
    queue.addRateLimited('late');
    await settle();
    expect([await idle, await queue.next(), queue.depth, clock.timers, seen]).toEqual([undefined, undefined, 0, 0, []]);
    queue.done('working');
    await shutdown;
    expect(seen).toEqual(['drained']);
  });

  it('ignores done of a key that is not worked on', async () => {
    const { queue, take } = setUp();
    queue.add('a');
    queue.done('a');
    expect(await take()).toEqual(['a']);
  });

  it('counts adds, depth, waiting and working time, and retries', async () => {
    const { clock, queue, metrics } = setUp();
    queue.add('a');
    queue.add('b');
    clock.advance(2000);
    await queue.next();
    clock.advance(3000);
    queue.done('a');
    queue.addRateLimited('a');
    const text = await metrics.text();
    expect(text).toContain('workqueue_depth{name="test"} 1');
    expect(text).toContain('workqueue_adds_total{name="test"} 2');
    expect(text).toContain('workqueue_retries_total{name="test"} 1');
    expect(text).toContain('workqueue_queue_duration_seconds_sum{name="test"} 2');
    expect(text).toContain('workqueue_work_duration_seconds_sum{name="test"} 3');
  });

  it('never gives a key to two workers, and loses none, in any order of events', async () => {
    const keys = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ do: fc.constant('add' as const), key: keys, ms: fc.constant(0) }),
      fc.record({ do: fc.constant('addAfter' as const), key: keys, ms: fc.integer({ min: 0, max: 20 }) }),
      fc.record({ do: fc.constant('addRateLimited' as const), key: keys, ms: fc.constant(0) }),
      fc.record({ do: fc.constant('next' as const), key: keys, ms: fc.constant(0) }),
      fc.record({ do: fc.constant('done' as const), key: keys, ms: fc.constant(0) }),
      fc.record({ do: fc.constant('advance' as const), key: keys, ms: fc.integer({ min: 0, max: 20 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { clock, queue } = setUp();
        const working = new Set<string>();
        /** Keys that were asked for since a worker last began them. */
        const owed = new Set<string>();
        const begin = async () => {
          const key = (await queue.next()) ?? '';
          expect(working.has(key)).toBe(false);
          working.add(key);
          owed.delete(key);
        };
        for (const { do: what, key, ms } of steps) {
          if (what === 'next' && queue.depth > 0) await begin();
          else if (what === 'done' && working.delete(key)) queue.done(key);
          else if (what === 'advance') clock.advance(ms);
          else if (what === 'add' || what === 'addAfter' || what === 'addRateLimited') {
            owed.add(key);
            queue[what](key, ms);
          }
        }
        for (let round = 0; round < 10; round++) {
          clock.advance(1_000);
          while (queue.depth > 0) await begin();
          for (const key of working) queue.done(key);
          working.clear();
        }
        expect([...owed]).toEqual([]);
        expect([queue.depth, clock.timers]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});
