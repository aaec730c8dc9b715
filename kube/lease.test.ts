import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../process/fake-clock.ts';
import { silentLogger } from '../process/log.ts';
import { KubeError } from './errors.ts';
import { FakeApi } from './fake-api.ts';
import { createLeaseKeeper } from './lease-keeper.ts';
import { LeaseObserver, leases, newLease, parseLease } from './lease.ts';
import type { Lease } from './lease.ts';

describe('lease keeper', () => {
  function setUp() {
    const api = new FakeApi();
    const clock = new FakeClock(Date.UTC(2026, 0, 1));
    const stop = new AbortController();
    const keeper = createLeaseKeeper({
      transport: api,
      namespace: 'ns',
      name: 'runner-1',
      holder: 'agent-1',
      clock,
      random: () => 0,
      log: silentLogger,
    });
    const done = keeper.run(stop.signal);
    const spec = () => {
      const [object] = api.objects(leases);
      return object === undefined ? undefined : parseLease(object).spec;
    };
    return { api, clock, stop, keeper, done, spec };
  }

  it('creates the lease, renews it every ten seconds, and leaves it at the end', async () => {
    const { api, clock, stop, keeper, done, spec } = setUp();
    await clock.run(0);
    expect(spec()).toMatchObject({ holderIdentity: 'agent-1', leaseDurationSeconds: 40, renewTime: '2026-01-01T00:00:00.000000Z' });
    await clock.run(25_000);
    expect([spec()?.renewTime, keeper.age()]).toEqual(['2026-01-01T00:00:20.000000Z', 5_000]);
    expect(api.requests).toHaveLength(4);
    stop.abort();
    await done;
    expect([spec()?.holderIdentity, clock.timers]).toEqual(['agent-1', 0]);
  });

  it('tries again soon after a failure, and creates it again when it was deleted', async () => {
    const { api, clock, keeper, spec } = setUp();
    await clock.run(0);
    api.intercept = () => {
      throw new KubeError('Unreachable', 'no');
    };
    await clock.run(30_000);
    expect([keeper.age(), spec()?.renewTime]).toEqual([30_000, '2026-01-01T00:00:00.000000Z']);
    api.intercept = () => undefined;
    await api.delete(leases, { namespace: 'ns', name: 'runner-1' });
    await clock.run(5_000);
    expect(spec()?.holderIdentity).toBe('agent-1');
    expect(keeper.age()).toBeLessThan(5_000);
  });
});

describe('lease observer', () => {
  const lease = (renewTime: string, uid = 'u'): Lease => {
    const made = newLease({ namespace: 'ns', name: 'r', holder: 'a', durationMs: 40_000, nowMs: 0 });
    return { ...made, metadata: { name: 'r', uid, resourceVersion: '1' }, spec: { ...made.spec, renewTime } };
  };

  it('gives a lease its whole duration from when it was first seen, whatever time is written in it', () => {
    const observer = new LeaseObserver();
    observer.observe('r', lease('1999-01-01T00:00:00.000000Z'), 1_000);
    expect([observer.remaining('r', 1_000), observer.remaining('r', 41_000), observer.remaining('none', 0)]).toEqual([
      40_000,
      0,
      undefined,
    ]);
  });

  it('begins anew only when it was renewed, not when it is seen again', () => {
    const observer = new LeaseObserver();
    observer.observe('r', lease('t1'), 0);
    observer.observe('r', lease('t1'), 20_000);
    expect(observer.remaining('r', 20_000)).toBe(20_000);
    observer.observe('r', lease('t2'), 30_000);
    expect(observer.remaining('r', 30_000)).toBe(40_000);
    observer.observe('r', lease('t2', 'another'), 35_000);
    expect(observer.remaining('r', 35_000)).toBe(40_000);
    observer.forget('r');
    expect(observer.remaining('r', 35_000)).toBeUndefined();
  });
});
