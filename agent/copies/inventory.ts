import type { Amounts, CopyReport, RunnerReport } from '../proto/gen/berth/agent/v1/agent.ts';
import type { ResourceAmounts } from '../../crds/index.ts';

export function amountsMessage({ cpuMillis, memoryBytes, diskBytes }: ResourceAmounts): Amounts {
  return { cpuMillis: cpuMillis, memoryBytes, diskBytes };
}

/** Nothing of it is new. */
export function isSameReport(a: CopyReport, b: CopyReport): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export function isSameRunner(a: RunnerReport, b: RunnerReport): boolean {
  return (
    isSameAmounts(a.capacity, b.capacity) &&
    isSameAmounts(a.allocated, b.allocated) &&
    a.startedSandboxes === b.startedSandboxes &&
    a.tasks?.seq === b.tasks?.seq &&
    a.images.length === b.images.length &&
    a.images.every((image, index) => image === b.images[index])
  );
}

function isSameAmounts(a: Amounts | undefined, b: Amounts | undefined): boolean {
  return a?.cpuMillis === b?.cpuMillis && a?.memoryBytes === b?.memoryBytes && a?.diskBytes === b?.diskBytes;
}
