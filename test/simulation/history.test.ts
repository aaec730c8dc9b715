import { describe, expect, it } from '@jest/globals';
import { defects } from './defects.ts';
import type { Defect } from './defects.ts';
import { runHistory, shortfall } from './history.ts';
import { planOf, smallScale } from './plan.ts';
import { planFor, programsWith } from './programs/index.ts';

/** For a machine that has much else to do. */
const longMs = 300_000;

describe('a history', () => {
  it(
    'is the same for the same seed, and for the plan read back from JSON',
    async () => {
      const plan = planOf('same', smallScale);
      const first = await runHistory(plan, programsWith());
      const second = await runHistory(JSON.parse(JSON.stringify(plan)) as typeof plan, programsWith());
      expect(second.hash).toBe(first.hash);
      expect(second.counts).toEqual(first.counts);
      expect((await runHistory(planOf('other', smallScale), programsWith())).hash).not.toBe(first.hash);
    },
    longMs,
  );

  it.each(['1', '2', '3', '4', '5'])(
    'of the product breaks no rule (seed %s)',
    async (seed) => {
      const outcome = await runHistory(planOf(seed, smallScale), programsWith());
      expect(outcome.violation).toBeUndefined();
      expect(shortfall(outcome)).toBeUndefined();
      expect(outcome.counts.starts).toBeGreaterThan(0);
    },
    longMs,
  );
});

/** Seeds tried for each defect: about four times as many as the one that needs most. */
const mostSeeds = 120;

describe('a defect that is put in is found', () => {
  it.each(Object.entries(defects).map(([name, { says }]) => [name as Defect, says] as const))(
    '%s: %s',
    async (defect) => {
      const programs = programsWith(defect);
      for (let seed = 1; seed <= mostSeeds; seed++) {
        const { violation } = await runHistory(planFor(String(seed), smallScale, defect), programs);
        if (violation !== undefined) return;
      }
      throw new Error(`not found in ${mostSeeds} histories`);
    },
    longMs,
  );
});
