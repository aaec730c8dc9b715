import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { aRunner, type RunnerViewBuilder } from '../../test/builders/a-runner-view.ts';
import { add, setAsideForTasks } from '../../crds/resources.ts';
import { dominantShare } from './amounts.ts';
import { chooseRunner, type PlacementRequest } from './choose-runner.ts';
import type { RunnerView } from './runner-view.ts';

const GiB = 2 ** 30;
const requests = { cpuMillis: 125, memoryBytes: GiB / 2, diskBytes: 4 * GiB };
const request: PlacementRequest = { uid: 'u', image: 'demo:1', requests, placement: undefined, now: 1_000 };

function choose(runners: readonly RunnerViewBuilder[], more: Partial<PlacementRequest> = {}): string {
  const choice = chooseRunner(
    runners.map((runner) => runner.view()),
    { ...request, ...more },
  );
  return choice.kind === 'Chosen' ? choice.runner.name : choice.message;
}

describe('which runner fits best', () => {
  const [r1, r2] = [aRunner('r1'), aRunner('r2')];
  it.each([
    { when: 'one has less taken', runners: [r1.loaded(4), r2.loaded(2)], want: 'r2' },
    {
      when: 'the emptier one is smaller: the share counts',
      runners: [r1.loaded(4), r2.loaded(2).capacity({ memoryBytes: 4 * GiB })],
      want: 'r1',
    },
    {
      when: 'the agent counts more than we placed',
      runners: [r1.agent({ allocated: { cpuMillis: 4_000, memoryBytes: 0, diskBytes: 0 } }), r2.loaded(4)],
      want: 'r2',
    },
    { when: 'they are equal and one has the image', runners: [r1, r2.agent({ images: ['demo:1'] })], want: 'r2' },
    { when: 'the one with the image has much more taken', runners: [r1, r2.loaded(8).agent({ images: ['demo:1'] })], want: 'r1' },
    { when: 'the emptier one failed lately', runners: [r1.failing(1), r2.loaded(30)], want: 'r2' },
    { when: 'the only one failed lately', runners: [r1.failing(1)], want: 'r1' },
    { when: 'one is at its maxStarted', runners: [r1.spec({ maxStarted: 2 }).loaded(2), r2.loaded(5)], want: 'r2' },
    {
      when: 'all are at their maxStarted',
      runners: [r1.spec({ maxStarted: 2 }).loaded(3), r2.spec({ maxStarted: 2 }).loaded(2)],
      want: 'r2',
    },
    { when: 'one is to be avoided', runners: [r1, r2.loaded(9)], more: { avoided: 'r1' }, want: 'r2' },
    { when: 'only the one to be avoided is there', runners: [r1], more: { avoided: 'r1' }, want: 'r1' },
  ])('$when → $want', ({ runners, more, want }) => {
    expect(choose(runners, more)).toBe(want);
    expect(choose(runners.toReversed(), more)).toBe(want);
  });

  it('spreads equal choices by the sandbox, and always alike', () => {
    const runners = Array.from({ length: 10 }, (_, index) => aRunner(`r${index}`));
    const chosen = Array.from({ length: 200 }, (_, index) => choose(runners, { uid: `uid-${index}` }));
    expect(new Set(chosen).size).toBe(10);
    expect(Array.from({ length: 200 }, (_, index) => choose(runners.toReversed(), { uid: `uid-${index}` }))).toEqual(chosen);
  });
});

describe('why none fits', () => {
  const r1 = aRunner('r1');
  it.each([
    { runners: [], want: 'There are no runners.' },
    {
      runners: [r1.unschedulable(), aRunner('r2').capacity({ cpuMillis: 100 }), aRunner('r3').capacity({ cpuMillis: 10 })],
      want: '0 of 3 runners fit: 2 insufficient cpu, 1 unschedulable.',
    },
    { runners: [r1.notReady()], want: '0 of 1 runners fit: 1 not ready.' },
    { runners: [r1.disconnected()], want: '0 of 1 runners fit: 1 not connected.' },
    { runners: [r1.agent({ isComplete: false })], want: '0 of 1 runners fit: 1 not connected.' },
    { runners: [r1.failing(2, 2_000)], want: '0 of 1 runners fit: 1 in back-off after failures.' },
    { runners: [r1.capacity({ memoryBytes: 1 })], want: '0 of 1 runners fit: 1 insufficient memory.' },
    { runners: [r1.capacity({ diskBytes: 1 })], want: '0 of 1 runners fit: 1 insufficient disk.' },
    { runners: [r1.spec({ taskSlots: 80 })], want: '0 of 1 runners fit: 1 insufficient cpu.' },
    { runners: [r1], more: { placement: { region: 'eu' } }, want: '0 of 1 runners fit: 1 in another region.' },
    { runners: [r1], more: { placement: { runnerClassName: 'big' } }, want: '0 of 1 runners fit: 1 of another class.' },
    { runners: [r1], more: { placement: { runnerSelector: { matchLabels: { a: 'b' } } } }, want: '0 of 1 runners fit: 1 not selected.' },
  ])('$want', ({ runners, more, want }) => expect(choose(runners, more)).toBe(want));

  it('a runner that matches the placement fits', () => {
    const placement = { region: 'eu', runnerClassName: 'big', runnerSelector: { matchLabels: { a: 'b' } } };
    const match = aRunner('match')
      .with({ labels: { a: 'b', c: 'd' } })
      .spec({ region: 'eu', runnerClassName: 'big' });
    expect(choose([aRunner('r1'), match], { placement })).toBe('match');
  });

  it('says when the first back-off ends', () => {
    const fleet = [aRunner('r1').failing(2, 9_000).view(), aRunner('r2').failing(3, 4_000).view()];
    expect(chooseRunner(fleet, request)).toMatchObject({ kind: 'None', lookAgainAt: 4_000 });
  });
});

describe('a thousand sandboxes over fifty equal runners', () => {
  it('lie even: the coefficient of variation of the dominant share is at most 0.05, and nobody is over capacity', () => {
    const fleet = Array.from({ length: 50 }, (_, index) =>
      aRunner(`r${index}`)
        .capacity({ memoryBytes: 20 * GiB, diskBytes: 400 * GiB })
        .view(),
    );
    const placed = Array.from({ length: 1_000 }).reduce<readonly RunnerView[]>((now, _, index) => {
      const choice = chooseRunner(now, { ...request, uid: `uid-${index}` });
      if (choice.kind === 'None') throw new Error(choice.message);
      return now.map((runner) => (runner.name === choice.runner.name ? withOneMore(runner, index) : runner));
    }, fleet);
    const shares = placed.map(({ load, agent }) => dominantShare(load.amounts, agent?.capacity ?? load.amounts));
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const deviation = Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length);
    expect(deviation / mean).toBeLessThanOrEqual(0.05);
    expect(Math.max(...shares)).toBeLessThanOrEqual(1);
  });

  /** The image arrives on a runner some placements after the first sandbox did. */
  function withOneMore(runner: RunnerView, index: number): RunnerView {
    const load = { amounts: add(runner.load.amounts, requests), started: runner.load.started + 1 };
    const images = runner.load.started > 0 || index % 3 === 0 ? ['demo:1'] : [];
    return { ...runner, load, ...(runner.agent !== undefined && { agent: { ...runner.agent, images } }) };
  }
});

describe('any fleet', () => {
  const amount = fc.record({ cpuMillis: fc.nat(4_000), memoryBytes: fc.nat(8 * GiB), diskBytes: fc.nat(64 * GiB) });
  const runner = fc.record({
    isReady: fc.boolean(),
    unschedulable: fc.boolean(),
    capacity: amount,
    allocated: amount,
    amounts: amount,
    started: fc.nat(50),
    taskSlots: fc.nat(8),
    until: fc.constantFrom(0, 5_000),
  });

  it('never chooses a runner that the sandbox does not fit on, and is not swayed by the order of the runners', () => {
    fc.assert(
      fc.property(fc.array(runner, { maxLength: 6 }), amount, (specs, wanted) => {
        const fleet = specs.map(({ isReady, unschedulable, capacity, allocated, amounts, started, taskSlots, until }, index) =>
          aRunner(`r${index}`)
            .with({ isReady, load: { amounts, started }, failures: { sandboxes: until > 0 ? 2 : 0, until } })
            .spec({ unschedulable, taskSlots })
            .agent({ capacity, allocated })
            .view(),
        );
        const choice = chooseRunner(fleet, { ...request, requests: wanted });
        const back = chooseRunner(fleet.toReversed(), { ...request, requests: wanted });
        expect(back).toEqual(choice);
        if (choice.kind === 'None') return;
        const { isReady, spec, failures, load, agent } = choice.runner;
        expect([isReady, spec.unschedulable, failures.until]).toEqual([true, false, 0]);
        const after = add(add(load.amounts, setAsideForTasks(spec)), wanted);
        for (const key of ['cpuMillis', 'memoryBytes', 'diskBytes'] as const) {
          if (wanted[key] > 0) expect(after[key]).toBeLessThanOrEqual(agent?.capacity[key] ?? -1);
        }
      }),
    );
  });
});
