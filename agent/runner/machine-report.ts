import type { PressureConditionType } from '../../crds/index.ts';

/** How much of something the machine has is used, in its own unit. */
export interface Use {
  readonly used: number;
  readonly total: number;
}

/** The machine at one moment, whoever uses it. */
export interface MachineUse {
  readonly memory: Use;
  /** Of the file system with the sandboxes. */
  readonly disk: Use;
  readonly inodes: Use;
  /** Processes and threads. */
  readonly pids: Use;
}

/** What is published of it. */
export interface MachineReport {
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly pids: number;
  readonly pressures: Readonly<Record<PressureConditionType, Pressure>>;
}

export interface Pressure {
  readonly isPressed: boolean;
  /** Monotonic, in milliseconds: when it was pressed last; undefined when it never was. */
  readonly seenAt: number | undefined;
}

/** Numbers are told in steps of a twentieth, and only when they have moved by a whole step: so an idle machine is silent. */
const steps = 20;
/** A pressure that has gone is told for as long as this, so that what comes and goes is told once. */
const transitionMs = 300_000;
/** Free shares below which something is short. */
const free = { disk: 0.1, inodes: 0.05, memory: 0.05, pids: 0.1 } as const;

/** What is published now; `before` itself when nothing of it has changed. */
export function reportMachine(before: MachineReport | undefined, use: MachineUse, now: number): MachineReport {
  return {
    memoryBytes: inSteps(before?.memoryBytes, use.memory),
    diskBytes: inSteps(before?.diskBytes, use.disk),
    pids: inSteps(before?.pids, use.pids),
    pressures: {
      DiskPressure: pressure(before?.pressures.DiskPressure, isShort(use.disk, free.disk) || isShort(use.inodes, free.inodes), now),
      MemoryPressure: pressure(before?.pressures.MemoryPressure, isShort(use.memory, free.memory), now),
      PIDPressure: pressure(before?.pressures.PIDPressure, isShort(use.pids, free.pids), now),
    },
  };
}

/** Whether anybody would see a difference. */
export function isSameMachine(a: MachineReport | undefined, b: MachineReport): boolean {
  if (a === undefined) return false;
  const types = Object.keys(b.pressures) as PressureConditionType[];
  const isPressed = types.every((type) => a.pressures[type].isPressed === b.pressures[type].isPressed);
  return isPressed && a.memoryBytes === b.memoryBytes && a.diskBytes === b.diskBytes && a.pids === b.pids;
}

function inSteps(before: number | undefined, { used, total }: Use): number {
  const step = total / steps;
  if (before !== undefined && Math.abs(used - before) < step) return before;
  return step === 0 ? 0 : Math.round(Math.round(used / step) * step);
}

function isShort({ used, total }: Use, share: number): boolean {
  return total > 0 && total - used < total * share;
}

function pressure(before: Pressure | undefined, isNow: boolean, now: number): Pressure {
  if (isNow) return { isPressed: true, seenAt: now };
  const seenAt = before?.seenAt;
  return { isPressed: seenAt !== undefined && now - seenAt < transitionMs, seenAt };
}
