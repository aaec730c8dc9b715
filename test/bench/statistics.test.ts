import { describe, expect, it } from '@jest/globals';
import { median, quantile, rounded, summarise, table } from './statistics.ts';

describe('statistics of a benchmark', () => {
  it.each([
    { when: 'an odd series', given: [3, 1, 2], want: 2 },
    { when: 'an even series', given: [4, 1, 2, 3], want: 2.5 },
    { when: 'one value', given: [7], want: 7 },
    { when: 'no value', given: [], want: Number.NaN },
  ])('the median of $when is $want', ({ given, want }) => expect(median(given)).toBe(want));

  it.each([
    { q: 0.5, want: 50 },
    { q: 0.95, want: 95 },
    { q: 0.99, want: 99 },
    { q: 1, want: 100 },
    { q: 0, want: 1 },
  ])('the $q quantile of 1…100 is $want', ({ q, want }) => {
    const series = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(quantile(series, q)).toBe(want);
  });

  it('does not change its input', () => {
    const series = Object.freeze([2, 1]);
    expect(summarise(series)).toEqual({ n: 2, median: 1.5, p95: 2, p99: 2 });
  });

  it('rounds a ratio to two decimals', () => expect(rounded(1.23456)).toBe(1.23));

  it('aligns text to the left and numbers to the right', () => {
    expect(
      table(
        ['what', 'n', 'median'],
        [
          ['a long name', 100, 12.34],
          ['b', 8, 1],
        ],
      ),
    ).toBe(['what           n  median', 'a long name  100    12.3', 'b              8       1'].join('\n'));
  });
});
