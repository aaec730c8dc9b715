import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type AgentFailpoint, agentFailpoints } from '../../agent/failpoints.ts';
import { type OperatorFailpoint, operatorFailpoints } from '../../operator/failpoints.ts';
import { CrashablePart } from '../harness/crash.ts';
import { remembering } from './a-sandbox.ts';
import { CrashTest, type Occasion, rowsOf } from './crash/crash-case.ts';
import { cordon, isBackedUp, isOperatorStep, type Move, moves, type OperatorStep, origin, target } from './crash/moves.ts';
import { eventually } from './eventually.ts';
import { writtenBy } from './on-disk.ts';
import { backupsIn } from './registry-of.ts';
import { startTimeoutMs, World } from './world.ts';

type Cases<Name extends string> = Readonly<Record<Name, readonly Occasion<Move>[]>>;

/** In which transitions the operator dies at each place. */
const ofOperator: Cases<OperatorStep | Extract<OperatorFailpoint, 'decision.made' | 'orders.sent'>> = {
  'decision.made': ['move:2', 'archive:2'],
  'orders.sent': ['move', 'move:2'],
  'backup.ordered': ['backup', 'archive'],
  'backup.recorded': ['backup', 'backup of what runs', 'retention'],
  'backup.marked': ['retention'],
  'backup.forgotten': ['retention'],
  'move.proposed': ['move', 'restore', 'move that is given up'],
  'move.committed': ['move', 'restore'],
  'move.finished': ['move', 'restore'],
  'move.returned': ['move that is given up'],
  'archive.recorded': ['archive'],
  'release.dropped': ['move', 'archive'],
  'registry.verified': ['backup', 'archive:2'],
  'registry.deleted': ['retention', 'delete of what is backed up'],
};

/** In which transitions the agent that has the files dies at each place. */
const ofOrigin: Cases<
  Extract<AgentFailpoint, `backup.${string}` | 'order.accepted' | `copy.${'container-removed' | 'snapshot-removed' | 'removed'}`>
> = {
  'order.accepted': ['move'],
  'copy.container-removed': ['move'],
  'copy.snapshot-removed': ['archive'],
  'copy.removed': ['archive'],
  'backup.begun': ['archive'],
  'backup.paused': ['backup of what runs'],
  'backup.read': ['backup'],
  'backup.pushing': ['backup'],
  'backup.pushed': ['backup'],
};

/** In which transitions the agent dies that is to restore. */
const ofTarget: Cases<
  Extract<AgentFailpoint, `image.${'pulling' | 'pulled'}` | `task.${'starting' | 'started'}` | 'order.accepted' | 'snapshot.prepared'>
> = {
  'order.accepted': ['move'],
  'image.pulling': ['move'],
  'image.pulled': ['move'],
  'snapshot.prepared': ['move'],
  'task.starting': ['move'],
  'task.started': ['move'],
};

describe('backups, moves, restores and archives, in which a part is killed between two effects and started again', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({
      failpoints: true,
      backups: true,
      runners: [origin, target],
      operatorEnv: { BERTH_LEASE_SECONDS: '3', BERTH_PATIENCE_SECONDS: '2', BERTH_BACKUP_SECONDS: '10' },
    });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('has a case for every failpoint of backups, moves and archives', () => {
    expect(Object.keys(ofOperator)).toEqual(expect.arrayContaining(operatorFailpoints.filter(isOperatorStep)));
    expect(Object.keys(ofOrigin)).toEqual(expect.arrayContaining(agentFailpoints.filter((name) => name.startsWith('backup.'))));
    const all = [ofOperator, ofOrigin, ofTarget].flatMap((cases) => Object.entries(cases));
    expect(all.filter(([, occasions]) => occasions.length === 0)).toEqual([]);
  });

  const run = (part: string, crash: () => CrashTest, cases: Cases<string>) => {
    it.each(rowsOf<Move>(cases))(`${part} dies in a $transition at $failpoint (time $nth)`, async ({ transition, failpoint, nth }) => {
      await crash().run(moves[transition], failpoint, nth);
    });
  };

  describe('of them the operator', () => {
    let crash: CrashTest;
    beforeAll(async () => {
      const [operator] = world.cluster.operators;
      if (operator === undefined) throw new Error('there is an operator');
      crash = await CrashTest.of(world, operator);
    }, startTimeoutMs);
    run('the operator', () => crash, ofOperator);

    it('leaves nothing in the registry of what was deleted', () => {
      expect(backupsIn(world.cluster)).toEqual([]);
    });

    it('before it has recorded that a sandbox runs: what that wrote is in no backup from before, and stays where it is', async () => {
      const [operator] = world.cluster.operators;
      if (operator === undefined) throw new Error('there is an operator');
      const crashable = new CrashablePart(operator, world.cluster.stateDir);
      const ref = { name: 'unrecorded' };
      await cordon(world, target);
      const manifest = remembering(ref.name, world.image);
      await world.user.create({ ...manifest, spec: { ...manifest.spec, backup: { policy: 'Manual' } } });
      await world.user.untilState(ref, 'Started');
      await world.user.patch(ref, { desiredState: 'Stopped' });
      await world.user.untilState(ref, 'Stopped');
      await world.user.patch(ref, { backup: { requestID: 'before' } });
      const { metadata } = await world.user.until(ref, 'is backed up', isBackedUp);

      crashable.arm('decision.made', 2);
      await world.user.patch(ref, { desiredState: 'Started' });
      await crashable.died();
      await eventually('it has written', async () => {
        const lines = await writtenBy(world.cluster.runner(origin), metadata.uid, 'data/boots');
        return lines.length === 2 ? true : undefined;
      });
      expect((await world.user.sandbox(ref)).status.state).toBe('Starting');
      await world.user.patch(ref, { desiredState: 'Stopped' });
      await operator.start();
      const stopped = await world.user.untilState(ref, 'Stopped');
      expect(stopped.status.conditions.find(({ type }) => type === 'BackedUp')).toMatchObject({
        status: 'False',
        reason: 'BackupOutdated',
      });
      await cordon(world, target, false);
      await cordon(world, origin);
      await world.user.patch(ref, { desiredState: 'Started' });
      expect((await world.user.untilState(ref, 'Started')).status.runnerName).toBe(origin);
      expect(await world.boots(ref.name, 3)).toBe(3);
      await world.user.delete(ref);
      await cordon(world, origin, false);
    });
  });

  describe('of them the agent that has the files', () => {
    let crash: CrashTest;
    beforeAll(async () => {
      crash = await CrashTest.of(world, world.cluster.runner(origin).agent);
    }, startTimeoutMs);
    run('it', () => crash, ofOrigin);
  });

  describe('of them the agent that restores', () => {
    let crash: CrashTest;
    beforeAll(async () => {
      crash = await CrashTest.of(world, world.cluster.runner(target).agent);
    }, startTimeoutMs);
    run('it', () => crash, ofTarget);
  });
});
