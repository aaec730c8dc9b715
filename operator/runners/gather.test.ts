import { describe, expect, it } from '@jest/globals';
import { runnerSchema, type Runner } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import { factsOf, type RunnerFacts } from '../hub/facts.ts';
import { aHello } from '../../test/builders/scripted-agent.ts';
import { Claims, Fleet } from './gather.ts';

const GiB = 2 ** 30;
const amounts = { cpuMillis: 1000, memoryBytes: GiB, diskBytes: GiB };
const some = { runnerName: 'r1', amounts, isStarted: true };

function aRunner(name: string, spec: object = {}): Runner {
  const metadata = { name, uid: `uid-${name}`, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, spec });
}

function connected(name: string): RunnerFacts {
  return { ...factsOf(aHello(name), undefined), isComplete: true, allocated: amounts };
}

/** A fleet of three runners, of which each part can be exchanged. */
function aFleet() {
  const names = ['r1', 'r2', 'r3'];
  const runners = new Map(names.map((name) => [name, aRunner(name)]));
  const facts = new Map(names.map((name) => [name, connected(name)]));
  const remaining = new Map(names.map((name) => [name, 40_000]));
  const taints = new Map<string, readonly string[]>();
  const claims = new Claims();
  const cache = { list: () => [...runners.values()], get: (name: string) => runners.get(name) } as unknown as Cache<Runner>;
  const fleet = new Fleet({
    runners: cache,
    facts: (name) => facts.get(name),
    liveness: { isReady: (name) => (remaining.get(name) ?? 0) > 0, remaining: (name) => remaining.get(name) },
    claims,
    nodeOf: (name) => ({ kind: 'Known', taints: taints.get(name) ?? [] }),
  });
  const views = (key = 'default/other', now = 0) => Object.fromEntries(fleet.views(key, now).map((view) => [view.name, view]));
  return { fleet, claims, runners, facts, remaining, taints, views };
}
type Stage = ReturnType<typeof aFleet>;

describe('the views of a fleet', () => {
  it('are the same values for every sandbox that takes nothing of the runner, while nothing changes', () => {
    const { claims, views } = aFleet();
    claims.store('default/box', some);
    const [before, after, own] = [views('default/a', 0), views('default/b', 1_000), views('default/box', 1_000)];
    expect(['r1', 'r2', 'r3'].map((name) => after[name] === before[name])).toEqual([true, true, true]);
    expect(['r1', 'r2', 'r3'].map((name) => own[name] === before[name])).toEqual([false, true, true]);
  });

  it('leave out of its runner what the sandbox takes itself, and nobody else sees that', () => {
    const { claims, views } = aFleet();
    claims.store('default/box', some);
    const nothing = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };
    expect(views('default/box').r1).toMatchObject({ load: { amounts: nothing, started: 0 }, agent: { allocated: nothing } });
    expect(views('default/a').r1).toMatchObject({ load: { amounts, started: 1 }, agent: { allocated: amounts } });
  });

  it.each<{ when: string; change: (stage: Stage) => unknown; want: object }>([
    { when: 'a claim is assumed', change: ({ claims }) => claims.assume('default/box', some), want: { load: { amounts, started: 1 } } },
    { when: 'its Lease expires', change: ({ remaining }) => remaining.set('r1', 0), want: { isReady: false } },
    { when: 'its agent is gone', change: ({ facts }) => facts.delete('r1'), want: { agent: undefined } },
    {
      when: 'its object changes',
      change: ({ runners }) => runners.set('r1', aRunner('r1', { maxStarted: 7 })),
      want: { spec: { maxStarted: 7 } },
    },
    {
      when: 'its Node is out of service',
      change: ({ taints }) => taints.set('r1', ['node.kubernetes.io/out-of-service']),
      want: { fencing: 'NodeOutOfService' },
    },
    {
      when: 'two sandboxes failed there',
      change: ({ fleet }) => ['u1', 'u2'].forEach((uid) => fleet.failed('r1', uid, 0, 0)),
      want: { failures: { sandboxes: 2 } },
    },
  ])('tell at once that $when, and only of that runner', ({ change, want }) => {
    const stage = aFleet();
    const before = stage.views();
    change(stage);
    const after = stage.views();
    expect(after.r1).toMatchObject(want);
    expect(['r2', 'r3'].map((name) => after[name] === before[name])).toEqual([true, true]);
  });

  it('believe no Node while many runners are lost at once, and again when they are not', () => {
    const { fleet, facts, remaining, taints, views } = aFleet();
    taints.set('r1', ['node.kubernetes.io/out-of-service']);
    expect(views().r1?.fencing).toBe('NodeOutOfService');
    const were = new Map(facts);
    for (const name of ['r1', 'r2']) remaining.set(name, 0);
    expect(fleet.health()).toEqual({ known: 3, lost: 0 });
    facts.clear();
    expect([fleet.health(), views().r1?.fencing]).toEqual([{ known: 3, lost: 2 }, undefined]);
    for (const [name, one] of were) facts.set(name, one);
    expect(views().r1?.fencing).toBe('NodeOutOfService');
  });
});
