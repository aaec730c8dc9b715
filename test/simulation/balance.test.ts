import { describe, expect, it } from '@jest/globals';
import { balance } from './balance.ts';
import { constantDemand as demand } from './demand.ts';

/** For a machine that has much else to do. */
const longMs = 300_000;

describe('twelve sandboxes on one of three runners that should have five, stopped and started again and again', () => {
  it.each(['one', 'two'])(
    'are each moved for load at most once, until no runner has too many (%s)',
    async (seed) => {
      const { moves, started, violation } = await balance(demand, seed);
      expect(violation).toBeUndefined();
      expect(moves).toHaveLength(demand.sandboxes);
      expect(Math.max(...moves)).toBe(1);
      expect(started.reduce((sum, count) => sum + count, 0)).toBe(demand.sandboxes);
      // One more may be there, which was stopped while the others were counted.
      expect(Math.max(...started)).toBeLessThanOrEqual(demand.maxStarted + 1);
      expect(Math.min(...started)).toBeGreaterThan(0);
    },
    longMs,
  );
});
