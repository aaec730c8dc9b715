import { describe, expect, it } from '@jest/globals';
import { MAX_REMOVALS, runnerSchema, type Removal, type Runner } from '../../crds/index.ts';
import { CopyState, type Hello } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { aHello, aReport, aRunnerReport } from '../../test/builders/scripted-agent.ts';
import { emptyInbox, factsOf, takeInventory, takeRefusal, type RunnerFacts } from '../hub/facts.ts';
import { forgottenNote, mostElsewhere, planRemovals, withRemoval } from './removals.ts';

const removal = (uid: string, more: Partial<Removal> = {}): Removal => ({
  uid,
  epoch: 1,
  namespace: 'default',
  name: uid,
  storeID: 'store-r1',
  order: 5,
  graceSeconds: 30,
  startTime: '2026-01-01T00:00:00Z',
  ...more,
});

function runner(...removals: readonly Removal[]): Runner {
  const metadata = { name: 'r1', uid: 'u', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, status: { storeID: 'store-r1', removals } });
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
    const { status } = runner(removal('a'));
    expect(withRemoval(status, removal('a', { order: 9 })).removals).toBe(status.removals);
    expect(withRemoval(status, removal('a', { epoch: 2 })).removals).toHaveLength(2);
    expect(withRemoval(runner().status, removal('a'))).toEqual({ removals: [removal('a')], forgotten: [] });
  });

  const at = (second: number) => new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString();
  const many = (count: number, storeID: string, from = 0) =>
    Array.from({ length: count }, (_, n) => removal(`${storeID}-${n}`, { storeID, startTime: at(from + n) }));

  it('on disks that are gone are bounded: the oldest are forgotten, also when the runner has just got another disk', () => {
    const elsewhere = many(mostElsewhere, 'other');
    const given = runner(removal('a', { startTime: at(-9) }), ...elsewhere);
    expect(planRemovals(given, undefined)).toEqual({ removals: given.status.removals, forgotten: [], orders: [] });
    const { removals, forgotten } = withRemoval(given.status, removal('b', { storeID: 'third', startTime: at(9_999) }));
    expect(forgotten).toEqual([elsewhere[0]]);
    expect(removals.map(({ uid }) => uid)).toEqual(['a', ...elsewhere.slice(1).map(({ uid }) => uid), 'b']);
    const changed = planRemovals(runner(...many(MAX_REMOVALS, 'old')), undefined);
    expect([changed.removals.length, changed.forgotten.length, changed.removals[0]?.uid]).toEqual([
      mostElsewhere,
      MAX_REMOVALS - mostElsewhere,
      `old-${MAX_REMOVALS - mostElsewhere}`,
    ]);
  });

  it('never block a deletion: in a full list those on other disks give way, then the oldest', () => {
    const own = many(MAX_REMOVALS - 1, 'store-r1');
    const mixed = withRemoval(runner(...own, removal('x', { storeID: 'other', startTime: at(9_999) })).status, removal('new'));
    expect([mixed.removals.length, mixed.forgotten.map(({ uid }) => uid)]).toEqual([MAX_REMOVALS, ['x']]);
    const full = withRemoval(runner(...many(MAX_REMOVALS, 'store-r1')).status, removal('new', { startTime: at(9_999) }));
    expect([full.removals.length, full.forgotten.map(({ uid }) => uid), full.removals.at(-1)?.uid]).toEqual([
      MAX_REMOVALS,
      ['store-r1-0'],
      'new',
    ]);
    expect(runnerSchema.safeParse(runner(...full.removals)).success).toBe(true);
  });

  it('that are forgotten are named', () => {
    expect(forgottenNote([removal('a')])).toMatch(/full: default\/a on disk store-r1\. Should their disk come back/);
    expect(forgottenNote(many(12, 's'))).toMatch(/default\/s-9 on disk s, and 2 more\. /);
  });

  it('are ordered absent while their store is connected, and not while it is not', () => {
    const given = runner(removal('a'), removal('b', { storeID: 'other' }));
    expect(planRemovals(given, undefined)).toEqual({ removals: given.status.removals, forgotten: [], orders: [] });
    const { removals, orders } = planRemovals(given, facts([aReport('a', 1)]));
    expect(removals).toBe(given.status.removals);
    expect(orders).toMatchObject([{ uid: 'a', epoch: 1, order: 5, wanted: 4, storeId: 'store-r1', bootId: '', graceSeconds: 30 }]);
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
    expect(planRemovals(runner(removal('a')), refused)).toEqual({ removals: [removal('a', { order: 9 })], forgotten: [], orders: [] });
    expect(planRemovals(runner(removal('a', { order: 9 })), refused).orders).toMatchObject([{ order: 9 }]);
  });
});
