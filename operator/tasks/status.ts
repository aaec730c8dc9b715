import type { z } from 'zod';
import type { TaskSlots } from '../hub/facts.ts';
import type { statusSchema } from './schemas.ts';

export type FleetStatus = z.output<typeof statusSchema>;

/** What the newest agent of a runner has told on its own stream to this pod. */
export interface AgentView {
  readonly instanceID: string;
  readonly runnerName: string;
  readonly agentID: string;
  readonly storeID: string;
  readonly incarnation: number;
  readonly ageMs: number;
  /** Undefined: it has told nothing yet, or knows of no tasks. */
  readonly slots: TaskSlots | undefined;
  readonly startedSandboxes: number;
}

export interface StatusInput {
  readonly operator: FleetStatus['operator'];
  readonly agents: readonly AgentView[];
  /** Names of the runners that are ready. */
  readonly ready: readonly string[];
  readonly waiting: number;
}

/** The fleet as this pod knows it: each disk once, by the newest start of its agent. */
export function statusOf({ operator, agents, ready, waiting }: StatusInput): FleetStatus {
  const newest = agents.filter(
    (agent) => !agents.some((other) => other.storeID === agent.storeID && other.incarnation > agent.incarnation),
  );
  const runners = newest.flatMap((agent) => {
    if (agent.slots === undefined) return [];
    const { runnerName, storeID, agentID, incarnation, ageMs, startedSandboxes, slots } = agent;
    const counts = { slots: slots.slots, used: slots.used, reserved: slots.reserved, free: free(slots), queued: slots.queued };
    return [{ runnerName, ...counts, storeID, agentID, incarnation, seq: slots.seq, ageSeconds: ageMs / 1000, startedSandboxes }];
  });
  const sorted = runners.toSorted((one, other) => (one.runnerName < other.runnerName ? -1 : 1));
  const sum = (field: 'slots' | 'used' | 'reserved' | 'free' | 'queued') => sorted.reduce((total, runner) => total + runner[field], 0);
  const known = new Set(runners.map(({ runnerName }) => runnerName));
  const missing = ready.filter((name) => !known.has(name)).toSorted();
  return {
    operator,
    instances: agents
      .map(({ instanceID, runnerName, agentID, storeID, incarnation, ageMs }) => ({
        ...{ instanceID, runnerName, agentID, storeID, incarnation },
        ageSeconds: ageMs / 1000,
      }))
      .toSorted((one, other) => (one.instanceID < other.instanceID ? -1 : 1)),
    fleet: { slots: sum('slots'), used: sum('used'), reserved: sum('reserved'), free: sum('free'), queued: sum('queued'), runners: sorted },
    complete: missing.length === 0,
    missing,
    waiting,
  };
}

/** Never less than none: the administrator may have taken slots away that are held. */
function free({ slots, used, reserved }: TaskSlots): number {
  return Math.max(0, slots - used - reserved);
}
