import { describe, expect, it } from '@jest/globals';
import { planOf, smallScale } from './plan.ts';
import { shrink } from './shrink.ts';

describe('shrink', () => {
  it('cuts everything but what the failure needs', async () => {
    const plan = planOf('shrink', smallScale);
    const needed = [plan.faults[3], plan.operations[0], plan.operations[17]];
    let tried = 0;
    const small = await shrink(plan, ({ faults, operations }) => {
      tried++;
      return Promise.resolve(needed.every((one) => [...faults, ...operations].includes(one as never)));
    });
    expect(small.faults).toEqual([plan.faults[3]]);
    expect(small.operations).toEqual([plan.operations[0], plan.operations[17]]);
    expect(tried).toBeLessThanOrEqual(200);
  });

  it('stops at its budget with a plan that still fails', async () => {
    const plan = planOf('shrink', smallScale);
    let tried = 0;
    const small = await shrink(
      plan,
      ({ operations }) => {
        tried++;
        return Promise.resolve(operations.length === plan.operations.length);
      },
      7,
    );
    expect(tried).toBe(7);
    expect(small.operations).toHaveLength(plan.operations.length);
  });
});

describe('planOf', () => {
  it('is the same for the same seed, has its numbers, and another for another seed', () => {
    const plan = planOf('a', smallScale);
    expect(planOf('a', smallScale)).toEqual(plan);
    expect(plan.operations).toHaveLength(smallScale.operations);
    expect(plan.faults).toHaveLength(smallScale.faults);
    expect(planOf('b', smallScale).operations).not.toEqual(plan.operations);
  });
});
