import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type OperatorFailpoint, operatorFailpoints } from '../../operator/failpoints.ts';
import { remembering } from './a-sandbox.ts';
import { CrashTest, type Occasion, rowsOf } from './crash/crash-case.ts';
import { isOperatorStep, type OperatorStep } from './crash/moves.ts';
import { type Transition, transitions } from './crash/transitions.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

const policyBinding = 'mutatingadmissionpolicybinding';

const operatorTransitions = {
  ...transitions,
  'operator start': {
    ...transitions.start,
    ask: async (world, { name }) => {
      const [operator] = world.cluster.operators;
      await operator?.kill();
      await world.user.create(remembering(name, world.image));
      await operator?.launch();
    },
  },
  /** Where the cluster has no policy that adds the finalizer. */
  'start without a finalizer': {
    ...transitions.start,
    ask: async (world, { name }) => {
      await world.user.kubectl('delete', policyBinding, '--all');
      await eventually('a sandbox is made without a finalizer', async () => {
        const dry = await world.user.try(
          ['create', '--dry-run=server', '-o', 'json', '-f', '-'],
          JSON.stringify(remembering(name, world.image)),
        );
        return dry.stdout.includes('finalizers') ? undefined : true;
      });
      await world.user.create(remembering(name, world.image));
    },
  },
  'delete while the runner is away': {
    ...transitions.delete,
    prepare: async (world, ref) => {
      await transitions.delete.prepare(world, ref);
      await world.cluster.runner('runner-1').agent.stop();
    },
    after: ({ cluster }) => cluster.runner('runner-1').agent.start(),
  },
  'return of the runner': {
    ...transitions.delete,
    prepare: async (world, ref) => {
      await transitions.delete.prepare(world, ref);
      await world.cluster.runner('runner-1').agent.stop();
      await transitions.delete.ask(world, ref);
      await transitions.delete.done(world, ref);
    },
    ask: ({ cluster }) => cluster.runner('runner-1').agent.launch(),
    done: async (world) => {
      await eventually('the runner has nothing to remove', async () => {
        return (await world.user.runner('runner-1')).status.removals.length === 0 ? true : undefined;
      });
      return undefined;
    },
  },
} as const satisfies Record<string, Transition>;

/** Those of backups and moves have their cases in a suite of their own. */
type StartFailpoint = Exclude<OperatorFailpoint, OperatorStep>;

/** In which transitions the operator dies at each place. A failpoint that is not named here does not compile, and fails below. */
const cases: Readonly<Record<StartFailpoint, readonly Occasion<keyof typeof operatorTransitions>[]>> = {
  'term.begun': ['operator start'],
  'decision.made': ['start', 'start:2', 'stop', 'delete', 'delete:2'],
  'preparation.sent': ['start', 'start again'],
  'status.acknowledged': ['start', 'start:2', 'start again', 'restart', 'restart:2', 'restart:3', 'stop', 'stop:2', 'delete'],
  'events.recorded': ['start', 'stop'],
  'orders.sent': ['start', 'start again', 'restart:2', 'stop', 'delete'],
  'finalizer.added': ['start without a finalizer'],
  'removals.noted': ['delete while the runner is away'],
  'finalizer.removed': ['delete', 'delete while the runner is away'],
  'removals.dropped': ['return of the runner'],
  'removals.ordered': ['return of the runner'],
};

describe('an operator that is killed between two effects, and the next leader', () => {
  let crash: CrashTest;
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      failpoints: true,
      operatorEnv: { BERTH_LEASE_SECONDS: '3', BERTH_PATIENCE_SECONDS: '2', BERTH_DELETING_SECONDS: '4' },
    });
    const [operator] = world.cluster.operators;
    if (operator === undefined) throw new Error('there is an operator');
    crash = await CrashTest.of(world, operator);
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('has a case for every failpoint of the operator', () => {
    expect(Object.keys(cases)).toEqual(operatorFailpoints.filter((name) => !isOperatorStep(name)));
    expect(Object.entries(cases).filter(([, occasions]) => occasions.length === 0)).toEqual([]);
  });

  it.each(rowsOf(cases))(
    'finishes a $transition in which the other died at $failpoint (time $nth)',
    async ({ failpoint, transition, nth }) => {
      await crash.run(operatorTransitions[transition], failpoint, nth);
    },
  );
});
