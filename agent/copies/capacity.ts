import type { ResourceAmounts } from '../../crds/index.ts';
import { add, NOTHING, takenBy } from '../../crds/resources.ts';

/** What one copy takes of the runner. */
export interface Share {
  readonly requests: ResourceAmounts;
  /** Prepared, running or about to be: everything. Stopped: the disk only. */
  readonly isActive: boolean;
}

/** What all copies take together. */
export function allocated(shares: readonly Share[]): ResourceAmounts {
  return shares.map(({ requests, isActive }) => takenBy(requests, isActive)).reduce(add, NOTHING);
}

/** What `wanted` is too much of, in a sentence; undefined when it fits beside `others`. */
export function misfit(capacity: ResourceAmounts, others: readonly Share[], wanted: ResourceAmounts): string | undefined {
  const taken = allocated(others);
  const lacking = [
    lack('cpu', 'm', capacity.cpuMillis - taken.cpuMillis, wanted.cpuMillis),
    lack('memory', ' bytes', capacity.memoryBytes - taken.memoryBytes, wanted.memoryBytes),
    lack('disk', ' bytes', capacity.diskBytes - taken.diskBytes, wanted.diskBytes),
  ].filter((text) => text !== undefined);
  return lacking.length === 0 ? undefined : `The runner has no room: ${lacking.join(', ')}.`;
}

function lack(what: string, unit: string, free: number, wanted: number): string | undefined {
  return wanted > free ? `${what} ${wanted}${unit} wanted and ${Math.max(0, free)}${unit} free` : undefined;
}
