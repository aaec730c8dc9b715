import { describe, expect, it } from '@jest/globals';
import { coefficientOfVariation, evenLoad, fill } from './placement.ts';

/** For a machine that has much else to do. */
const longMs = 300_000;

describe('1,000 creates over 50 equal runners', () => {
  it(
    'are spread evenly, and no runner is beyond its capacity at any moment',
    async () => {
      const { started, shares, violation } = await fill(evenLoad, 'even');
      expect(violation).toBeUndefined();
      expect(started).toBe(evenLoad.sandboxes);
      expect(coefficientOfVariation(shares)).toBeLessThanOrEqual(0.05);
    },
    longMs,
  );
});

describe('the coefficient of variation', () => {
  it.each([
    { of: 'equal values', values: [3, 3, 3], want: 0 },
    { of: 'two values around their mean', values: [1, 3], want: 0.5 },
  ])('of $of is $want', ({ values, want }) => expect(coefficientOfVariation(values)).toBe(want));
});
