import type { EffectiveResources, ResourceAmounts } from '../../crds/index.ts';

/** Arithmetic on what runners have and sandboxes take. */

export const NOTHING: ResourceAmounts = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };

/** A resource as people call it, in the order in which a lack of it is told. */
const DIMENSIONS = [
  { key: 'cpuMillis', name: 'cpu' },
  { key: 'memoryBytes', name: 'memory' },
  { key: 'diskBytes', name: 'disk' },
] as const;
export type ResourceName = (typeof DIMENSIONS)[number]['name'];

export function add(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  return combine(left, right, (a, b) => a + b);
}

/** Never below zero. */
export function subtract(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  return combine(left, right, (a, b) => Math.max(0, a - b));
}

/** The larger of each. */
export function larger(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  return combine(left, right, Math.max);
}

/** The first resource of which `wanted` is more than `free`, or undefined when it fits. */
export function lacking(wanted: ResourceAmounts, free: ResourceAmounts): ResourceName | undefined {
  return DIMENSIONS.find(({ key }) => wanted[key] > free[key])?.name;
}

/** The share of the resource that is taken most of, from 0; a resource that the runner does not have counts only when it is taken. */
export function dominantShare(taken: ResourceAmounts, capacity: ResourceAmounts): number {
  return Math.max(...DIMENSIONS.map(({ key }) => (taken[key] === 0 ? 0 : taken[key] / Math.max(1, capacity[key]))));
}

/** What a sandbox takes of its runner: all that it requests while it runs or is about to, its disk while it lies there. */
export function takenBy(resources: Pick<EffectiveResources, 'requests'>, runs: boolean): ResourceAmounts {
  return runs ? resources.requests : { ...NOTHING, diskBytes: resources.requests.diskBytes };
}

function combine(left: ResourceAmounts, right: ResourceAmounts, by: (a: number, b: number) => number): ResourceAmounts {
  return {
    cpuMillis: by(left.cpuMillis, right.cpuMillis),
    memoryBytes: by(left.memoryBytes, right.memoryBytes),
    diskBytes: by(left.diskBytes, right.diskBytes),
  };
}
