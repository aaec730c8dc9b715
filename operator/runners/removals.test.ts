import { describe, expect, it } from '@jest/globals';
import { runnerSchema, type Removal, type Runner } from '../../crds/index.ts';
import { CopyState, type Hello } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { aHello, aReport, aRunnerReport } from '../../test/builders/scripted-agent.ts';
import { emptyInbox, factsOf, takeInventory, takeRefusal, type RunnerFacts } from '../hub/facts.ts';
import { planRemovals, withRemoval } from './removals.ts';

const removal = (uid: string, more: Partial<Removal> = {}): Removal => ({
  uid,
  epoch: 1,
  namespace: 'default',
  name: uid,
  storeID: 'store-r1',
  order: 5,
  startTime: '2026-01-01T00:00:00Z',
  ...more,
});

function runner(...removals: readonly Removal[]): Runner {
  const metadata = { name: 'r1', uid: 'u', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, status: { removals } });
}

function facts(copies: readonly ReturnType<typeof aReport>[], hello: Partial<Hello> = {}): RunnerFacts {
  const taken = takeInventory(
    factsOf(aHello('r1', hello), undefined),
    emptyInbox,
    { seq: 1, copies: [...copies], runner: aRunnerReport, last: true, tick: 1 },
    0,
  );
  if (taken.kind === 'Gap') throw new Error(taken.message);
  return taken.facts;
}

describe('copies of deleted sandboxes', () => {
  it('are noted once', () => {
    const one = withRemoval([], removal('a'));
    expect([one, withRemoval(one, removal('a', { order: 9 })), withRemoval(one, removal('a', { epoch: 2 })).length]).toEqual([one, one, 2]);
  });

  it('are ordered absent while their store is connected, and not while it is not', () => {
    const given = runner(removal('a'), removal('b', { storeID: 'other' }));
    expect(planRemovals(given, undefined)).toEqual({ removals: given.status.removals, orders: [] });
    const { removals, orders } = planRemovals(given, facts([aReport('a', 1)]));
    expect(removals).toBe(given.status.removals);
    expect(orders).toMatchObject([{ uid: 'a', epoch: 1, order: 5, wanted: 4, storeId: 'store-r1', bootId: '' }]);
  });

  it('are dropped when they are proven absent, of their store', () => {
    const absent = (uid: string) => aReport(uid, 1, { state: CopyState.COPY_STATE_ABSENT });
    const given = runner(removal('a'), removal('b', { storeID: 'other' }));
    expect(planRemovals(given, facts([absent('a'), absent('b')])).removals.map(({ uid }) => uid)).toEqual(['b']);
  });

  it('are ordered under a higher number when theirs is used up there, and only after that is recorded', () => {
    const refused = takeRefusal(facts([aReport('a', 1)]), {
      uid: 'a',
      epoch: 1,
      order: 5,
      code: 'Superseded',
      message: '',
      highestOrder: 8,
    });
    expect(planRemovals(runner(removal('a')), refused)).toEqual({ removals: [removal('a', { order: 9 })], orders: [] });
    expect(planRemovals(runner(removal('a', { order: 9 })), refused).orders).toMatchObject([{ order: 9 }]);
  });
});
