import type { Violation } from './checks/violation.ts';
import { Random } from './engine/random.ts';
import { servingShape as shape, type Operation, type Plan } from './plan.ts';
import { programsWith } from './programs/index.ts';
import { operate } from './users.ts';
import { World } from './world.ts';

/** Sandboxes that all begin on one of some equal runners, with more of them Started there than it should have, and are stopped and started again and again. */
export interface Demand {
  readonly sandboxes: number;
  readonly runners: number;
  /** `spec.maxStarted` of every runner. All sandboxes fit below. */
  readonly maxStarted: number;
  readonly rounds: number;
}

export interface Balanced {
  /** How often each sandbox was moved for load. */
  readonly moves: readonly number[];
  /** How many are Started on each runner in the end. */
  readonly started: readonly number[];
  readonly violation: Violation | undefined;
}

const connectMs = 20_000;
/** For the first start of all, on one runner. */
const gatherMs = 120_000;
/** A stop, with its backup, and a start. */
const turnMs = 90_000;
const roundMs = 300_000;
const stepMs = 250;

/** Runs the demand in a fleet of the real programs over modelled machines; each sandbox has its turn in each round at a random moment. */
export async function balance(demand: Demand, seed: string): Promise<Balanced> {
  const plan = planOf(demand, seed);
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
  await scheduler.run(connectMs, isOver);
  for (const operation of plan.operations) scheduler.after(operation.at, () => operate(world, operation));
  const end = connectMs + plan.scale.virtualMs;
  while (scheduler.now < end && !isOver()) {
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

function planOf({ sandboxes, runners, maxStarted, rounds }: Demand, seed: string): Plan {
  const random = new Random(`balance ${seed}`);
  const all = Array.from({ length: runners }, (_, runner) => runner);
  const others = all.slice(1);
  const slots = Array.from({ length: sandboxes }, (_, slot) => slot);
  const turns = Array.from({ length: rounds }, (_, round) => round).flatMap((round) =>
    slots.flatMap((slot): readonly Operation[] => {
      const at = gatherMs + round * roundMs + random.between(0, roundMs - turnMs);
      return [
        { at, kind: 'stop', slot, shape },
        { at: at + turnMs, kind: 'start', slot, shape },
      ];
    }),
  );
  const operations: readonly Operation[] = [
    ...all.map((runner): Operation => ({ at: 0, kind: 'maxStarted', runner, count: maxStarted })),
    ...others.map((runner): Operation => ({ at: 0, kind: 'cordon', runner })),
    ...slots.map((slot): Operation => ({ at: 5_000, kind: 'create', slot, shape })),
    ...others.map((runner): Operation => ({ at: gatherMs - 1_000, kind: 'uncordon', runner })),
    ...turns,
  ];
  const virtualMs = gatherMs + (rounds + 1) * roundMs;
  return {
    seed,
    scale: { runners, operators: 2, sandboxes, operations: operations.length, faults: 0, virtualMs, pace: 1 },
    operations,
    faults: [],
  };
}
