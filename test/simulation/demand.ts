import { Random } from './engine/random.ts';
import { servingShape as shape, type Operation, type Plan } from './plan.ts';

/** Sandboxes that all begin on one of some equal runners, with more of them Started there than it should have, and are stopped and started again and again. */
export interface Demand {
  readonly sandboxes: number;
  readonly runners: number;
  /** `spec.maxStarted` of every runner. All sandboxes fit below. */
  readonly maxStarted: number;
  readonly rounds: number;
}

/** More than twice as many as one of them should have. */
export const constantDemand: Demand = { sandboxes: 12, runners: 3, maxStarted: 5, rounds: 6 };

/** For the agents to make themselves known. */
const connectMs = 20_000;
/** For the first start of all, on one runner. */
const gatherMs = connectMs + 120_000;
/** A stop, with its backup, and a start. */
const turnMs = 90_000;
const roundMs = 300_000;

/** The history of the demand: nothing goes wrong in it, and each sandbox has its turn in each round at a random moment. */
export function demandPlan({ sandboxes, runners, maxStarted, rounds }: Demand, seed: string): Plan {
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
    ...all.map((runner): Operation => ({ at: connectMs, kind: 'maxStarted', runner, count: maxStarted })),
    ...others.map((runner): Operation => ({ at: connectMs, kind: 'cordon', runner })),
    ...slots.map((slot): Operation => ({ at: connectMs + 5_000, kind: 'create', slot, shape })),
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
