import { amountsOf, type ResourceAmounts } from './meta.ts';
import type { RunnerSpec } from './runner.ts';

/**
 * Arithmetic on what runners have and sandboxes take, and the two rules by which it is counted. The operator, which places, and the agent, which
 * admits, count with the same ones: where they disagreed, a sandbox would be sent to a runner that refuses it again and again.
 */

export const NOTHING: ResourceAmounts = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };

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

/** What a sandbox takes of its runner: all that it requests while it runs or is about to (`isActive`), its disk while it lies there. */
export function takenBy(requests: ResourceAmounts, isActive: boolean): ResourceAmounts {
  return isActive ? requests : { ...NOTHING, diskBytes: requests.diskBytes };
}

/** What is set aside for task slots and never given to sandboxes: slots have no disk of their own. */
export function setAsideForTasks(spec: Pick<RunnerSpec, 'taskSlots' | 'taskSlotResources'>): ResourceAmounts {
  const slot = amountsOf({ ...spec.taskSlotResources, disk: 0 });
  return { cpuMillis: spec.taskSlots * slot.cpuMillis, memoryBytes: spec.taskSlots * slot.memoryBytes, diskBytes: 0 };
}

function combine(left: ResourceAmounts, right: ResourceAmounts, by: (a: number, b: number) => number): ResourceAmounts {
  return {
    cpuMillis: by(left.cpuMillis, right.cpuMillis),
    memoryBytes: by(left.memoryBytes, right.memoryBytes),
    diskBytes: by(left.diskBytes, right.diskBytes),
  };
}
