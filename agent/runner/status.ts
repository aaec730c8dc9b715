import {
  CONNECTION_CONDITION_PREFIX,
  formatBytes,
  formatMillicores,
  PRESSURE_CONDITIONS,
  type PressureConditionType,
  type RunnerReason,
  type RunnerStatus,
  type UnclaimedCopy,
} from '../../crds/index.ts';
import { findCondition, setCondition } from '../../kube/conditions.ts';
import { timestamp } from '../../kube/time.ts';
import type { Condition } from '../../kube/types.ts';
import type { MachineReport } from './machine-report.ts';
import type { CopyKey } from '../copies/runtime.ts';
import type { TaskCapacity } from '../proto/gen/berth/agent/v1/tasks.ts';
import { CopyState, type Amounts, type CopyReport, type RunnerReport } from '../proto/gen/berth/agent/v1/agent.ts';

/** Who the agent is, for as long as it runs. */
export interface AgentIdentity {
  readonly storeID: string;
  readonly incarnation: number;
  readonly agentID: string;
  readonly bootID: string;
  readonly version: string;
}

/** One operator pod, as the agent's connection to it is. */
export interface ConnectionState {
  /** The dialled address as it stands in names: `10-244-1-5-3001`. */
  readonly id: string;
  readonly isConnected: boolean;
  readonly reason: RunnerReason;
  readonly message: string;
}

export interface RunnerFacts {
  readonly identity: AgentIdentity;
  readonly report: RunnerReport;
  readonly taskSlots: number;
  readonly connections: readonly ConnectionState[];
  /** Every copy on the runner. */
  readonly copies: readonly CopyReport[];
  /** Those of them that nobody claims; undefined while that is not known. */
  readonly unclaimed: readonly CopyKey[] | undefined;
  /** Undefined while it was not looked how full the machine is. */
  readonly machine: MachineReport | undefined;
}

/** What the agent says in its Runner's status beside its connections and the conditions. */
export type OwnStatus = Required<
  Pick<
    RunnerStatus,
    'storeID' | 'incarnation' | 'agentID' | 'bootID' | 'version' | 'capacity' | 'allocated' | 'startedSandboxes' | 'tasks' | 'unclaimed'
  >
> &
  Pick<RunnerStatus, 'usage'>;

/** `before` is the list that is stored: it has the times at which copies were first seen unclaimed. */
export function ownStatus(
  { identity, report, taskSlots, copies, unclaimed, machine }: RunnerFacts,
  before: readonly UnclaimedCopy[],
  nowMs: number,
): OwnStatus {
  return {
    ...identity,
    capacity: amounts(report.capacity),
    allocated: amounts(report.allocated),
    ...(machine !== undefined && {
      usage: { memory: formatBytes(machine.memoryBytes), disk: formatBytes(machine.diskBytes), pids: machine.pids },
    }),
    startedSandboxes: report.startedSandboxes,
    tasks: tasksOf(report.tasks, taskSlots),
    unclaimed: unclaimedCopies(copies, unclaimed ?? before, before, nowMs),
  };
}

/** A slot that somebody has reserved is in use. */
function tasksOf(capacity: TaskCapacity | undefined, taskSlots: number): NonNullable<RunnerStatus['tasks']> {
  const { slots, used, reserved, queued } = capacity ?? { slots: taskSlots, used: 0, reserved: 0, queued: 0 };
  return { slots, used: used + reserved, queued, summary: `${used + reserved}/${slots}` };
}

const mostUnclaimed = 1024;

/** What lies there of the copies that nobody claims. While nobody knows, what is stored stays said. */
function unclaimedCopies(
  copies: readonly CopyReport[],
  unclaimed: readonly CopyKey[],
  before: readonly UnclaimedCopy[],
  nowMs: number,
): readonly UnclaimedCopy[] {
  return copies
    .filter(({ uid, epoch }) => unclaimed.some((one) => one.uid === uid && one.epoch === epoch))
    .slice(0, mostUnclaimed)
    .map(({ uid, epoch, namespace, name, contentVersion, state }) => ({
      ...{ uid, epoch, namespace, name, contentVersion },
      state: state === CopyState.COPY_STATE_RUNNING || state === CopyState.COPY_STATE_STOPPING ? 'Running' : 'Stopped',
      startTime: before.find((one) => one.uid === uid && one.epoch === epoch)?.startTime ?? timestamp(nowMs),
    }));
}

/** Whether the stored conditions say what was written: not when somebody has called the connections unknown meanwhile. */
export function areStored(written: readonly Condition[], stored: readonly Condition[]): boolean {
  return written.every(({ type, status, reason }) => {
    const condition = findCondition(stored, type);
    return condition?.status === status && condition.reason === reason;
  });
}

/** One condition per operator pod; those of pods that are not known any more are left out. `before` keeps the times of last transitions. */
export function connectionConditions(
  before: readonly Condition[],
  connections: readonly ConnectionState[],
  nowMs: number,
): readonly Condition[] {
  const types = new Set(connections.map(({ id }) => typeOf(id)));
  const kept = before.filter(({ type }) => types.has(type));
  return connections.reduce<readonly Condition[]>(
    (all, { id, isConnected, reason, message }) =>
      setCondition(all, { type: typeOf(id), status: isConnected ? 'True' : 'False', reason, message }, nowMs),
    kept.length === before.length ? before : kept,
  );
}

/** How many of the operator pods are connected. It goes with their conditions, so that what becomes of a connection is one write. */
export function connectionCounts(connections: readonly ConnectionState[]): NonNullable<RunnerStatus['connections']> {
  const known = connections.length;
  const connected = connections.filter(({ isConnected }) => isConnected).length;
  return { connected, known, summary: `${connected}/${known}` };
}

const pressureClaims = {
  DiskPressure: {
    True: { reason: 'DiskAlmostFull', message: 'Less than a tenth of the disk with the sandboxes, or of its inodes a twentieth, is free.' },
    False: { reason: 'SufficientDisk', message: 'There is room on the disk with the sandboxes.' },
  },
  MemoryPressure: {
    True: { reason: 'MemoryAlmostFull', message: 'Less than a twentieth of the memory of the machine is available.' },
    False: { reason: 'SufficientMemory', message: 'There is memory.' },
  },
  PIDPressure: {
    True: { reason: 'PIDsAlmostUsed', message: 'Less than a tenth of the process numbers of the machine is free.' },
    False: { reason: 'SufficientPIDs', message: 'Processes can be started.' },
  },
} as const satisfies Record<PressureConditionType, Record<'True' | 'False', { readonly reason: RunnerReason; readonly message: string }>>;

/** One condition for each thing that the machine may be short of. */
export function pressureConditions(before: readonly Condition[], machine: MachineReport | undefined, nowMs: number): readonly Condition[] {
  if (machine === undefined) return before;
  return PRESSURE_CONDITIONS.reduce<readonly Condition[]>((all, type) => {
    const status = machine.pressures[type].isPressed ? 'True' : 'False';
    return setCondition(all, { type, status, ...pressureClaims[type][status] }, nowMs);
  }, before);
}

/** Whether a condition is one that the agent writes. */
export function isConnection({ type }: Condition): boolean {
  return type.startsWith(CONNECTION_CONDITION_PREFIX);
}

export function isPressure({ type }: Condition): boolean {
  return PRESSURE_CONDITIONS.some((one) => one === type);
}

function typeOf(id: string): string {
  return `${CONNECTION_CONDITION_PREFIX}${id}`;
}

function amounts(of: Amounts | undefined): OwnStatus['capacity'] {
  const { cpuMillis = 0, memoryBytes = 0, diskBytes = 0 } = of ?? {};
  return { cpu: formatMillicores(cpuMillis), memory: formatBytes(memoryBytes), disk: formatBytes(diskBytes) };
}
