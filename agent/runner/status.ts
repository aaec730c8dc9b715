import { CONNECTION_CONDITION_PREFIX, formatBytes, formatMillicores, type RunnerReason, type RunnerStatus } from '../../crds/index.ts';
import { setCondition } from '../../kube/conditions.ts';
import type { Condition } from '../../kube/types.ts';
import type { Amounts, RunnerReport } from '../proto/gen/berth/agent/v1/agent.ts';

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
}

/** What the agent says in its Runner's status beside the conditions. */
export type OwnStatus = Required<
  Pick<
    RunnerStatus,
    'storeID' | 'incarnation' | 'agentID' | 'bootID' | 'version' | 'capacity' | 'allocated' | 'startedSandboxes' | 'tasks' | 'connections'
  >
>;

export function ownStatus({ identity, report, taskSlots, connections }: RunnerFacts): OwnStatus {
  const known = connections.length;
  const connected = connections.filter(({ isConnected }) => isConnected).length;
  return {
    ...identity,
    capacity: amounts(report.capacity),
    allocated: amounts(report.allocated),
    startedSandboxes: report.startedSandboxes,
    tasks: { slots: taskSlots, used: 0, queued: 0, summary: `0/${taskSlots}` },
    connections: { connected, known, summary: `${connected}/${known}` },
  };
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

function typeOf(id: string): string {
  return `${CONNECTION_CONDITION_PREFIX}${id}`;
}

function amounts(of: Amounts | undefined): OwnStatus['capacity'] {
  const { milliCpu = 0, memoryBytes = 0, diskBytes = 0 } = of ?? {};
  return { cpu: formatMillicores(milliCpu), memory: formatBytes(memoryBytes), disk: formatBytes(diskBytes) };
}
