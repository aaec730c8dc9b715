import { setAsideForTasks } from '../../crds/resources.ts';
import type { ResourceAmounts } from '../../crds/index.ts';
import type { Violation } from './checks/violation.ts';
import { servingShape, type Operation, type Plan, type Shape } from './plan.ts';
import { programsWith } from './programs/index.ts';
import { operate } from './users.ts';
import { asRunner, runners as runnerResource } from './models/objects.ts';
import type { Machine } from './models/machine.ts';
import { World } from './world.ts';

/** How many sandboxes of one size are created over how many equal runners, and within which virtual time. */
export interface Placement {
  readonly sandboxes: number;
  readonly runners: number;
  readonly memoryMi: number;
  readonly withinMs: number;
}

/** The placement that is measured: the disk, of which four fifths are taken in the end, is the dominant resource. */
export const evenLoad: Placement = { sandboxes: 1_000, runners: 50, memoryMi: 64, withinMs: 2_000 };

/** How a fleet was filled. */
export interface Filled {
  readonly started: number;
  /** Of each runner: the largest share of a resource that its sandboxes take. */
  readonly shares: readonly number[];
  readonly sandboxesPerRunner: readonly number[];
  readonly virtualMs: number;
  readonly violation: Violation | undefined;
}

const stepMs = 1_000;
const connectMs = 20_000;
const longestMs = 30 * 60_000;

/** Creates the sandboxes in a fleet of the real programs over modelled machines, at random moments, and waits until each is Started. */
export async function fill(placement: Placement, seed: string): Promise<Filled> {
  const plan = planOf(placement, seed);
  const world = new World(plan, programsWith());
  const { scheduler, violations } = world;
  const isOver = () => violations.found.length > 0;
  const started = () => world.sandboxes().filter(({ status }) => status.state === 'Started').length;
  world.boot();
  await scheduler.run(connectMs, isOver);
  for (const operation of plan.operations) scheduler.after(operation.at, () => operate(world, operation));
  while (scheduler.now < longestMs && !isOver() && (scheduler.now < connectMs + placement.withinMs || started() < placement.sandboxes)) {
    await scheduler.run(scheduler.now + stepMs, isOver);
  }
  const machines = world.nodes.map(({ machine }) => machine);
  return {
    started: started(),
    shares: machines.map((machine) => dominantShare(world, machine)),
    sandboxesPerRunner: machines.map(({ copies }) => copies.size),
    virtualMs: scheduler.now,
    violation: violations.found[0],
  };
}

/** Standard deviation by mean: 0 when all are equal. */
export function coefficientOfVariation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Math.sqrt(variance) / mean;
}

function planOf({ sandboxes, runners, memoryMi, withinMs }: Placement, seed: string): Plan {
  const shape: Shape = { ...servingShape, memoryMi, backup: 'Manual' };
  const operations = Array.from({ length: sandboxes }, (_, slot): Operation => ({
    at: Math.floor((slot * withinMs) / sandboxes),
    kind: 'create',
    slot,
    shape,
  }));
  const scale = { runners, operators: 2, sandboxes, operations: sandboxes, faults: 0, virtualMs: withinMs, pace: 1 };
  return { seed, scale, operations, faults: [] };
}

function dominantShare(world: World, { name, copies, capacity }: Machine): number {
  const runner = world.store.find(runnerResource, { name });
  const reserved = runner === undefined ? undefined : setAsideForTasks(asRunner(runner).spec);
  const shareOf = (amount: keyof ResourceAmounts) => {
    const taken = [...copies.values()].reduce((sum, { requests }) => sum + requests[amount], reserved?.[amount] ?? 0);
    return taken / capacity[amount];
  };
  return Math.max(shareOf('cpuMillis'), shareOf('memoryBytes'), shareOf('diskBytes'));
}
