import { describe, expect, it } from '@jest/globals';
import { runnerSchema, type Runner } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import { emptyInbox, factsOf, takeInventory, type RunnerFacts } from '../hub/facts.ts';
import { aHello, aRunnerReport } from '../../test/builders/scripted-agent.ts';
import { Claims, Fleet } from './gather.ts';

function aRunner(name: string, spec: Partial<Runner['spec']> = {}): Runner {
  const metadata = { name, uid: `uid-${name}`, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, spec, status: { storeID: 'stored', bootID: 'booted' } });
}

function connected(runnerName: string): RunnerFacts {
  const report = {
    seq: 1,
    copies: [],
    last: true,
    runner: { ...aRunnerReport, allocated: { cpuMillis: 500, memoryBytes: 0, diskBytes: 0 } },
  };
  const taken = takeInventory(factsOf(aHello(runnerName), undefined), emptyInbox, report, 0);
  if (taken.kind !== 'Taken') throw new Error(taken.message);
  return taken.facts;
}

/** Two runners, `a` on the first, and a switch for everything that a view is made of. */
function aFleet() {
  const runners = [aRunner('r1'), aRunner('r2')];
  const facts = new Map(['r1', 'r2'].map((name) => [name, connected(name)]));
  const ready = new Set(['r1', 'r2']);
  const claims = new Claims();
  const amounts = { cpuMillis: 125, memoryBytes: 1, diskBytes: 1 };
  claims.store('ns/a', { runnerName: 'r1', amounts, isStarted: true });
  const fleet = new Fleet({
    runners: { list: () => runners } as unknown as Cache<Runner>,
    facts: (name) => facts.get(name),
    liveness: { isReady: (name) => ready.has(name) },
    claims,
  });
  const view = (name: string, key = 'ns/other') => fleet.views(key, 0).find((one) => one.name === name);
  return { runners, facts, ready, claims, amounts, fleet, view };
}

describe('the fleet as a decision sees it', () => {
  it('counts what a sandbox takes for all others, and not for itself', () => {
    const { view } = aFleet();
    expect(view('r1')?.load.started).toBe(1);
    expect(view('r1')?.agent?.allocated.cpuMillis).toBe(500);
    expect(view('r1', 'ns/a')?.load.started).toBe(0);
    expect(view('r1', 'ns/a')?.agent?.allocated.cpuMillis).toBe(375);
  });

  it('is the same view as long as nothing of it changed, whoever asks', () => {
    const { view } = aFleet();
    expect(view('r2', 'ns/a')).toBe(view('r2', 'ns/other'));
  });

  it.each<{ when: string; change: (fleet: ReturnType<typeof aFleet>) => unknown; want: object }>([
    {
      when: 'the object is another',
      change: ({ runners }) => runners.splice(1, 1, aRunner('r2', { maxStarted: 7 })),
      want: { spec: { maxStarted: 7 } },
    },
    { when: 'its agent is gone', change: ({ facts }) => facts.delete('r2'), want: { agent: undefined, storeID: 'stored' } },
    { when: 'its Lease has ended', change: ({ ready }) => ready.delete('r2'), want: { isReady: false } },
    {
      when: 'something was placed there',
      change: ({ claims, amounts }) => claims.assume('ns/b', { runnerName: 'r2', amounts, isStarted: true }),
      want: { load: { started: 1 } },
    },
    {
      when: 'something failed there',
      change: ({ fleet }) => fleet.failed('r2', 'uid', 0, 0),
      want: { failures: { sandboxes: 1 } },
    },
  ])('is another view when $when', ({ change, want }) => {
    const fleet = aFleet();
    const before = fleet.view('r2');
    change(fleet);
    expect(fleet.view('r2')).not.toEqual(before);
    expect(fleet.view('r2')).toMatchObject(want);
  });
});
