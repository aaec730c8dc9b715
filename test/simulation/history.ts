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
  readonly counts: Counts;
  /** The story, one line for each thing that happened. */
  readonly lines: (want?: (actor: string, text: string) => boolean) => string[];
}

/** What a history was made of. */
export type Counts = World['counts'] &
  Record<'runners' | 'operators' | 'sandboxes' | 'starts' | 'backups' | 'moves' | 'happenings' | 'virtualMs', number>;

function countsOf(world: World): Counts {
  return {
    ...world.counts,
    runners: world.nodes.filter(({ starts }) => starts > 0).length,
    operators: world.pods.filter(({ starts }) => starts > 0).length,
    sandboxes: world.created,
    starts: world.fleet.starts,
    backups: world.backups.records,
    moves: world.fleet.moves,
    happenings: world.scheduler.fired,
    virtualMs: world.scheduler.now,
  };
}

/** What a history that broke no rule fell short of its scale, in a sentence: it did not try what it should have. */
export function shortfall({ plan: { scale }, counts, violation }: Pick<Outcome, 'plan' | 'counts' | 'violation'>): string | undefined {
  if (violation !== undefined) return undefined;
  const keys = ['runners', 'operators', 'sandboxes', 'operations', 'faults', 'virtualMs'] as const;
  const less = keys.filter((key) => counts[key] < scale[key]).map((key) => `${counts[key]} of ${scale[key]} ${key}`);
  return less.length === 0 ? undefined : `only ${less.join(', ')}`;
}

/** After the faults, so much virtual time to come to rest; the longest back-off is five minutes. */
const settleMs = 40 * 60_000;
const stepMs = 20_000;
/** Long enough to connect, and for what is under way to go on. */
const calmMs = 30_000;
/** Without a write for so long, nothing is going on any more: longer than the longest back-off and than every deadline but one. */
const quietMs = 6 * 60_000;
/** When more happens within a minute of virtual time, something goes round and round. A busy minute has a few thousand happenings. */
const mostHappenings = 30_000;

/** Executes a plan with these programs until a rule is broken or all is at rest. */
export async function runHistory(plan: Plan, programs: Programs): Promise<Outcome> {
  const world = new World(plan, programs);
  const { scheduler, violations } = world;
  const faults = new Faults(world);
  world.onOrderSent((runner, message) => faults.sent(runner, message));
  const crashed = (error: unknown) => violations.add('NoCrash', error instanceof Error ? (error.stack ?? error.message) : messageOf(error));
  let minute = { from: 0, fired: 0 };
  const isOver = () => {
    if (scheduler.now >= minute.from + 60_000) minute = { from: scheduler.now, fired: scheduler.fired };
    else if (scheduler.fired > minute.fired + mostHappenings)
      violations.add('Calm', `more than ${mostHappenings} things happened in a minute`);
    return violations.found.length > 0;
  };
  process.on('unhandledRejection', crashed);
  try {
    world.boot();
    for (const operation of plan.operations) scheduler.after(operation.at, () => operate(world, operation));
    for (const fault of plan.faults) scheduler.after(fault.at, () => faults.begin(fault));
    await scheduler.run(plan.scale.virtualMs, isOver);
    if (!isOver()) await settle(world, faults, isOver);
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
    counts: countsOf(world),
    lines: (want) => world.trace.lines(want),
  };
}

/**
 * Everything is healed, every agent forgets what it did not write down, every order comes once more: and the fleet must come to rest, with all as it
 * is asked for.
 */
async function settle(world: World, faults: Faults, isOver: () => boolean): Promise<void> {
  const { scheduler, violations } = world;
  faults.heal();
  await scheduler.run(scheduler.now + calmMs, isOver);
  if (isOver()) return;
  for (const node of world.nodes) world.restartAgent(node, 1_000);
  await scheduler.run(scheduler.now + calmMs, isOver);
  if (isOver()) return;
  faults.replayAll();
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
