import type { Plan } from './plan.ts';

interface Part {
  readonly list: 'operations' | 'faults';
  readonly index: number;
}

/**
 * The smallest plan found that still fails: operations and faults are cut in ever smaller pieces as long as `stillFails` says so (delta debugging).
 * `budget` bounds how many histories are tried.
 */
export async function shrink(plan: Plan, stillFails: (plan: Plan) => Promise<boolean>, budget = 200): Promise<Plan> {
  let parts: readonly Part[] = [
    ...plan.faults.map((_, index) => ({ list: 'faults' as const, index })),
    ...plan.operations.map((_, index) => ({ list: 'operations' as const, index })),
  ];
  let pieces = 2;
  for (let left = budget; parts.length > 0 && left > 0;) {
    const size = Math.max(1, Math.ceil(parts.length / pieces));
    let smaller: readonly Part[] | undefined;
    for (let from = 0; from < parts.length && left > 0 && smaller === undefined; from += size, left--) {
      const rest = [...parts.slice(0, from), ...parts.slice(from + size)];
      if (await stillFails(keep(plan, rest))) smaller = rest;
    }
    if (smaller !== undefined) {
      parts = smaller;
      pieces = Math.max(2, pieces - 1);
    } else if (size === 1) break;
    else pieces = Math.min(parts.length, pieces * 2);
  }
  return keep(plan, parts);
}

function keep(plan: Plan, parts: readonly Part[]): Plan {
  const kept = new Set(parts.map(({ list, index }) => `${list}/${index}`));
  return {
    ...plan,
    operations: plan.operations.filter((_, index) => kept.has(`operations/${index}`)),
    faults: plan.faults.filter((_, index) => kept.has(`faults/${index}`)),
  };
}
