import type { Assignment } from '../../crds/index.ts';
import type { SandboxSnapshot } from '../../operator/lifecycle/snapshot.ts';
import { aRunner, type RunnerViewBuilder } from './a-runner-view.ts';
import { aDigest, aSandbox, at, type SandboxBuilder } from './a-sandbox.ts';
import { aCopy, aLook, aWorld, anExit, type WorldBuilder } from './a-world.ts';

/**
 * The decision space of moves: every combination of what is wanted, how far a move or an archive is, what the original runner (R0, r1) and the others are like,
 * what backup there is, and what the newest report of the assigned copy says. What decisions without backups are is in decision-space.ts. Points that can not
 * happen are in it, too.
 */
export const moveColumns = {
  wanted: {
    Started: (box) => box,
    Stopped: (box) => box.wantsStopped(),
    Archived: (box) => box.spec({ desiredState: 'Archived' }),
    Deleted: (box) => box.deleting(),
  },
  state: {
    Stopped: () => onR0,
    'no runner': () => withoutRunner(onR0),
    prepared: () => restoring,
    committed: () =>
      restoring
        .order(4)
        .version(3)
        .status({ state: 'Starting', startTime: undefined, assignment: { ...target, phase: 'Committed' } }),
    'committed, overdue': () =>
      restoring
        .order(5)
        .version(3)
        .status({ startTime: undefined, assignment: { ...target, phase: 'Committed' } })
        .failed('DeadlineExceeded', { retryMs: -1 }),
    Archiving: () => onR0.status({ state: 'Archiving', reason: 'Archiving', transition: { startTime: at(-1_000), attempts: 0 } }),
  },
  R0: {
    there: (r0) => [r0],
    cordoned: (r0) => [r0.unschedulable()],
    full: (r0) => [r0.capacity({ memoryBytes: 1 })],
    overloaded: (r0) => [r0.with({ load: { ...r0.view().load, started: 36 } })],
    lost: (r0) => [r0.notReady()],
    gone: () => [],
  },
  others: {
    two: () => [aRunner('r2'), aRunner('r3')],
    'as loaded': () =>
      [aRunner('r2'), aRunner('r3')].map((one) => one.spec({ maxStarted: 99 }).with({ load: { ...one.view().load, started: 36 } })),
    'rebuilt: another disk, another boot': () => [aRunner('r2').wiped().rebooted(), aRunner('r3')],
    none: () => [],
  },
  backup: {
    none: (box) => aWorld(box),
    outdated: (box) => aWorld(box.backedUp({ contentVersion: 1 })).registry(whole, read),
    'current, not asked': (box) => aWorld(current(box)),
    'current, whole': (box) => aWorld(current(box)).registry(whole, read),
    // What is being restored is the older one.
    'current, another': (box) => aWorld(current(box.backedUp({ contentVersion: 1 }))).registry(aLook('Whole', { digest: aDigest(2) })),
    'current, corrupt': (box) => aWorld(current(box)).registry(aLook('Corrupt')),
    'current, down': (box) => aWorld(current(box)).registry(aLook('Unavailable')),
  },
  report: {
    nothing: (world) => world,
    ready: (world, order) => world.reported(aCopy('Prepared', { order })),
    runs: (world, order, version) => world.reported(aCopy('Running', { order, contentVersion: version })),
    ended: (world, order, version) => world.reported(aCopy('Stopped', { order, contentVersion: version, exit: anExit('Error') })),
    'not started': (world, order) => world.reported(aCopy('Stopped', { order, contentVersion: 0 })),
    refused: (world, order) => world.reported(aCopy('Rejected', { order, reason: 'OutOfDisk' })),
  },
} as const satisfies {
  wanted: Record<string, (box: SandboxBuilder) => SandboxBuilder>;
  state: Record<string, () => SandboxBuilder>;
  R0: Record<string, (r0: RunnerViewBuilder) => readonly RunnerViewBuilder[]>;
  others: Record<string, () => readonly RunnerViewBuilder[]>;
  backup: Record<string, (box: SandboxBuilder) => WorldBuilder>;
  report: Record<string, (world: WorldBuilder, order: number, version: number) => WorldBuilder>;
};

const current = (box: SandboxBuilder) => box.backedUp({ contentVersion: 2 });
const [whole, read] = [aLook('Whole'), aLook('Whole', { depth: 'Full' })];

/** On r1 with version 2 of its content, stopped. */
const onR0 = aSandbox().onRunner('r1').order(3).version(2).local().stopped().order(3).status({ highestEpoch: 1 });

const target: Assignment = {
  epoch: 2,
  storeID: 'store-r2',
  bootID: 'boot-r2',
  phase: 'Prepared',
  source: { kind: 'Backup', digest: aDigest(1), repository: 'registry.test/berth/default.box' },
  previous: { runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 2 },
  reason: 'RunnerUnschedulable',
  startTime: at(-1_000),
  configHash: onR0.obj().status.assignment?.configHash ?? '',
};
const restoring = onR0.status({
  state: 'Restoring',
  reason: 'Restoring',
  message: 'It is being restored.',
  runnerName: 'r2',
  prevRunnerName: 'r1',
  highestEpoch: 2,
  assignment: target,
  transition: { startTime: at(-1_000), attempts: 0 },
});

function withoutRunner(box: SandboxBuilder): SandboxBuilder {
  return box.status({ runnerName: undefined, assignment: undefined, prevRunnerName: 'r1', highestEpoch: 4 });
}

export type MoveColumn = keyof typeof moveColumns;
export const moveColumnNames: readonly MoveColumn[] = ['wanted', 'state', 'R0', 'others', 'backup', 'report'];
export type MovePoint = { readonly [Name in MoveColumn]: keyof (typeof moveColumns)[Name] & string };

/** Every point. */
export function allMovePoints(): readonly MovePoint[] {
  const keys = <Name extends MoveColumn>(name: Name) => Object.keys(moveColumns[name]) as MovePoint[Name][];
  return keys('wanted').flatMap((wanted) =>
    keys('state').flatMap((state) =>
      keys('R0').flatMap((R0) =>
        keys('others').flatMap((others) =>
          keys('backup').flatMap((backup) => keys('report').map((report) => ({ wanted, state, R0, others, backup, report }))),
        ),
      ),
    ),
  );
}

export function moveWorldAt({ wanted, state, R0, others, backup, report }: MovePoint): WorldBuilder {
  const box = moveColumns.wanted[wanted](moveColumns.state[state]());
  const { order, contentVersion, assignment } = box.obj().status;
  const world = moveColumns.backup[backup](box).runners(...moveColumns.R0[R0](aRunner('r1')), ...moveColumns.others[others]());
  return assignment === undefined ? world : moveColumns.report[report](world, order, contentVersion);
}

export function moveSnapshotAt(point: MovePoint): SandboxSnapshot {
  return moveWorldAt(point).snapshot();
}
