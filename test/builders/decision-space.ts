import type { SandboxSnapshot } from '../../operator/lifecycle/snapshot.ts';
import { aRunner, type RunnerViewBuilder } from './a-runner-view.ts';
import { aSandbox, at, type SandboxBuilder } from './a-sandbox.ts';
import { aCopy, aWorld, anExit, type WorldBuilder } from './a-world.ts';

/**
 * The decision space as far as rules exist: every combination of what is wanted, where the sandbox is in its life, what its runner (R0) and the
 * others are like, and what the newest report says. Points that can not happen are in it too: a decision must be safe there as well.
 */
export const columns = {
  wanted: {
    Started: (box) => box,
    Stopped: (box) => box.wantsStopped(),
    Restarted: (box) => box.spec({ restartID: 'again' }),
    Deleted: (box) => box.deleting(),
  },
  state: {
    new: () => aSandbox(),
    Creating: () => onR0.creating(),
    Starting: () => onR0.order(3).version(2).starting(),
    Started: () => onR0.started(),
    Stopping: () => onR0.started().stopping(),
    Stopped: () => onR0.stopped(),
    'Stopped, ended': () =>
      onR0.ended('Error', 'RestartBackOff').status({ transition: { startTime: at(-9_000), attempts: 1, retryTime: at(-1) } }),
    'Pending, has content': () => onR0.stopped().pending('InsufficientOnRunner'),
    'Error, no content': () => onR0.order(2).version(0).failed('ImageNotFound', { retryMs: -1 }),
    'Error, unresolved': () => onR0.order(2).creating().failed('DeadlineExceeded', { retryMs: -1 }),
    'Error, has content': () => onR0.order(2).local().failed('RuntimeFailed', { retryMs: -1 }),
  },
  R0: {
    there: (r0) => [r0],
    cordoned: (r0) => [r0.unschedulable()],
    full: (r0) => [r0.capacity({ memoryBytes: 1 })],
    'not connected': (r0) => [r0.disconnected()],
    'not ready': (r0) => [r0.notReady()],
    fenced: (r0) => [r0.fenced()],
    'other disk': (r0) => [r0.wiped()],
    gone: () => [],
  },
  others: {
    available: () => [aRunner('r2')],
    none: () => [],
  },
  report: {
    nothing: (world) => world,
    preparing: (world, order) => world.reported(aCopy('Preparing', { order })),
    running: (world, order, version) => world.reported(aCopy('Running', { order, contentVersion: version })),
    ended: (world, order, version) => world.reported(aCopy('Stopped', { order, contentVersion: version, exit: anExit('Error') })),
    'not started': (world, order, version) => world.reported(aCopy('Stopped', { order, contentVersion: Math.max(0, version - 1) })),
    'rejected: sandbox': (world, order, version) =>
      world.reported(aCopy('Rejected', { order, contentVersion: Math.max(0, version - 1), reason: 'CommandNotFound' })),
    'rejected: runner': (world, order, version) =>
      world.reported(aCopy('Rejected', { order, contentVersion: Math.max(0, version - 1), reason: 'RuntimeFailed' })),
    'rejected: room': (world, order, version) =>
      world.reported(aCopy('Rejected', { order, contentVersion: Math.max(0, version - 1), reason: 'InsufficientOnRunner' })),
    missing: (world, order) => world.reported(aCopy('Missing', { order })),
    absent: (world, order) => world.reported(aCopy('Absent', { order })).absent(1),
    'outdated: ended': (world, order, version) => world.reported(aCopy('Stopped', { order: order - 1, contentVersion: version })),
  },
} as const satisfies {
  wanted: Record<string, (box: SandboxBuilder) => SandboxBuilder>;
  state: Record<string, () => SandboxBuilder>;
  R0: Record<string, (r0: RunnerViewBuilder) => readonly RunnerViewBuilder[]>;
  others: Record<string, () => readonly RunnerViewBuilder[]>;
  report: Record<string, (world: WorldBuilder, order: number, version: number) => WorldBuilder>;
};

const onR0 = aSandbox().onRunner('r1');

export type Column = keyof typeof columns;
export const columnNames: readonly Column[] = ['wanted', 'state', 'R0', 'others', 'report'];
export type Point = { readonly [Name in Column]: keyof (typeof columns)[Name] & string };

/** Every point. */
export function allPoints(): readonly Point[] {
  const keys = <Name extends Column>(name: Name) => Object.keys(columns[name]) as Point[Name][];
  return keys('wanted').flatMap((wanted) =>
    keys('state').flatMap((state) =>
      keys('R0').flatMap((R0) =>
        keys('others').flatMap((others) => keys('report').map((report) => ({ wanted, state, R0, others, report }))),
      ),
    ),
  );
}

export function worldAt({ wanted, state, R0, others, report }: Point): WorldBuilder {
  const box = columns.wanted[wanted](columns.state[state]());
  const { order, contentVersion } = box.obj().status;
  const world = aWorld(box).runners(...columns.R0[R0](aRunner('r1')), ...columns.others[others]());
  return columns.report[report](world, order, contentVersion);
}

export function snapshotAt(point: Point): SandboxSnapshot {
  return worldAt(point).snapshot();
}
