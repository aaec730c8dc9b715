import type { ResourceAmounts } from '../../crds/index.ts';

/** A resource as people call it, in the order in which a lack of it is told. */
const DIMENSIONS = [
  { key: 'cpuMillis', name: 'cpu' },
  { key: 'memoryBytes', name: 'memory' },
  { key: 'diskBytes', name: 'disk' },
] as const;
export type ResourceName = (typeof DIMENSIONS)[number]['name'];

/** The first resource of which `wanted` is more than `free`, or undefined when it fits. */
export function lacking(wanted: ResourceAmounts, free: ResourceAmounts): ResourceName | undefined {
  return DIMENSIONS.find(({ key }) => wanted[key] > free[key])?.name;
}

/** The share of the resource that is taken most of, from 0; a resource that the runner does not have counts only when it is taken. */
export function dominantShare(taken: ResourceAmounts, capacity: ResourceAmounts): number {
  return Math.max(...DIMENSIONS.map(({ key }) => (taken[key] === 0 ? 0 : taken[key] / Math.max(1, capacity[key]))));
}
