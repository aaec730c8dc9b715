import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import type { TaskSlots } from '../hub/facts.ts';
import { ModelledAgent, ModelledLink } from '../tasks/a-modelled-agent.ts';
import { Reservations, type ReserveRequest } from './controller.ts';

/** A value that is there. */
function some<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none');
  return value;
}

/** One pod that hears at once of every change. */
function setUp(slots: Readonly<Record<string, number>>, mostWaiting?: number) {
  const clock = new FakeClock();
  const agents = Object.entries(slots).map(([name, count]) => new ModelledAgent(name, count));
  const link = new ModelledLink(agents);
  const openRunners = () =>
    agents.filter(({ runnerName }) => !link.cut.has(runnerName)).map((agent) => ({ runnerName: agent.runnerName, slots: agent.state }));
  const pod = new Reservations({ agents: link, openRunners, clock, log: silentLogger, ...(mostWaiting !== undefined && { mostWaiting }) });
  for (const agent of agents) agent.onChange(() => queueMicrotask(() => link.tell(agent.runnerName)));
  const named = (name: string) => some(agents.find(({ runnerName }) => runnerName === name));
  return { clock, link, pod, named, agents };
}
const signal = new AbortController().signal;
const request = (more: Partial<ReserveRequest> = {}): ReserveRequest => ({ caller: 'ann', ttlMs: 1000, waitMs: 10_000, signal, ...more });
const turns = async () => {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
};
/** What a promise came to so far. */
function outcome<T>(promise: Promise<T>): { value?: T; code?: unknown } {
  const seen: { value?: T; code?: unknown } = {};
  promise.then(
    (value) => (seen.value = value),
    (error: unknown) => (seen.code = (error as { code?: unknown }).code ?? error),
  );
  return seen;
}

describe('reserving a slot', () => {
  it('takes one where the least is taken', async () => {
    const { pod } = setUp({ r1: 2, r2: 4 });
    const places = [];
    for (let count = 0; count < 6; count++) places.push((await pod.reserve(request())).runnerName);
    expect(places.toSorted()).toEqual(['r1', 'r1', 'r2', 'r2', 'r2', 'r2']);
    expect(places[0]).toBe('r2');
  });
  it('takes one on the only runner that will do', async () => {
    const { pod } = setUp({ r1: 4, r2: 1 });
    expect((await pod.reserve(request({ only: 'r2' }))).runnerName).toBe('r2');
  });
  it.each([
    { when: 'no slot is free and it may not wait', slots: { r1: 0, r2: 1 }, more: { waitMs: 0 }, taken: 1, code: 'NoSlot' },
    { when: 'there is no runner', slots: {}, more: { waitMs: 0 }, taken: 0, code: 'NoRunner' },
    { when: 'the runner is not there', slots: { r1: 1 }, more: { waitMs: 0, only: 'r9' }, taken: 0, code: 'RunnerUnreachable' },
  ])('is refused with $code when $when', async ({ slots, more, taken, code }) => {
    const { pod } = setUp(slots);
    for (let count = 0; count < taken; count++) await pod.reserve(request());
    await expect(pod.reserve(request(more))).rejects.toMatchObject({ code });
  });

  it('waits, and is given the first slot that becomes free; its other tickets are withdrawn', async () => {
    const { pod, named, agents } = setUp({ r1: 1, r2: 1, r3: 1, r4: 1 });
    const held = await Promise.all([1, 2, 3, 4].map(() => pod.reserve(request())));
    const waiter = outcome(pod.reserve(request()));
    await turns();
    expect(agents.reduce((sum, agent) => sum + agent.waiting.length, 0)).toBe(3);
    const idle = some(agents.find(({ waiting }) => waiting.length === 0));
    // One where it has no ticket: an idle runner never waits beside a queue.
    pod.release(some(held.find(({ runnerName }) => runnerName === idle.runnerName)));
    await turns();
    expect(waiter.value?.runnerName).toBe(idle.runnerName);
    expect(agents.map(({ waiting, offers }) => waiting.length + offers.size)).toEqual([0, 0, 0, 0]);
    expect(named(idle.runnerName).state.reserved).toBe(1);
    expect(pod.waiting).toBe(0);
  });
  it('admits those of one caller in order, and shares between callers', async () => {
    const { pod, named, clock } = setUp({ r1: 1 });
    let held = await pod.reserve(request());
    const order: string[] = [];
    for (const caller of ['ann', 'ann', 'ann', 'bob', 'cid']) {
      void pod.reserve(request({ caller })).then((reserved) => {
        order.push(caller);
        held = reserved;
      });
      clock.advance(1);
      await turns();
    }
    for (let count = 0; count < 5; count++) {
      pod.release(held);
      await turns();
    }
    expect(order.slice(0, 3).toSorted()).toEqual(['ann', 'bob', 'cid']);
    expect(named('r1').served.slice(1)).toEqual(order);
  });
  it('is refused with 429 beyond the bound, and 503 beyond the wait', async () => {
    const { pod, clock, agents } = setUp({ r1: 1 }, 2);
    await pod.reserve(request());
    const waiters = [outcome(pod.reserve(request())), outcome(pod.reserve(request()))];
    await turns();
    await expect(pod.reserve(request())).rejects.toMatchObject({ code: 'TooManyWaiting', status: 429, retryAfter: 2 });
    clock.advance(10_000);
    await turns();
    expect(waiters).toEqual([{ code: 'NoSlot' }, { code: 'NoSlot' }]);
    expect(agents[0]?.waiting).toEqual([]);
  });
  it('holds nothing for a caller that has gone away', async () => {
    const { pod, agents } = setUp({ r1: 1 });
    const held = await pod.reserve(request());
    const gone = new AbortController();
    const waiter = outcome(pod.reserve(request({ signal: gone.signal })));
    await turns();
    gone.abort(new Error('gone'));
    pod.release(held);
    await turns();
    expect(waiter.code).toEqual(new Error('gone'));
    expect(agents[0]?.state).toMatchObject({ reserved: 0, queued: 0 });
  });
  it('is given a slot of a runner that may be given work again, which tells nothing of it by itself', async () => {
    const { pod, link, clock } = setUp({ r1: 1, r2: 1 });
    link.cut.add('r2');
    await pod.reserve(request());
    const waiter = outcome(pod.reserve(request()));
    await turns();
    link.cut.delete('r2');
    clock.advance(1_000);
    await turns();
    expect(waiter.value?.runnerName).toBe('r2');
    clock.advance(1_000);
    expect(clock.timers).toBe(0);
  });
  it('waits elsewhere when the runner it waits at is lost, and for one that comes', async () => {
    const { pod, link, agents } = setUp({ r1: 1, r2: 1 });
    const held = await Promise.all([pod.reserve(request()), pod.reserve(request())]);
    const waiter = outcome(pod.reserve(request()));
    await turns();
    link.lose('r1');
    pod.release(some(held.find(({ runnerName }) => runnerName === 'r2')));
    await turns();
    expect(waiter.value?.runnerName).toBe('r2');
    expect(agents[1]?.state.reserved).toBe(1);
  });
});

/** Runs of many pods whose news of the runners come late. */
async function spread(pods: number, lag: readonly number[]): Promise<number> {
  const agents = Array.from({ length: 50 }, (_, index) => new ModelledAgent(`r${index}`, 40));
  let made = 0;
  const late = () => lag[made % lag.length] ?? 0;
  const all = Array.from({ length: pods }, () => {
    const link = new ModelledLink(agents);
    const known = new Map<string, TaskSlots>(agents.map((agent) => [agent.runnerName, agent.state]));
    const news: { readonly due: number; readonly name: string; readonly slots: TaskSlots }[] = [];
    for (const agent of agents) agent.onChange(() => news.push({ due: made + late(), name: agent.runnerName, slots: agent.state }));
    const hear = () => {
      while (news[0] !== undefined && news[0].due <= made) {
        const [{ name, slots }] = news.splice(0, 1) as [(typeof news)[0]];
        known.set(name, slots);
      }
    };
    const openRunners = () => [...known].map(([runnerName, slots]) => ({ runnerName, slots }));
    return { pod: new Reservations({ agents: link, openRunners, clock: new FakeClock(), log: silentLogger }), hear };
  });
  for (let round = 0; round < 125; round++) {
    await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const one = all[(round * 8 + index) % pods];
        one?.hear();
        await one?.pod.reserve(request());
        made++;
      }),
    );
  }
  const counts = agents.map(({ reservations }) => reservations.size);
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return Math.sqrt(counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / counts.length) / mean;
}

describe('1,000 reservations over 50 equal runners', () => {
  it.each([1, 3, 5])('are spread evenly by %p pods, however late they hear', async (pods) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 20 }), async (lag) => {
        expect(await spread(pods, lag)).toBeLessThanOrEqual(0.05);
      }),
      { numRuns: 2 },
    );
  });
});
