import type { ResourceAmounts } from '../../crds/index.ts';

/** What one copy takes of the runner. */
export interface Share {
  readonly requests: ResourceAmounts;
  /** Prepared, running or about to be: everything. Stopped: the disk only. */
  readonly isActive: boolean;
}

export const nothing: ResourceAmounts = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };

export function sumOf(amounts: readonly ResourceAmounts[]): ResourceAmounts {
  return amounts.reduce(
    (sum, one) => ({
      cpuMillis: sum.cpuMillis + one.cpuMillis,
      memoryBytes: sum.memoryBytes + one.memoryBytes,
      diskBytes: sum.diskBytes + one.diskBytes,
    }),
    nothing,
  );
}

/** What all copies take together. */
export function allocated(shares: readonly Share[]): ResourceAmounts {
  return sumOf(shares.map(({ requests, isActive }) => (isActive ? requests : { ...nothing, diskBytes: requests.diskBytes })));
}

/** What is set aside for task slots. */
export function forSlots(slots: number, slot: Omit<ResourceAmounts, 'diskBytes'>): ResourceAmounts {
  return { cpuMillis: slots * slot.cpuMillis, memoryBytes: slots * slot.memoryBytes, diskBytes: 0 };
}

/** What the machine has for sandboxes. */
export function forSandboxes(machine: ResourceAmounts, reserved: ResourceAmounts): ResourceAmounts {
  return {
    cpuMillis: Math.max(0, machine.cpuMillis - reserved.cpuMillis),
    memoryBytes: Math.max(0, machine.memoryBytes - reserved.memoryBytes),
    diskBytes: Math.max(0, machine.diskBytes - reserved.diskBytes),
  };
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
