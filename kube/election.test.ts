import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Clock } from '../process/clock.ts';
import { FakeClock, settle } from '../process/fake-clock.ts';
import { silentLogger } from '../process/log.ts';
import { createCache } from './cache.ts';
import { decideElection } from './decide-election.ts';
import { createElector } from './election.ts';
import { KubeError } from './errors.ts';
import { FakeApi } from './fake-api.ts';
import type { FakeRequest } from './fake-api.ts';
import { leases, newLease, parseLease } from './lease.ts';
import type { Lease } from './lease.ts';
import type { KubeTransport } from './types.ts';

const lease: Lease = {
  ...newLease({ namespace: 'ns', name: 'l', holder: 'other', durationMs: 15_000, nowMs: 0 }),
  metadata: { name: 'l', uid: 'u', resourceVersion: '1' },
};
const seen = { lease, resourceVersion: '1', holder: 'other', durationMs: 15_000, at: 1_000 };

describe('what to do about the lease', () => {
  it.each([
    { when: 'there is none', observed: undefined, now: 0, want: { kind: 'create' } },
    { when: 'we hold it', observed: { ...seen, holder: 'me' }, now: 99_000, want: { kind: 'renew', lease } },
    { when: 'it was released', observed: { ...seen, holder: '' }, now: 1_000, want: { kind: 'take', lease } },
    { when: 'another renewed it as seen just now', observed: seen, now: 1_000, want: { kind: 'wait', ms: 15_000 } },
    { when: 'another has not renewed it for almost its duration', observed: seen, now: 15_999, want: { kind: 'wait', ms: 1 } },
    { when: 'another has not renewed it for its duration', observed: seen, now: 16_000, want: { kind: 'take', lease } },
    {
      when: 'its holder promised more time than we would',
      observed: { ...seen, durationMs: 60_000 },
      now: 16_000,
      want: { kind: 'wait', ms: 45_000 },
    },
    { when: 'its holder says nothing of time', observed: { ...seen, durationMs: undefined }, now: 16_000, want: { kind: 'take', lease } },
  ])('when $when: $want.kind', ({ observed, now, want }) => {
    expect(decideElection({ observed, identity: 'me', now, leaseDurationMs: 15_000 })).toEqual(want);
  });
});

/** `watches`: it has a cache of the leases, as an operator has. */
function candidate(identity: string, transport: KubeTransport, clock: Clock, { watches = false } = {}) {
  const log: string[] = [];
  const shared = { transport, clock, random: () => 0, log: silentLogger };
  const cache = watches ? createCache({ ...shared, resource: leases, parse: parseLease, namespace: 'ns' }) : undefined;
  const elector = createElector({
    transport,
    ...(cache === undefined ? {} : { leases: cache }),
    namespace: 'ns',
    name: 'l',
    identity,
    clock,
    random: () => 0,
    log: silentLogger,
    onStartedLeading: (signal) => {
      log.push(`started@${clock.monotonic()}`);
      signal.addEventListener('abort', () => log.push(`aborted@${clock.monotonic()}`));
    },
    onStoppedLeading: () => void log.push(`stopped@${clock.monotonic()}`),
  });
  const stop = new AbortController();
  const run = async () => {
    const watching = cache?.run(stop.signal);
    await elector.run(stop.signal);
    await watching;
  };
  return { identity, elector, log, stop, run };
}

function specOf(api: FakeApi) {
  const [object] = api.objects(leases);
  return object === undefined ? undefined : parseLease(object).spec;
}

describe('elector', () => {
  it('creates the lease, leads, and renews it', async () => {
    const api = new FakeApi();
    const clock = new FakeClock(Date.UTC(2026, 0, 1));
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(5_000);
    expect([a.elector.isLeader(), a.elector.holder, a.log]).toEqual([true, 'a', ['started@0']]);
    expect(specOf(api)).toEqual({
      holderIdentity: 'a',
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:04.000000Z',
      leaseTransitions: 0,
    });
    await clock.run(60_000);
    expect(a.log).toEqual(['started@0']);
  });

  it('takes over from a leader that died when its time is over as seen from here, and no earlier', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const b = candidate('b', api, clock);
    await api.create(leases, newLease({ namespace: 'ns', name: 'l', holder: 'dead', durationMs: 15_000, nowMs: 0 }));
    void b.run();
    await clock.run(14_999);
    expect([b.elector.isLeader(), b.elector.holder]).toEqual([false, 'dead']);
    await clock.run(1);
    expect([b.elector.isLeader(), b.elector.holder, specOf(api)?.leaseTransitions]).toEqual([true, 'b', 1]);
  });

  it('counts from the last renewal, when a cache tells it of each, and not from when it looked', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const [a, looks, watches] = [candidate('a', api, clock), candidate('b', api, clock), candidate('c', api, clock, { watches: true })];
    void a.run();
    await clock.run(1_500);
    void looks.run();
    void watches.run();
    await clock.run(3_000);
    // The renewal after 4 s was the last.
    api.intercept = ({ verb }) => (verb === 'update' ? new Promise(() => undefined) : undefined);
    await clock.run(14_000);
    api.intercept = () => undefined;
    await clock.run(1_500);
    expect([looks.log, watches.log]).toEqual([[], ['started@19000']]);
  });

  it('takes a lease that is given away at once, when a cache tells it', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const [a, b] = [candidate('a', api, clock), candidate('b', api, clock, { watches: true })];
    const done = a.run();
    await clock.run(100);
    void b.run();
    await clock.run(5_000);
    a.stop.abort();
    await done;
    await settle();
    expect(b.log).toEqual(['started@5100']);
  });

  it('is not told by a cache that lags behind what it saw', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const b = candidate('b', api, clock, { watches: true });
    await api.create(leases, newLease({ namespace: 'ns', name: 'l', holder: 'dead', durationMs: 15_000, nowMs: 0 }));
    void b.run();
    await clock.run(14_000);
    api.silenceWatches();
    await clock.run(1_000);
    expect(b.log).toEqual(['started@15000']);
  });

  it.each([-3_600_000, 3_600_000])('does not care when its wall clock jumps by %d ms', async (jump) => {
    const api = new FakeApi();
    const [clockA, clockB] = [new FakeClock(), new FakeClock(Date.UTC(2020, 0, 1))];
    const [a, b] = [candidate('a', api, clockA), candidate('b', api, clockB)];
    const both = async (ms: number) => {
      for (let at = 0; at < ms; at += 500) {
        await clockA.run(500);
        await clockB.run(500);
      }
    };
    void a.run();
    await both(500);
    void b.run();
    await both(10_000);
    clockA.jump(jump);
    clockB.jump(-jump);
    await both(60_000);
    expect([a.log, b.log, a.elector.isLeader(), b.elector.isLeader()]).toEqual([['started@0'], [], true, false]);
  });

  it('stops leading at the deadline, counted from before the last renewal was asked for, while the server does not answer', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(3_000);
    api.intercept = () => new Promise(() => undefined);
    await clock.run(8_999);
    expect(a.elector.isLeader()).toBe(true);
    await clock.run(1);
    expect([a.elector.isLeader(), a.log]).toEqual([false, ['started@0', 'aborted@12000', 'stopped@12000']]);
  });

  it('counts its term from before the renewal was asked for, however late the answer', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(1_000);
    const update = api.update.bind(api);
    api.update = async (...parameters) => {
      const answer = await update(...parameters);
      api.intercept = () => new Promise(() => undefined);
      await new Promise<void>((resolve) => clock.after(5_000, resolve));
      return answer;
    };
    await clock.run(6_500);
    expect(a.elector.isLeader()).toBe(true);
    await clock.run(10_000);
    expect(a.log).toEqual(['started@0', 'aborted@12000', 'stopped@12000']);
  });

  it('knows after a freeze that it leads no longer, before any timer fires', async () => {
    const api = new FakeApi();
    const inner = new FakeClock();
    const freeze = { ms: 0 };
    const clock: Clock = {
      monotonic: () => inner.monotonic() + freeze.ms,
      now: () => inner.now(),
      after: (ms, fire) => inner.after(ms, fire),
    };
    const a = candidate('a', api, clock);
    void a.run();
    await inner.run(1_000);
    freeze.ms = 20_000;
    expect(a.elector.isLeader()).toBe(false);
  });

  it('leads again when it gets through again and nobody else took over', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(1_000);
    api.intercept = () => {
      throw new KubeError('Unreachable', 'no');
    };
    await clock.run(11_000);
    expect(a.elector.isLeader()).toBe(false);
    api.intercept = () => undefined;
    await clock.run(2_500);
    expect(a.log).toEqual(['started@0', 'aborted@10000', 'stopped@10000', 'started@14000']);
  });

  it('stops at once when another has taken the lease', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(1_000);
    await api.patch(leases, { namespace: 'ns', name: 'l' }, { type: 'merge', body: { spec: { holderIdentity: 'thief' } } });
    await clock.run(1_000);
    expect([a.elector.isLeader(), a.elector.holder, a.log]).toEqual([false, 'thief', ['started@0', 'aborted@2000', 'stopped@2000']]);
  });

  it('finds out that a renewal without an answer had succeeded', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const a = candidate('a', api, clock);
    void a.run();
    await clock.run(1_000);
    const update = api.update.bind(api);
    api.update = async (...parameters) => {
      api.update = update;
      await update(...parameters);
      throw new KubeError('Timeout', 'no answer');
    };
    await clock.run(20_000);
    expect(a.log).toEqual(['started@0']);
  });

  it('gives the lease away at shutdown after its work has ended, so that another leads at its next look', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    const [a, b] = [candidate('a', api, clock), candidate('b', api, clock)];
    const done = a.run();
    await clock.run(100);
    void b.run();
    await clock.run(5_000);
    a.stop.abort();
    await settle();
    await done;
    expect(a.log).toEqual(['started@0', 'aborted@5100', 'stopped@5100']);
    expect(specOf(api)).toMatchObject({ holderIdentity: '', leaseDurationSeconds: 1 });
    await clock.run(2_000);
    expect(b.elector.isLeader()).toBe(true);
  });

  it('keeps the lease at shutdown until its work has ended', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    let end: () => void = () => undefined;
    const stop = new AbortController();
    const elector = createElector({
      transport: api,
      namespace: 'ns',
      name: 'l',
      identity: 'a',
      clock,
      random: () => 0,
      log: silentLogger,
      onStartedLeading: () => undefined,
      onStoppedLeading: () => new Promise<void>((resolve) => (end = resolve)),
    });
    const done = elector.run(stop.signal);
    await clock.run(100);
    stop.abort();
    await clock.run(1_000);
    expect([elector.isLeader(), specOf(api)?.holderIdentity]).toEqual([false, 'a']);
    end();
    await done;
    expect(specOf(api)?.holderIdentity).toBe('');
  });

  it('leaves the lease of another alone at shutdown', async () => {
    const api = new FakeApi();
    const clock = new FakeClock();
    await api.create(leases, newLease({ namespace: 'ns', name: 'l', holder: 'other', durationMs: 15_000, nowMs: 0 }));
    const a = candidate('a', api, clock);
    const done = a.run();
    await clock.run(1_000);
    a.stop.abort();
    await done;
    expect([specOf(api)?.holderIdentity, clock.timers]).toEqual(['other', 0]);
  });

  it.each([
    { leaseDurationMs: 10_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000 },
    { leaseDurationMs: 15_000, renewDeadlineMs: 2_000, retryPeriodMs: 2_000 },
    { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 0 },
  ])('refuses times that would let two lead: $leaseDurationMs, $renewDeadlineMs, $retryPeriodMs', (times) => {
    const create = () =>
      createElector({
        ...times,
        transport: new FakeApi(),
        namespace: 'ns',
        name: 'l',
        identity: 'a',
        clock: new FakeClock(),
        random: () => 0,
        log: silentLogger,
        onStartedLeading: () => undefined,
        onStoppedLeading: () => undefined,
      });
    expect(create).toThrow('retry period < renew deadline < lease duration');
  });

  /**
   * Two processes with clocks that run a tenth too fast and too slow, wall clocks that jump, requests and answers that are late or lost,
   * and processes that freeze: whoever asks `isLeader()` at the same moment, at most one is told true.
   */
  it('never lets two lead at once, and always lets one lead again', async () => {
    const event = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 50, max: 4_000 }), who: fc.nat(1) }) },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant('freeze' as const), ms: fc.integer({ min: 1_000, max: 40_000 }), who: fc.nat(1) }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('jump' as const), ms: fc.integer({ min: -1e7, max: 1e7 }), who: fc.nat(1) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('slow' as const), ms: fc.integer({ min: 0, max: 9_000 }), who: fc.nat(1) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), ms: fc.constant(0), who: fc.nat(1) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('heal' as const), ms: fc.constant(0), who: fc.nat(1) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), fc.boolean(), async (script, watches) => {
        const api = new FakeApi();
        const time = new FakeClock();
        const network = [
          { delay: 0, lost: false },
          { delay: 0, lost: false },
        ];
        const processes = [1.1, 0.9].map((rate, who) => {
          const clock = new FakeClock(who * 1e9);
          /** The process sees real time at its rate; while frozen neither timers nor code run, but its clock goes on. */
          const frozen = { until: 0 };
          const seenClock: Clock = {
            monotonic: () => time.monotonic() * rate,
            now: () => clock.now(),
            after: (ms, fire) => clock.after(ms, fire),
          };
          const late = async <T>(request: () => Promise<T>): Promise<T> => {
            const wait = async (part: number) => {
              const delay = (network[who]?.delay ?? 0) * part;
              if (delay > 0) await new Promise<void>((resolve) => time.after(delay, resolve));
            };
            const { lost } = network[who] ?? { lost: false };
            await wait(0.5);
            const answer = await request();
            await wait(0.5);
            while (frozen.until > time.monotonic())
              await new Promise<void>((resolve) => time.after(frozen.until - time.monotonic(), resolve));
            if (lost) throw new KubeError('Unreachable', 'lost');
            return answer;
          };
          const transport = {
            get: (...parameters: Parameters<FakeApi['get']>) => late(() => api.get(parameters[0], parameters[1])),
            create: (...parameters: Parameters<FakeApi['create']>) => late(() => api.create(parameters[0], parameters[1])),
            update: (...parameters: Parameters<FakeApi['update']>) => late(() => api.update(parameters[0], parameters[1])),
            list: (...parameters: Parameters<FakeApi['list']>) => api.list(...parameters),
            watch: (...parameters: Parameters<FakeApi['watch']>) => api.watch(...parameters),
          } as unknown as KubeTransport;
          return { clock, rate, frozen, ...candidate(`p${who}`, transport, seenClock, { watches }) };
        });
        const pass = async (ms: number) => {
          for (let left = ms; left > 0; left -= 100) {
            await time.run(Math.min(100, left));
            for (const one of processes) {
              if (one.frozen.until > time.monotonic()) continue;
              await one.clock.run(Math.max(0, time.monotonic() * one.rate - one.clock.monotonic()));
            }
            expect(processes.filter(({ elector }) => elector.isLeader()).length).toBeLessThan(2);
          }
        };
        const running = processes.map((one) => one.run());
        for (const { do: what, ms, who } of script) {
          const [one, link] = [processes[who], network[who]];
          if (one === undefined || link === undefined) continue;
          if (what === 'pass') await pass(ms);
          else if (what === 'freeze') one.frozen.until = time.monotonic() + ms;
          else if (what === 'jump') one.clock.jump(ms);
          else if (what === 'slow') link.delay = ms;
          else Object.assign(link, { lost: what === 'lose' });
        }
        for (const link of network) Object.assign(link, { lost: false, delay: 0 });
        await pass(90_000);
        expect(processes.filter(({ elector }) => elector.isLeader())).toHaveLength(1);
        for (const one of processes) one.stop.abort();
        await pass(1_000);
        await Promise.all(running);
      }),
      { numRuns: 60 },
    );
  }, 120_000);
});

describe('the lease that is written', () => {
  it('carries times with exactly six fractional digits, which the API server insists on', async () => {
    const api = new FakeApi();
    const written: FakeRequest[] = [];
    api.intercept = (request) => void written.push(request);
    const clock = new FakeClock(Date.UTC(2026, 0, 1) + 7);
    void candidate('a', api, clock).run();
    await clock.run(3_000);
    const times = written.filter(({ verb }) => verb !== 'get').map(({ what }) => (what as Lease).spec?.renewTime);
    expect(times).toEqual(['2026-01-01T00:00:00.007000Z', '2026-01-01T00:00:02.007000Z']);
  });
});
