import { messageOf } from '../../process/errors.ts';
import { unsettled } from './checks/settled.ts';
import type { Violation } from './checks/violation.ts';
import { Faults } from './faults.ts';
import { operate } from './users.ts';
import { World } from './world.ts';
import type { Programs } from './world.ts';
import type { Plan } from './plan.ts';

/** How a history ended. */
export interface Outcome {
  readonly plan: Plan;
  readonly violation: Violation | undefined;
  /** Equal for equal histories. */
  readonly hash: string;
  readonly counts: World['counts'] & { readonly starts: number; readonly happenings: number; readonly virtualMs: number };
  /** The story, one line for each thing that happened. */
  readonly lines: (want?: (actor: string, text: string) => boolean) => string[];
}

/** After the faults, so much virtual time to come to rest; the longest back-off is five minutes. */
const settleMs = 40 * 60_000;
const stepMs = 20_000;
/** Without a write for so long, nothing is going on any more: longer than the longest back-off and than every deadline but one. */
const quietMs = 6 * 60_000;
/** A history in which more happens spins. */
const mostHappenings = 3_000_000;

/** Executes a plan with these programs until a rule is broken or all is at rest. */
export async function runHistory(plan: Plan, programs: Programs): Promise<Outcome> {
  const world = new World(plan, programs);
  const { scheduler, violations } = world;
  const faults = new Faults(world);
  world.onOrderSent((runner, message) => faults.sent(runner, message));
  const crashed = (error: unknown) => violations.add('NoCrash', error instanceof Error ? (error.stack ?? error.message) : messageOf(error));
  const isOver = () => violations.found.length > 0 || scheduler.fired > mostHappenings;
  process.on('unhandledRejection', crashed);
  try {
    world.boot();
    for (const operation of plan.operations) scheduler.after(operation.at, () => operate(world, operation));
    for (const fault of plan.faults) scheduler.after(fault.at, () => faults.begin(fault));
    await scheduler.run(plan.scale.virtualMs, isOver);
    if (!isOver()) await settle(world, faults, isOver);
    if (scheduler.fired > mostHappenings) violations.add('Quiet', `more than ${mostHappenings} things happened`);
  } catch (error) {
    crashed(error);
  } finally {
    process.off('unhandledRejection', crashed);
  }
  const [violation] = violations.found;
  if (violation !== undefined) world.trace.add('VIOLATION', `${violation.rule}: ${violation.text}`);
  return {
    plan,
    violation,
    hash: world.trace.hash,
    counts: { ...world.counts, starts: world.fleet.starts, happenings: scheduler.fired, virtualMs: scheduler.now },
    lines: (want) => world.trace.lines(want),
  };
}

async function settle(world: World, faults: Faults, isOver: () => boolean): Promise<void> {
  const { scheduler, violations } = world;
  faults.heal();
  world.stopWhatNeverRests();
  const begin = scheduler.now;
  const end = begin + settleMs;
  while (scheduler.now < end) {
    await scheduler.run(scheduler.now + stepMs, isOver);
    if (isOver()) return;
    if (scheduler.now >= begin + quietMs && world.unrest(quietMs) === undefined && unsettled(world).length === 0) return;
  }
  const [first] = unsettled(world);
  if (first !== undefined) violations.add(first.rule, first.text, first.uid);
  else violations.add('Quiet', `written although all is at rest: ${world.unrest(quietMs) ?? 'nothing any more'}`);
}
