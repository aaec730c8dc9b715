import { describe, expect, it } from '@jest/globals';
import { agentTargets, operatorTargets, planChaos } from './plan.ts';

const durationMs = 300_000;
const seeds = ['1', '2', '3', '4', '5'];

describe('the plan of chaos', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(planChaos('7', durationMs)).toEqual(planChaos('7', durationMs));
    expect(planChaos('7', durationMs)).not.toEqual(planChaos('8', durationMs));
  });

  it.each(seeds)('strikes every operator and agent in every way, and leaves some of each kind (seed %s)', (seed) => {
    const faults = planChaos(seed, durationMs);
    expect(faults.length).toBeGreaterThan(100);
    for (const target of [...operatorTargets, ...agentTargets])
      expect(new Set(faults.filter((fault) => fault.target === target).map(({ how }) => how))).toEqual(new Set(['kill', 'stop']));
    for (const { at } of faults) {
      const down = faults.filter((fault) => fault.at <= at && fault.at + fault.downMs > at).map((fault) => fault.target);
      expect(new Set(down).size).toBe(down.length);
      for (const kind of [operatorTargets, agentTargets] as const)
        expect(kind.filter((one) => down.includes(one)).length).toBeLessThan(kind.length);
      expect(at).toBeLessThan(durationMs);
    }
  });
});
