import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { backoffDelay } from './backoff.ts';

describe('back-off', () => {
  it.each([
    { when: 'the first failure', failures: 1, random: 0, want: 100 },
    { when: 'the second', failures: 2, random: 0, want: 200 },
    { when: 'the fourth', failures: 4, random: 0, want: 800 },
    { when: 'so many that the limit is reached', failures: 9, random: 0, want: 10_000 },
    { when: 'so many that the power overflows', failures: 100_000, random: 0, want: 10_000 },
    { when: 'no failure at all', failures: 0, random: 0, want: 100 },
    { when: 'the highest jitter', failures: 1, random: 0.999999, want: 50.00005 },
  ])('after $when waits $want ms', ({ failures, random, want }) => {
    expect(backoffDelay({ initialMs: 100, maxMs: 10_000, jitter: 0.5 }, failures, () => random)).toBeCloseTo(want, 6);
  });

  it('always lies between the shortened and the full delay', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.double({ min: 0, max: 0.999999, noNaN: true }), (failures, random) => {
        const full = backoffDelay({ initialMs: 5, maxMs: 1000, jitter: 0 }, failures, () => random);
        const delay = backoffDelay({ initialMs: 5, maxMs: 1000, jitter: 0.3 }, failures, () => random);
        expect(delay).toBeLessThanOrEqual(full);
        expect(delay).toBeGreaterThanOrEqual(full * 0.7);
      }),
    );
  });
});
