import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { aSandbox } from '../../test/builders/a-sandbox.ts';
import { Claims } from '../runners/gather.ts';
import { claimOf } from './claims.ts';

const onR1 = aSandbox().onRunner('r1');
const all = { cpuMillis: 125, memoryBytes: 512 * 2 ** 20, diskBytes: 4 * 2 ** 30 };
const disk = { cpuMillis: 0, memoryBytes: 0, diskBytes: 4 * 2 ** 30 };

describe('what a sandbox takes of its runner', () => {
  it.each([
    { when: 'it was never placed', given: aSandbox(), want: undefined },
    { when: 'it is being created', given: onR1.creating(), want: { amounts: all, isStarted: true } },
    { when: 'it runs', given: onR1.started(), want: { amounts: all, isStarted: true } },
    { when: 'it is stopping', given: onR1.stopping(), want: { amounts: all, isStarted: true } },
    { when: 'it is stopped', given: onR1.stopped(), want: { amounts: disk, isStarted: false } },
    { when: 'it waits on its runner', given: onR1.stopped().pending('InsufficientOnRunner'), want: { amounts: disk, isStarted: false } },
    { when: 'it failed and nothing was started', given: onR1.version(0).failed('ImageNotFound'), want: undefined },
    {
      when: 'it failed and it is proven that nothing runs',
      given: onR1.failed('CommandNotFound'),
      want: { amounts: disk, isStarted: false },
    },
    { when: 'it failed and may run', given: onR1.failed('DeadlineExceeded'), want: { amounts: all, isStarted: true } },
  ])('$when', ({ given, want }) => {
    expect(claimOf(given.obj())).toEqual(want === undefined ? undefined : { runnerName: 'r1', ...want });
  });
});

describe('the claims of all sandboxes', () => {
  const claim = (runnerName: string, cpuMillis: number, isStarted = true) => ({ runnerName, amounts: { ...disk, cpuMillis }, isStarted });

  it('an assumed claim stands instead of the stored one, until it is settled', () => {
    const claims = new Claims();
    claims.store('a', claim('r1', 10));
    claims.assume('a', claim('r2', 20));
    expect([claims.load('r1', '').amounts.cpuMillis, claims.load('r2', '').amounts.cpuMillis]).toEqual([0, 20]);
    claims.store('a', claim('r2', 20));
    expect(claims.load('r2', '').amounts.cpuMillis).toBe(20);
    claims.settle('a');
    expect(claims.load('r2', '')).toMatchObject({ started: 1, amounts: { cpuMillis: 20 } });
    expect(claims.load('r2', 'a')).toMatchObject({ started: 0, amounts: { cpuMillis: 0 } });
  });

  it('add up to what a count from scratch gives, whatever came before', () => {
    const step = fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      what: fc.constantFrom('store', 'assume', 'settle' as const),
      claim: fc.option(fc.record({ runner: fc.constantFrom('r1', 'r2'), cpu: fc.nat(100), isStarted: fc.boolean() }), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const claims = new Claims();
        for (const { key, what, claim: made } of steps) {
          const value = made && claim(made.runner, made.cpu, made.isStarted);
          if (what === 'store') claims.store(key, value);
          else if (what === 'assume') claims.assume(key, value);
          else claims.settle(key);
        }
        for (const runner of ['r1', 'r2']) {
          const present = ['a', 'b', 'c'].map((key) => claims.of(key)).filter((one) => one?.runnerName === runner);
          expect(claims.load(runner, '')).toMatchObject({
            started: present.filter((one) => one?.isStarted).length,
            amounts: { cpuMillis: present.reduce((sum, one) => sum + (one?.amounts.cpuMillis ?? 0), 0) },
          });
        }
      }),
    );
  });
});
