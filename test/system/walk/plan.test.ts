import { describe, expect, it } from '@jest/globals';
import { planWalk, type Step, targets } from './plan.ts';

const size = { operations: 200, sandboxes: 8, faultChance: 0.35 };
const seeds = ['1', '2', '3', '4', '5'];
const isOperation = (step: Step) => step.kind === 'operation';

describe('the plan of a walk', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(planWalk('7', size)).toEqual(planWalk('7', size));
    expect(planWalk('7', size)).not.toEqual(planWalk('8', size));
  });

  it.each(seeds)('has every operation and ends every fault (seed %s)', (seed) => {
    const { steps } = planWalk(seed, size);
    expect(steps.filter(isOperation)).toHaveLength(size.operations);
    expect(new Set(steps.filter(isOperation).map(({ operation }) => operation)).size).toBe(5);
    const down = new Set<string>();
    for (const step of steps) {
      if (step.kind === 'fault') {
        expect(down.has(step.target)).toBe(false);
        down.add(step.target);
      }
      if (step.kind === 'recovery') expect(down.delete(step.target)).toBe(true);
      if (step.kind === 'operation') expect(down.has('apiserver') || down.has('etcd')).toBe(false);
    }
    expect([...down]).toEqual([]);
    expect(new Set(steps.filter((step) => step.kind === 'fault').map(({ target }) => target))).toEqual(new Set(targets));
  });

  it.each(seeds)('asks only for what can be asked for, and knows what comes of it (seed %s)', (seed) => {
    const { steps, wanted } = planWalk(seed, size);
    const there = new Map<string, 'Started' | 'Stopped'>();
    for (const { name, operation } of steps.filter(isOperation)) {
      expect(there.has(name)).toBe(operation !== 'create');
      if (operation === 'start') expect(there.get(name)).toBe('Stopped');
      if (operation === 'stop' || operation === 'restart') expect(there.get(name)).toBe('Started');
      if (operation === 'delete') there.delete(name);
      else there.set(name, operation === 'stop' ? 'Stopped' : 'Started');
    }
    expect(wanted).toEqual(there);
  });
});
