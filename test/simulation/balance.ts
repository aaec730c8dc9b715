import type { Violation } from './checks/violation.ts';
import { demandPlan, type Demand } from './demand.ts';
import { programsWith } from './programs/index.ts';
import { operate } from './users.ts';
import { World } from './world.ts';

export interface Balanced {
  /** How often each sandbox was moved for load. */
  readonly moves: readonly number[];
  /** How many are Started on each runner in the end. */
  readonly started: readonly number[];
  readonly violation: Violation | undefined;
}

const stepMs = 250;

/** Runs the demand in a fleet of the real programs over modelled machines; each sandbox has its turn in each round at a random moment. */
export async function balance(demand: Demand, seed: string): Promise<Balanced> {
  const plan = demandPlan(demand, seed);
  const world = new World(plan, programsWith());
  const { scheduler, violations } = world;
  const isOver = () => violations.found.length > 0;
  const moves = new Map<string, Set<number>>();
  const look = () => {
    for (const { metadata, status } of world.sandboxes()) {
      const epochs = moves.get(metadata.uid) ?? new Set();
      moves.set(metadata.uid, epochs);
      if (status.assignment?.reason === 'LoadBalanced') epochs.add(status.assignment.epoch);
    }
  };
  world.boot();
  for (const operation of plan.operations) scheduler.after(operation.at, () => operate(world, operation));
  while (scheduler.now < plan.scale.virtualMs && !isOver()) {
    await scheduler.run(scheduler.now + stepMs, isOver);
    look();
  }
  const started = world.sandboxes().filter(({ status }) => status.state === 'Started');
  return {
    moves: [...moves.values()].map((epochs) => epochs.size),
    started: world.nodes.map(({ machine }) => started.filter(({ status }) => status.runnerName === machine.name).length),
    violation: violations.found[0],
  };
}
