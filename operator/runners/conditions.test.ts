import { describe, expect, it } from '@jest/globals';
import { runnerSchema, type Condition, type Runner } from '../../crds/index.ts';
import { conditionsOfLost, hasBecomeLost, hasConditions, runnerConditions, runnerEvents, type RunnerSighting } from './conditions.ts';

const seen: RunnerSighting = { leaseLeftMs: 30_000, isConnected: true, fencing: undefined, isPatient: false, now: Date.UTC(2026, 0, 1) };

function runner({ unschedulable = false, conditions = [] }: { unschedulable?: boolean; conditions?: readonly Condition[] } = {}): Runner {
  const metadata = { name: 'r1', uid: 'u', resourceVersion: '1', generation: 3, creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, spec: { unschedulable }, status: { conditions } });
}

const told = (given: Runner, sighting: Partial<RunnerSighting>) =>
  runnerConditions(given, { ...seen, ...sighting }).map(({ type, status, reason }) => `${type} ${status} ${reason}`);

describe('the conditions of a runner', () => {
  it.each([
    { when: 'all is well', given: runner(), sighting: {}, want: ['Ready True LeaseRenewed', 'Schedulable True Schedulable'] },
    {
      when: 'it is cordoned',
      given: runner({ unschedulable: true }),
      sighting: {},
      want: ['Ready True LeaseRenewed', 'Schedulable False Cordoned'],
    },
    {
      when: 'its Lease expired',
      given: runner(),
      sighting: { leaseLeftMs: 0 },
      want: ['Ready Unknown LeaseExpired', 'Schedulable False NotReady'],
    },
    {
      when: 'it has no Lease',
      given: runner(),
      sighting: { leaseLeftMs: undefined },
      want: ['Ready False LeaseMissing', 'Schedulable False NotReady'],
    },
    {
      when: 'its Node is out of service',
      given: runner(),
      sighting: { leaseLeftMs: 0, isConnected: false, fencing: 'NodeOutOfService' as const },
      want: ['Ready Unknown LeaseExpired', 'Schedulable False Fenced'],
    },
    {
      when: 'it is not connected',
      given: runner(),
      sighting: { isConnected: false },
      want: ['Ready True LeaseRenewed', 'Schedulable False NotConnected'],
    },
  ])('$when', ({ given, sighting, want }) => expect(told(given, sighting)).toEqual(want));

  it('are not written again while nothing changes, and leave those of the agent alone', () => {
    const first = runnerConditions(runner(), seen);
    const connection: Condition = {
      type: 'connection.berth.dev/10-0-0-1-3001',
      status: 'True',
      reason: 'Connected',
      message: 'm',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    const written = runner({ conditions: [connection, ...first] });
    const again = runnerConditions(written, { ...seen, now: seen.now + 60_000 });
    expect([again.map(({ type }) => type), hasConditions(written, again), hasConditions(runner(), first)]).toEqual([
      ['Ready', 'Schedulable'],
      true,
      false,
    ]);
  });

  it('a new leader does not take the silence of its first seconds for an answer', () => {
    const before = runner({ conditions: runnerConditions(runner(), seen) });
    const silence = { isConnected: false, leaseLeftMs: undefined };
    expect(told(before, { ...silence, isPatient: true })).toEqual(['Ready True LeaseRenewed', 'Schedulable True Schedulable']);
    expect(told(before, silence)).toEqual(['Ready False LeaseMissing', 'Schedulable False NotReady']);
    expect(told(runner(), { ...silence, isPatient: true })).toEqual(['Ready False LeaseMissing', 'Schedulable False NotReady']);
  });
});

describe('a runner whose Lease expires', () => {
  const time = '2026-01-01T00:00:00Z';
  const connection = (address: string, status: Condition['status'] = 'True'): Condition => ({
    type: `connection.berth.dev/${address}`,
    status,
    reason: status === 'True' ? 'Connected' : 'ConnectionLost',
    message: 'm',
    lastTransitionTime: time,
  });
  const alive = runner({ conditions: [connection('a'), ...runnerConditions(runner(), seen), connection('b', 'False')] });
  const expired = (of: Runner) => runnerConditions(of, { ...seen, leaseLeftMs: -1, isConnected: false });

  it('is lost once: from the moment in which that is found until it is written', () => {
    const lost = runner({ conditions: conditionsOfLost(alive, expired(alive), seen.now) });
    expect([hasBecomeLost(alive, expired(alive)), hasBecomeLost(lost, expired(lost))]).toEqual([true, false]);
    expect(hasBecomeLost(alive, runnerConditions(alive, seen))).toBe(false);
    expect(hasBecomeLost(runner(), runnerConditions(runner(), { ...seen, leaseLeftMs: undefined }))).toBe(false);
  });

  it('has all its connections Unknown, and its other conditions as they are', () => {
    const other: Condition = { type: 'example.com/Disk', status: 'True', reason: 'Fine', message: 'm', lastTransitionTime: time };
    const given = runner({ conditions: [other, ...alive.status.conditions] });
    const later = seen.now + 60_000;
    const conditions = conditionsOfLost(
      given,
      runnerConditions(given, { ...seen, leaseLeftMs: -1, isConnected: false, now: later }),
      later,
    );
    expect(conditions.map(({ type, status, reason, lastTransitionTime }) => [type, status, reason, lastTransitionTime])).toEqual([
      ['example.com/Disk', 'True', 'Fine', time],
      ['connection.berth.dev/a', 'Unknown', 'Unknown', '2026-01-01T00:01:00Z'],
      ['Ready', 'Unknown', 'LeaseExpired', '2026-01-01T00:01:00Z'],
      ['Schedulable', 'False', 'NotReady', '2026-01-01T00:01:00Z'],
      ['connection.berth.dev/b', 'Unknown', 'Unknown', '2026-01-01T00:01:00Z'],
    ]);
  });

  it('has an Event for each condition that changes its status, and none for what is said first or stays', () => {
    const told = (of: Runner, conditions: readonly Condition[]) =>
      runnerEvents(of, conditions).map(({ type, reason, action }) => [type, reason, action]);
    const lost = runner({ conditions: conditionsOfLost(alive, expired(alive), seen.now) });
    expect(told(alive, expired(alive))).toEqual([
      ['Warning', 'LeaseExpired', 'Watch'],
      ['Warning', 'NotReady', 'Watch'],
    ]);
    expect(told(lost, expired(lost))).toEqual([]);
    expect(told(lost, runnerConditions(lost, seen))).toEqual([
      ['Normal', 'LeaseRenewed', 'Watch'],
      ['Normal', 'Schedulable', 'Watch'],
    ]);
    expect(told(runner(), expired(runner()))).toEqual([]);
    const cordoned = runner({ unschedulable: true, conditions: alive.status.conditions });
    expect(told(cordoned, runnerConditions(cordoned, seen))).toEqual([['Normal', 'Cordoned', 'Watch']]);
  });
});
