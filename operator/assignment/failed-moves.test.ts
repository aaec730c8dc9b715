import { describe, expect, it } from '@jest/globals';
import type { Assignment } from '../../crds/index.ts';
import { aRunner, type RunnerViewBuilder } from '../../test/builders/a-runner-view.ts';
import { aDigest, aSandbox, at, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aCopy, aLook, aWorld, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from '../lifecycle/decide.ts';
import type { CopyView } from '../lifecycle/snapshot.ts';

/** A move that no target takes is tried again, decision after decision, whatever has become of the runner that it goes back to. */

const [r1, r2, r3] = [aRunner('r1'), aRunner('r2'), aRunner('r3')];
const lost = r1.notReady();
const repository = 'registry.test/berth/default.box';
const assignment: Assignment = {
  epoch: 2,
  storeID: 'store-r2',
  bootID: 'boot-r2',
  phase: 'Prepared',
  source: { kind: 'Backup', digest: aDigest(1), repository },
  previous: { runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 2 },
  reason: 'RunnerLost',
  startTime: at(-1_000),
  configHash: aSandbox().onRunner('r1').obj().status.assignment?.configHash ?? '',
};
/** Version 2 of its content on r1, stopped; being restored on r2. */
const restoring = (backup: { readonly contentVersion: number }, changed: Partial<Assignment> = {}) =>
  aSandbox()
    .onRunner('r2')
    .stopped()
    .backedUp(backup)
    .order(3)
    .version(2)
    .status({
      state: 'Restoring',
      reason: 'Restoring',
      prevRunnerName: 'r1',
      highestEpoch: 2,
      assignment: { ...assignment, ...changed },
      transition: { startTime: at(-1_000), attempts: 0 },
    });
const refused = aCopy('Rejected', { order: 3, reason: 'OutOfDisk', message: 'The disk is full.' });

/** Decided again and again: each step is what the world is like by then. */
function decided(box: SandboxBuilder, ...steps: readonly ((world: WorldBuilder) => WorldBuilder)[]) {
  return steps.reduce<{ readonly box: SandboxBuilder; readonly told: readonly string[] }>(
    ({ box: before, told }, step) => {
      const { status } = decide(step(aWorld(before)).snapshot());
      const { state, reason = '', runnerName = 'none', assignment: made } = status;
      return {
        box: before.status(status),
        told: [...told, `${state} ${reason} ${runnerName}/${made?.epoch ?? '-'} ${made?.phase ?? '-'}`],
      };
    },
    { box, told: [] },
  ).told;
}

const over = (ms: number, copy: CopyView | undefined, ...runners: readonly RunnerViewBuilder[]) => {
  return (world: WorldBuilder): WorldBuilder => {
    const later = world
      .later(ms)
      .runners(...runners)
      .registry(aLook('Whole', { ago: -ms }));
    return copy === undefined ? later : later.reported(copy);
  };
};

describe('no target takes what a lost runner had', () => {
  it('D7: it waits with the reason, and the next runner that is there takes it', () => {
    const box = restoring({ contentVersion: 2 });
    expect(decided(box, over(0, refused, lost, r2), over(100, undefined, lost, r2), over(600_000, undefined, lost, r2, r3))).toEqual([
      'Pending OutOfDisk r1/1 Committed',
      'Pending OutOfDisk r1/1 Committed',
      expect.stringMatching(/^Restoring Restoring r[23]\/3 Prepared$/),
    ]);
  });

  it('D3: it waits with the reason, and is restored when a runner takes it', () => {
    const asked = restoring({ contentVersion: 1 }, { reason: 'RestoreRequested' }).spec({
      restore: { requestID: 'a', digest: aDigest(1) },
    });
    expect(decided(asked, over(0, refused, lost, r2), over(600_000, undefined, lost, r3))).toEqual([
      'Pending OutOfDisk r1/1 Committed',
      'Restoring Restoring r3/3 Prepared',
    ]);
  });

  it.each([
    { when: 'it is not to run any more', spec: { desiredState: 'Stopped' }, want: 'Stopped Stopped r1/1 Committed' },
    { when: 'it is to be archived', spec: { desiredState: 'Archived' }, want: 'Archiving Archiving r1/1 Committed' },
  ] as const)('$when: done', ({ spec, want }) => {
    const first = decide(over(0, refused, lost, r2)(aWorld(restoring({ contentVersion: 2 }))).snapshot()).status;
    expect(decided(restoring({ contentVersion: 2 }).status(first).changed(spec), over(100, undefined, lost, r2))).toEqual([want]);
  });
});

describe('in Error, with a current backup, on a runner that is lost', () => {
  const box = aSandbox().onRunner('r1').stopped().backedUp().local().order(5).failed('RuntimeFailed', { retryMs: -1 });
  it.each([
    { when: 'it is moved: that the backup is current proves that nothing runs', given: box, want: 'Restoring Restoring r2/2 Prepared' },
    { when: 'stopped', given: box.wantsStopped(), want: 'Stopped Stopped r1/1 Committed' },
    {
      when: 'restored from what is asked for',
      given: box.spec({ restore: { requestID: 'a', digest: aDigest(1) } }),
      want: 'Restoring Restoring r2/2 Prepared',
    },
  ])('$when', ({ given, want }) => expect(decided(given, over(0, undefined, lost, r2))).toEqual([want]));

  it('without one that is current, it is waited for: it may still run', () => {
    const outdated = aSandbox().onRunner('r1').stopped().backedUp().local().version(2).order(5).failed('DeadlineExceeded', { retryMs: -1 });
    expect(decided(outdated, over(0, undefined, lost, r2))).toEqual(['Error DeadlineExceeded r1/1 Committed']);
  });
});

describe('a target that is ready is committed only where it can be told', () => {
  const box = restoring({ contentVersion: 2 });
  const ready = aCopy('Prepared', { order: 3 });
  it.each([
    { when: 'connected: committed', runner: r2, want: 'Starting Starting r2/2 Committed' },
    { when: 'not connected: waited for', runner: r2.disconnected(), want: 'Restoring Restoring r2/2 Prepared' },
    { when: 'lost: the next one', runner: r2.notReady(), want: 'Restoring Restoring r3/3 Prepared' },
    { when: 'another disk: the next one', runner: r2.wiped(), want: 'Restoring Restoring r3/3 Prepared' },
    { when: 'said to be off: waited for', runner: r2.with({ fencing: 'Administrator' }), want: 'Restoring Restoring r2/2 Prepared' },
  ])('$when', ({ runner, want }) => expect(decided(box, over(0, ready, lost, runner, r3))).toEqual([want]));

  it('not connected until the deadline: the next one', () => {
    expect(decided(box, over(300_000, ready, lost, r2.disconnected(), r3))).toEqual(['Restoring Restoring r3/3 Prepared']);
  });
});
