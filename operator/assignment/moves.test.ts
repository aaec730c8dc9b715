import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Assignment } from '../../crds/index.ts';
import { aRunner, type RunnerViewBuilder } from '../../test/builders/a-runner-view.ts';
import { aDigest, aSandbox, at, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aBackup, aCopy, aLook, aWorld, anExit, subject, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from '../lifecycle/decide.ts';
import { mainOrder, ordersOf } from '../lifecycle/orders.ts';

const [r1, r2, r3] = [aRunner('r1'), aRunner('r2'), aRunner('r3')];
/** On r1 with a current backup, stopped, and to be started. */
const backedUp = aSandbox().onRunner('r1').stopped().backedUp();
const repository = 'registry.test/berth/default.box';

/** What a move makes of a sandbox, in the words of the table. */
interface Seen {
  readonly state: string;
  readonly reason: string | undefined;
  readonly runner: string | undefined;
  readonly prev: string | undefined;
  readonly epoch: number | undefined;
  readonly highest: number;
  readonly phase: string | undefined;
  readonly why: string | undefined;
  readonly source: string | undefined;
  readonly previous: string | undefined;
  readonly version: number;
  readonly raised: number;
  readonly releases: readonly string[];
  readonly asks: readonly string[];
  readonly events: readonly string[];
  readonly writes: boolean;
}

function seen(world: WorldBuilder): Seen {
  const { status, events, registry, patch } = decide(world.snapshot());
  const { assignment } = status;
  return {
    state: status.state,
    reason: status.reason,
    runner: status.runnerName,
    prev: status.prevRunnerName,
    epoch: assignment?.epoch,
    highest: status.highestEpoch,
    phase: assignment?.phase,
    why: assignment?.reason,
    source: assignment && `${assignment.source.kind} ${assignment.source.digest?.slice(-2) ?? ''}`.trim(),
    previous: assignment?.previous && `${assignment.previous.runnerName}/${assignment.previous.epoch}`,
    version: status.contentVersion,
    raised: status.order - world.thawed().sandbox.status.order,
    releases: status.releases.map(({ runnerName, epoch }) => `${runnerName}/${epoch}`),
    asks: registry.map((work) => `${work.kind === 'Verify' ? work.depth : work.kind} ${subject(work)}`),
    events: events.map(({ reason }) => reason),
    writes: Object.keys(patch ?? {}).some((key) => key !== 'conditions'),
  };
}

interface Row {
  readonly when: string;
  readonly given: WorldBuilder;
  readonly want: Partial<Seen>;
}

function tests(rows: readonly Row[]): void {
  it.each(rows)('$when', ({ given, want }) => expect(seen(given)).toMatchObject(want));
}

/** The copy lies on its runner, stopped; the backup was just looked at and is whole. */
function stopped(box: SandboxBuilder, ...runners: readonly RunnerViewBuilder[]): WorldBuilder {
  const { order, contentVersion } = box.obj().status;
  const world = aWorld(box)
    .runners(...runners)
    .registry(aLook('Whole'));
  return contentVersion === 0 ? world : world.reported(aCopy('Stopped', { order, contentVersion, exit: anExit('Completed') }));
}

const moved = {
  state: 'Restoring',
  runner: 'r2',
  prev: 'r1',
  epoch: 2,
  highest: 2,
  phase: 'Prepared',
  source: 'Backup 01',
  previous: 'r1/1',
  version: 1,
  raised: 1,
  releases: [],
} as const;
const inPlace = {
  state: 'Starting',
  runner: 'r1',
  epoch: 1,
  phase: 'Committed',
  source: 'Local',
  version: 2,
  raised: 1,
  releases: [],
} as const;
const over = (started: number) => r1.with({ load: { ...r1.view().load, started } });
const outdated = aSandbox().onRunner('r1').order(4).version(2).stopped().backedUp({ contentVersion: 1 });

describe('where a stopped sandbox starts', () => {
  tests([
    {
      when: 'D10, A1: cordoned, current, another: moved in one patch',
      given: stopped(backedUp, r1.unschedulable(), r2),
      want: { ...moved, why: 'RunnerUnschedulable' },
    },
    { when: 'D10, A3: cordoned, no backup', given: stopped(aSandbox().onRunner('r1').stopped(), r1.unschedulable(), r2), want: inPlace },
    {
      when: 'D10, A3: cordoned, an outdated backup',
      given: stopped(outdated, r1.unschedulable(), r2),
      want: { state: 'Starting', runner: 'r1', version: 3 },
    },
    { when: 'D10, A3: cordoned, no other', given: stopped(backedUp, r1.unschedulable()), want: inPlace },
    {
      when: 'D10: cordoned, a backup of this version that was taken while it ran',
      given: stopped(aSandbox().onRunner('r1').stopped().backedUp({ takenWhile: 'Paused' }), r1.unschedulable(), r2),
      want: inPlace,
    },
    {
      when: 'D10: cordoned, current, not looked at yet: the registry is asked first',
      given: stopped(backedUp, r1.unschedulable(), r2).registry(),
      want: { state: 'Stopped', writes: false, asks: ['Meta 01'] },
    },
    {
      when: 'D10: cordoned, current, looked at more than a minute ago: asked again',
      given: stopped(backedUp, r1.unschedulable(), r2).registry(aLook('Whole', { ago: 60_001 })),
      want: { state: 'Stopped', writes: false, asks: ['Meta 01'] },
    },
    {
      when: 'D10, B5: a blob is corrupt: in place, said with the digest, and relied on no more',
      given: stopped(backedUp, r1.unschedulable(), r2).registry(aLook('Corrupt')),
      want: { ...inPlace, events: ['Starting', 'BackupUnverified'] },
    },
    {
      when: 'D10: the registry does not answer: in place, and said',
      given: stopped(backedUp, r1.unschedulable(), r2).registry(aLook('Unavailable')),
      want: { ...inPlace, events: ['Starting', 'BackupUnverified'] },
    },
    {
      when: 'D11: it does not fit where it lies, current, another',
      given: stopped(backedUp, r1.capacity({ memoryBytes: 1 }), r2),
      want: { ...moved, why: 'RunnerUnfit' },
    },
    {
      when: 'D11: it does not fit where it lies, current, no other',
      given: stopped(backedUp, r1.capacity({ memoryBytes: 1 }), r2.unschedulable()),
      want: { state: 'Pending', reason: 'InsufficientOnRunner', runner: 'r1', version: 1 },
    },
    {
      when: 'D11: it does not fit where it lies, and the backup can not be verified',
      given: stopped(backedUp, r1.capacity({ memoryBytes: 1 }), r2).registry(aLook('Unavailable')),
      want: { state: 'Pending', reason: 'InsufficientOnRunner', runner: 'r1' },
    },
    {
      when: 'D11: its runner keeps failing, current, another',
      given: stopped(backedUp, r1.failing(2, 2_000_000), r2),
      want: { ...moved, why: 'RunnerUnfit' },
    },
    {
      when: 'D11: its runner keeps failing, no backup',
      given: stopped(aSandbox().onRunner('r1').stopped(), r1.failing(2, 2_000_000), r2),
      want: inPlace,
    },
    {
      when: 'D11: placement asks for another region, current, another',
      given: stopped(backedUp.spec({ placement: { region: 'eu' } }), r1, r2.spec({ region: 'eu' })),
      want: { ...moved, why: 'RunnerUnfit' },
    },
    {
      when: 'D11: placement asks for another region, none is there: in place, and said',
      given: stopped(backedUp.spec({ placement: { region: 'eu' } }), r1, r2),
      want: { ...inPlace, events: ['Starting', 'PlacementNotMet'] },
    },
    {
      when: 'D12, A4: 36 others started, current, a less loaded one',
      given: stopped(backedUp, over(36), r2),
      want: { ...moved, why: 'LoadBalanced' },
    },
    { when: 'D12, A4: 35 others started', given: stopped(backedUp, over(35), r2), want: inPlace },
    { when: 'D12: 36 others started, no backup', given: stopped(aSandbox().onRunner('r1').stopped(), over(36), r2), want: inPlace },
    {
      when: 'D12, A5: every other is as loaded',
      given: stopped(backedUp, over(36), r2.spec({ maxStarted: 99 }).with(over(36).view()).with({ name: 'r2' })),
      want: inPlace,
    },
    {
      when: 'D12, A5: the other would be over its own with it',
      given: stopped(backedUp, over(36), r2.spec({ maxStarted: 3 }).loaded(3)),
      want: inPlace,
    },
    {
      when: 'D12: the other is at its own with it',
      given: stopped(backedUp, over(36), r2.spec({ maxStarted: 4 }).loaded(3)),
      want: { ...moved, why: 'LoadBalanced' },
    },
    { when: 'D12, A5: the other is full', given: stopped(backedUp, over(36), r2.capacity({ memoryBytes: 1 })), want: inPlace },
    { when: 'D12, A5: the other is cordoned', given: stopped(backedUp, over(36), r2.unschedulable()), want: inPlace },
    {
      when: 'D12, A5: the other is of another class',
      given: stopped(backedUp.spec({ placement: { runnerClassName: 'big' } }), over(36).spec({ runnerClassName: 'big' }), r2),
      want: inPlace,
    },
    {
      when: 'A6: cordoned and overloaded: one move, with the first reason',
      given: stopped(backedUp, over(36).unschedulable(), r2),
      want: { ...moved, why: 'RunnerUnschedulable' },
    },
    {
      when: 'D7: its runner is lost, current, another: no proof is needed of what was over',
      given: stopped(backedUp, r1.notReady(), r2),
      want: { ...moved, why: 'RunnerLost' },
    },
    {
      when: 'D7: its runner is lost, current, no other',
      given: stopped(backedUp, r1.notReady()),
      want: { state: 'Pending', reason: 'RunnerLost', runner: 'r1' },
    },
    {
      when: 'D7: its runner is lost, not current',
      given: stopped(outdated, r1.notReady(), r2),
      want: { state: 'Pending', reason: 'RunnerLost', runner: 'r1' },
    },
    {
      when: 'D7: its runner is alive and not connected',
      given: stopped(backedUp, r1.disconnected(), r2),
      want: { state: 'Pending', reason: 'RunnerNotConnected' },
    },
    {
      when: 'D8: a diff runs: nothing is moved meanwhile',
      given: diffing(),
      want: { state: 'Pending', reason: 'BackupRunning', runner: 'r1' },
    },
    { when: 'D13: nothing is wrong with it', given: stopped(backedUp, r1, r2), want: inPlace },
  ]);

  function diffing(): WorldBuilder {
    const box = backedUp.backingUp({ kind: 'Request', requestID: 'a' }).backupPolicy({ requestID: 'a' });
    const { order } = box.obj().status;
    return stopped(box, r1.unschedulable(), r2).reported(
      aCopy('Stopped', { order, exit: anExit('Completed'), backup: aBackup('Diffing') }),
    );
  }

  it('A6: prevRunnerName is the original runner, and what the log says is of the snapshot', () => {
    const world = stopped(backedUp.status({ prevRunnerName: 'r9' }), over(36).unschedulable(), r2).snapshot();
    const { assignment, status } = decide(world);
    expect(assignment).toEqual({
      sandboxId: 'uid-box',
      currentRunnerId: 'r1',
      prevRunnerId: 'r9',
      runnerUnschedulable: true,
      backupState: 'BackupCurrent',
    });
    expect(status.prevRunnerName).toBe('r1');
  });

  it('A5: a hundred simultaneous starts overshoot no target', () => {
    const placed = Array.from({ length: 100 }).reduce<readonly number[]>(
      ([left = 0, right = 0]) => {
        const fleet = [
          over(100),
          r2.with({ load: { ...r2.view().load, started: left } }),
          r3.spec({ maxStarted: 10 }).with({ load: { ...r3.view().load, started: right } }),
        ];
        const { status } = decide(stopped(backedUp, ...fleet).snapshot());
        return [left + Number(status.runnerName === 'r2'), right + Number(status.runnerName === 'r3')];
      },
      [0, 0],
    );
    expect(placed).toEqual([35, 10]);
  });

  it('A2: the load is asked of the original runner only, whatever the status says by then', () => {
    const load = fc.record({ first: fc.nat(80), second: fc.nat(80), cordoned: fc.boolean(), most: fc.nat(40) });
    fc.assert(
      fc.property(load, ({ first, second, cordoned, most }) => {
        const own = over(first).spec({ unschedulable: cordoned, maxStarted: 35 });
        const other = r2.spec({ maxStarted: most }).with({ load: { ...r2.view().load, started: second } });
        const { status } = decide(stopped(backedUp, own, other).snapshot());
        const isBalanced = first > 35 && second + 1 <= most && second < first;
        expect(status.assignment?.reason).toBe(cordoned ? 'RunnerUnschedulable' : isBalanced ? 'LoadBalanced' : 'FirstPlacement');
        expect(status.prevRunnerName).toBe(cordoned || isBalanced ? 'r1' : undefined);
      }),
    );
  });
});

/** Being restored on r2, prepared, r1 has the copy of before. */
const assignment: Assignment = {
  epoch: 2,
  storeID: 'store-r2',
  bootID: 'boot-r2',
  phase: 'Prepared',
  source: { kind: 'Backup', digest: aDigest(1), repository },
  previous: { runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 1 },
  reason: 'RunnerUnschedulable',
  startTime: at(-1_000),
  configHash: backedUp.obj().status.assignment?.configHash ?? '',
};
const restoring = backedUp.order(3).status({
  state: 'Restoring',
  reason: 'Restoring',
  message: 'It is being restored.',
  runnerName: 'r2',
  prevRunnerName: 'r1',
  highestEpoch: 2,
  assignment,
  transition: { startTime: at(-1_000), attempts: 0 },
});
const committed = restoring
  .order(4)
  .version(2)
  .status({ state: 'Starting', reason: 'Starting', startTime: undefined, assignment: { ...assignment, phase: 'Committed' } });
const cordoned = r1.unschedulable();
const wholeOn = (box: SandboxBuilder, ...runners: readonly RunnerViewBuilder[]) =>
  aWorld(box)
    .runners(...runners)
    .registry(aLook('Whole'));

describe('a target while it is only prepared', () => {
  const rejected = (reason: string) => aCopy('Rejected', { order: 3, reason, message: 'It says no.' });
  const back = {
    state: 'Starting',
    runner: 'r1',
    prev: 'r2',
    epoch: 1,
    source: 'Local',
    version: 2,
    releases: ['r2/2'],
    highest: 2,
  } as const;
  const next = {
    state: 'Restoring',
    runner: 'r3',
    prev: 'r1',
    epoch: 3,
    highest: 3,
    phase: 'Prepared',
    previous: 'r1/1',
    version: 1,
    releases: ['r2/2'],
  } as const;
  tests([
    {
      when: 'it is being restored',
      given: wholeOn(restoring, cordoned, r2).reported(aCopy('Preparing', { order: 3 })),
      want: { writes: false, state: 'Restoring' },
    },
    {
      when: 'it is ready: committed, and only now contentVersion rises',
      given: wholeOn(restoring, cordoned, r2).reported(aCopy('Prepared', { order: 3 })),
      want: {
        state: 'Starting',
        phase: 'Committed',
        runner: 'r2',
        prev: 'r1',
        epoch: 2,
        version: 2,
        raised: 1,
        previous: 'r1/1',
        source: 'Backup 01',
        releases: [],
      },
    },
    {
      when: 'it was ready, says a report from before the order: that proves nothing',
      given: wholeOn(restoring, cordoned, r2).reported(aCopy('Prepared', { order: 2 })),
      want: { writes: false },
    },
    {
      when: 'the registry does not have the backup any more, says the only target: in place, said, and looked at again',
      given: wholeOn(restoring, cordoned, r2).reported(rejected('BackupNotFound')),
      want: { ...back, events: ['Starting', 'BackupUnverified'], asks: ['Meta 01'] },
    },
    {
      when: 'it is ready, and a Secret that its environment comes from is missing: it waits',
      given: wholeOn(restoring, cordoned, r2)
        .reported(aCopy('Prepared', { order: 3 }))
        .environment({ kind: 'Missing', reason: 'EnvSecretNotFound', message: 'No.' }),
      want: { writes: false, phase: 'Prepared' },
    },
    { when: 'B6: it is lost: the next target, under the next epoch', given: wholeOn(restoring, cordoned, r2.notReady(), r3), want: next },
    { when: 'B6: it is lost, and there is no other: back', given: wholeOn(restoring, cordoned, r2.notReady()), want: back },
    {
      when: 'its disk is another one: the next target',
      given: wholeOn(restoring, cordoned, r2.wiped(), r3),
      want: { ...next, releases: [] },
    },
    { when: 'its object is gone: the next target', given: wholeOn(restoring, cordoned, r3), want: { ...next, releases: [] } },
    { when: 'it is not connected: it is waited for', given: wholeOn(restoring, cordoned, r2.disconnected(), r3), want: { writes: false } },
    { when: 'it is cordoned meanwhile: it goes on', given: wholeOn(restoring, cordoned, r2.unschedulable(), r3), want: { writes: false } },
    { when: 'it refuses: the next target', given: wholeOn(restoring, cordoned, r2, r3).reported(rejected('OutOfDisk')), want: next },
    {
      when: 'it refuses, and there is no other: back',
      given: wholeOn(restoring, cordoned, r2).reported(rejected('OutOfDisk')),
      want: back,
    },
    {
      when: 'it is too late: the next target',
      given: wholeOn(restoring, cordoned, r2, r3)
        .later(300_000)
        .registry(aLook('Whole', { ago: -300_000 })),
      want: next,
    },
    {
      when: 'it is too late, and the last look at the backup is old: asked first',
      given: wholeOn(restoring, cordoned, r2, r3).later(300_000),
      want: { writes: false, asks: ['Meta 01'] },
    },
    {
      when: 'bytes move: it is not late',
      given: wholeOn(restoring, cordoned, r2, r3)
        .reported(aCopy('Preparing', { order: 3, progressAt: 1_290_000 }))
        .later(300_000),
      want: { writes: false },
    },
    {
      when: 'it refuses, and the backup is corrupt: back',
      given: aWorld(restoring).runners(cordoned, r2, r3).registry(aLook('Corrupt')).reported(rejected('BackupCorrupt')),
      want: back,
    },
    {
      when: 'every runner was tried: back',
      given: wholeOn(restoring.status({ transition: { startTime: at(-1_000), attempts: 2 } }), cordoned, r2, r3).reported(
        rejected('OutOfDisk'),
      ),
      want: back,
    },
    {
      when: 'it refuses, there is no other, and the original is full: back, and tried again later',
      given: wholeOn(restoring, r1.capacity({ memoryBytes: 1 }), r2).reported(rejected('OutOfDisk')),
      want: { state: 'Pending', reason: 'OutOfDisk', runner: 'r1', epoch: 1, version: 1, releases: ['r2/2'] },
    },
    {
      when: 'it refuses, there is no other, and the original is lost: back, and tried again later',
      given: wholeOn(restoring, r1.notReady(), r2).reported(rejected('OutOfDisk')),
      want: { state: 'Pending', reason: 'OutOfDisk', runner: 'r1', epoch: 1, source: 'Local', version: 1, releases: ['r2/2'] },
    },
    {
      when: 'D2: it is not to run any more: back',
      given: wholeOn(restoring.wantsStopped(), cordoned, r2),
      want: { state: 'Stopped', runner: 'r1', epoch: 1, version: 1, source: 'Local', releases: ['r2/2'] },
    },
    {
      when: 'D2: back, even if the original is lost',
      given: wholeOn(restoring.wantsStopped(), r1.notReady(), r2),
      want: { state: 'Stopped', runner: 'r1', epoch: 1 },
    },
    {
      when: 'D2: there was no copy before: to none',
      given: wholeOn(restoring.wantsStopped().status({ assignment: { ...assignment, previous: undefined } }), r2),
      want: { state: 'Stopped', runner: undefined, prev: 'r1', epoch: undefined, highest: 2, releases: ['r2/2'] },
    },
    {
      when: 'it is deleted: the target and the copy of before go',
      given: wholeOn(restoring.deleting(), cordoned, r2),
      want: { state: 'Deleting', runner: 'r2', releases: ['r1/1'], previous: undefined, asks: ['Delete 01'] },
    },
  ]);
});

describe('a target that is committed', () => {
  const ran = { runner: 'r2', prev: 'r1', epoch: 2, version: 2, releases: ['r1/1'], previous: undefined } as const;
  tests([
    {
      when: 'it has not said how it went: nothing else starts',
      given: wholeOn(committed, cordoned, r2, r3),
      want: { writes: false, state: 'Starting' },
    },
    {
      when: 'B6: it is lost: nothing else starts',
      given: wholeOn(committed, cordoned, r2.notReady(), r3),
      want: { writes: false, state: 'Starting' },
    },
    {
      when: 'B6: it is lost and too late: Stopped is ordered there, and nothing else starts',
      given: wholeOn(committed, cordoned, r2.notReady(), r3).later(60_000),
      want: { state: 'Error', reason: 'DeadlineExceeded', runner: 'r2', epoch: 2, version: 2, releases: [] },
    },
    {
      when: 'B2: it runs: the copy of before goes',
      given: wholeOn(committed, cordoned, r2).reported(aCopy('Running', { order: 4, contentVersion: 2 })),
      want: { ...ran, state: 'Started', raised: 1 },
    },
    {
      when: 'V8: it ran and ended before anybody saw it: the copy of before goes',
      given: wholeOn(committed, cordoned, r2).reported(aCopy('Stopped', { order: 4, contentVersion: 2, exit: anExit('Error') })),
      want: { ...ran, state: 'Stopped', reason: 'RestartBackOff' },
    },
    {
      when: 'V6: it refuses, nothing ran: contentVersion is taken back, and the next target is tried',
      given: wholeOn(committed, cordoned, r2, r3).reported(aCopy('Rejected', { order: 4, reason: 'RuntimeFailed' })),
      want: { state: 'Restoring', runner: 'r3', prev: 'r1', epoch: 3, version: 1, phase: 'Prepared', previous: 'r1/1', releases: ['r2/2'] },
    },
    {
      when: 'V6: it refuses, and the backup would have to be looked at first: back, since whoever waits there is permitted to run',
      given: aWorld(committed)
        .runners(cordoned, r2, r3)
        .reported(aCopy('Rejected', { order: 4, reason: 'RuntimeFailed' })),
      want: { state: 'Starting', runner: 'r1', epoch: 1, highest: 2, version: 2, source: 'Local', releases: ['r2/2'] },
    },
    {
      when: 'V6: it refuses, and there is no other: back, under the epoch of before',
      given: wholeOn(committed, cordoned, r2).reported(aCopy('Rejected', { order: 4, reason: 'RuntimeFailed' })),
      want: {
        ...{ state: 'Starting', runner: 'r1', epoch: 1, highest: 2, version: 2, source: 'Local', releases: ['r2/2'] },
        events: ['RuntimeFailed'],
      },
    },
    {
      when: 'D1: it is not to run any more: Stopped is ordered there',
      given: wholeOn(committed.wantsStopped(), cordoned, r2),
      want: { state: 'Stopping', runner: 'r2', epoch: 2, version: 2, previous: 'r1/1' },
    },
    {
      when: 'D1: it never ran, under a higher order: back, and contentVersion is taken back',
      given: wholeOn(committed.wantsStopped().order(5).status({ state: 'Stopping', reason: 'Stopping' }), cordoned, r2).reported(
        aCopy('Stopped', { order: 5, contentVersion: 0 }),
      ),
      want: { state: 'Stopped', runner: 'r1', epoch: 1, version: 1, releases: ['r2/2'] },
    },
    {
      when: 'D1: it ran, and was stopped: the copy of before goes, and what it has now is backed up',
      given: wholeOn(committed.wantsStopped().order(5).status({ state: 'Stopping', reason: 'Stopping' }), cordoned, r2).reported(
        aCopy('Stopped', { order: 5, contentVersion: 2, exit: anExit('Signaled') }),
      ),
      want: { ...ran, state: 'Stopped', events: ['Stopped', 'BackupRunning'] },
    },
  ]);

  describe('whose disk is gone before anybody saw it run', () => {
    const rebuilt = r2.wiped().rebooted();
    const onceMore = {
      ...{ state: 'Restoring', runner: 'r3', prev: 'r2', epoch: 3, highest: 3, phase: 'Prepared', why: 'ContentMissing' },
      ...{ source: 'Backup 01', previous: 'r2/2', version: 2, releases: [], events: ['Restoring', 'ContentMissing'] },
    } as const;
    const missing = { state: 'Error', reason: 'ContentMissing', runner: 'r2', epoch: 2, version: 2, releases: [] } as const;
    tests([
      { when: 'its machine was booted anew: the same backup once more', given: wholeOn(committed, cordoned, rebuilt, r3), want: onceMore },
      {
        when: 'there, when nothing else fits',
        given: wholeOn(committed, cordoned, rebuilt),
        want: { ...onceMore, runner: 'r2', prev: 'r1' },
      },
      {
        when: 'also when Error was said meanwhile',
        given: wholeOn(committed.failed('ContentMissing'), cordoned, rebuilt, r3),
        want: onceMore,
      },
      {
        when: 'the backup was not looked at: asked first',
        given: aWorld(committed).runners(cordoned, rebuilt, r3),
        want: { asks: ['Meta 01'] },
      },
      {
        when: 'the backup is damaged',
        given: aWorld(committed).runners(cordoned, rebuilt, r3).registry(aLook('Corrupt')),
        want: missing,
      },
      { when: 'it may still run: its machine is as it was', given: wholeOn(committed, cordoned, r2.wiped(), r3), want: missing },
      { when: 'it may still run: only its object is gone', given: wholeOn(committed, cordoned, r3), want: missing },
      {
        when: 'it was started in place, nobody knows what ran: said, and nothing older is started',
        given: wholeOn(
          committed.status({ assignment: { ...assignment, phase: 'Committed', source: { kind: 'Local' } } }),
          cordoned,
          rebuilt,
          r3,
        ),
        want: missing,
      },
    ]);

    const again = decide(wholeOn(committed, cordoned, rebuilt, r3).snapshot()).status;
    const onR3 = committed.status(again);

    it('the copy of before is kept and listed, and so is the lost one when the one that was restored once more runs', () => {
      expect(again.superseded.map(({ runnerName }) => runnerName)).toEqual(['r1']);
      const started = { ...again, state: 'Starting', contentVersion: 3, assignment: { ...again.assignment, phase: 'Committed' } } as const;
      const world = wholeOn(committed.status(started as Partial<typeof again>), cordoned, rebuilt, r3);
      const { status } = decide(world.reported(aCopy('Running', { order: again.order, contentVersion: 3 })).snapshot());
      expect(status).toMatchObject({ state: 'Started', contentVersion: 3, releases: [] });
      expect(status.superseded.map(({ runnerName, epoch }) => `${runnerName}/${epoch}`)).toEqual(['r1/1', 'r2/2']);
    });

    it('the next target is tried, and when none works it is tried again later', () => {
      const refused = wholeOn(onR3, cordoned, rebuilt, r3, aRunner('r4')).reported(
        aCopy('Rejected', { order: again.order, reason: 'OutOfDisk' }),
      );
      expect(seen(refused)).toMatchObject({ state: 'Restoring', epoch: 4, source: 'Backup 01', releases: ['r3/3'], previous: 'r2/2' });
      const alone = wholeOn(onR3, cordoned, rebuilt.unschedulable(), r3).reported(
        aCopy('Rejected', { order: again.order, reason: 'OutOfDisk' }),
      );
      const { status } = decide(alone.snapshot());
      expect(status).toMatchObject({ state: 'Pending', reason: 'OutOfDisk', runnerName: 'r2', contentVersion: 2 });
      expect(
        seen(
          wholeOn(committed.status(status), cordoned, rebuilt, r3)
            .later(600_000)
            .registry(aLook('Whole', { ago: -599_900 })),
        ),
      ).toMatchObject({
        state: 'Restoring',
        runner: 'r3',
        source: 'Backup 01',
        version: 2,
      });
    });
  });

  it('a copy of before whose version no verified backup holds is not removed', () => {
    const older = committed.status({
      assignment: { ...assignment, phase: 'Committed', previous: { runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 7 } },
    });
    expect(seen(wholeOn(older, cordoned, r2).reported(aCopy('Running', { order: 4, contentVersion: 2 })))).toMatchObject({
      state: 'Started',
      releases: [],
      previous: undefined,
    });
  });

  it('the next epoch is above every one that was given, also after going back', () => {
    const { status } = decide(
      wholeOn(restoring, cordoned, r2)
        .reported(aCopy('Rejected', { order: 3, reason: 'OutOfDisk' }))
        .snapshot(),
    );
    const again = backedUp.status({ ...status, state: 'Stopped', contentVersion: 1, releases: [] });
    expect(seen(stopped(again, cordoned, r3))).toMatchObject({ state: 'Restoring', epoch: 3, highest: 3, previous: 'r1/1' });
  });
});

describe('no runner has the files', () => {
  const none = aSandbox().order(5).version(1).status({ state: 'Archived', reason: 'Archived', prevRunnerName: 'r1', highestEpoch: 4 });
  const archived = none.backedUp();
  const restored = {
    state: 'Restoring',
    epoch: 5,
    phase: 'Prepared',
    source: 'Backup 01',
    previous: undefined,
    version: 1,
    why: 'BackupRestored',
  } as const;
  tests([
    {
      when: 'D5, A7: restored on another than the runner before',
      given: stopped(archived, r1, r2.loaded(20)),
      want: { ...restored, runner: 'r2', prev: 'r1' },
    },
    {
      when: 'D5, A7: on the runner before, when nothing else fits',
      given: stopped(archived, r1, r2.unschedulable()),
      want: { ...restored, runner: 'r1', prev: 'r1' },
    },
    {
      when: 'D5, A7: none available',
      given: stopped(archived, r1.unschedulable()),
      want: { state: 'Pending', reason: 'NoRunnerAvailable', asks: [] },
    },
    {
      when: 'D5: not looked at yet',
      given: stopped(archived, r2).registry(),
      want: { state: 'Archived', writes: false, asks: ['Meta 01'] },
    },
    {
      when: 'D5: the registry does not answer',
      given: stopped(archived, r2).registry(aLook('Unavailable')),
      want: { state: 'Pending', reason: 'RegistryUnavailable' },
    },
    {
      when: 'D5: the registry did not answer a while ago',
      given: stopped(archived, r2).registry(aLook('Unavailable', { ago: 6_000 })),
      want: { asks: ['Meta 01'] },
    },
    {
      when: 'D5, A8: it is gone',
      given: stopped(archived, r2).registry(aLook('Missing')),
      want: { state: 'Error', reason: 'NoCurrentBackup' },
    },
    {
      when: 'D5, A8: none is current',
      given: stopped(none.version(2).backedUp({ contentVersion: 1 }), r2),
      want: { state: 'Error', reason: 'NoCurrentBackup' },
    },
    {
      when: 'it stays archived while it is to be stopped',
      given: stopped(archived.wantsStopped(), r2),
      want: { state: 'Archived', writes: false },
    },
  ]);

  it('A7: wakes when a runner can take it', () => {
    expect(decide(stopped(archived, r1.unschedulable()).snapshot()).waitsForRunner).toBe(true);
  });

  it('A8: names the older ones', () => {
    const { status } = decide(stopped(none.version(9).backedUp({ contentVersion: 1 }).backedUp({ contentVersion: 2 }), r2).snapshot());
    expect(status.message).toContain(`${aDigest(2)} (${at(-3_000)}), ${aDigest(1)} (${at(-3_000)})`);
  });
});

describe('D6: the files are gone', () => {
  const runs = aSandbox().onRunner('r1').order(4).version(2).started().backedUp({ contentVersion: 1 });
  tests([
    { when: 'its runner is gone, current: restored', given: wholeOn(backedUp, r2), want: { ...moved, why: 'ContentMissing' } },
    {
      when: 'another disk, current: restored, there if need be',
      given: stopped(backedUp, r1.wiped()),
      want: { state: 'Restoring', runner: 'r1', epoch: 2, prev: undefined },
    },
    { when: 'a complete inventory without it, current', given: wholeOn(backedUp, r1, r2), want: { ...moved, why: 'ContentMissing' } },
    {
      when: 'its runner is gone, not current',
      given: wholeOn(outdated, r2),
      want: { state: 'Error', reason: 'ContentMissing', runner: 'r1' },
    },
    {
      when: 'its runner is gone, current, none available',
      given: wholeOn(backedUp, r2.unschedulable()),
      want: { state: 'Pending', reason: 'NoRunnerAvailable', runner: 'r1' },
    },
    {
      when: 'its runner is gone, current, to be stopped: it rests',
      given: wholeOn(backedUp.wantsStopped(), r2),
      want: { state: 'Stopped' },
    },
    {
      when: 'it may still run, and a restore is asked for: not without a proof',
      given: wholeOn(runs.spec({ restore: { requestID: 'a', digest: aDigest(1) } }), r2),
      want: { state: 'Error', reason: 'ContentMissing', runner: 'r1' },
    },
    {
      when: 'it had ended, and a restore is asked for: it is done, also when Error was said meanwhile',
      given: wholeOn(outdated.failed('ContentMissing').spec({ restore: { requestID: 'a', digest: aDigest(1) } }), r2),
      want: { state: 'Restoring', runner: 'r2', epoch: 2, why: 'RestoreRequested', source: 'Backup 01' },
    },
  ]);
});

describe('D3: spec.restore', () => {
  const asked = (digest = aDigest(1)) => ({ restore: { requestID: 'a', digest } });
  const box = outdated.spec(asked());
  tests([
    {
      when: 'of an older backup: restored on any runner, its own included, as another copy',
      given: stopped(box, r1),
      want: {
        state: 'Restoring',
        runner: 'r1',
        prev: undefined,
        epoch: 2,
        source: 'Backup 01',
        previous: 'r1/1',
        version: 2,
        why: 'RestoreRequested',
      },
    },
    {
      when: 'of one that was taken while it ran',
      given: stopped(
        outdated.backedUp({ contentVersion: 1, takenWhile: 'Paused', digest: aDigest(5) }).spec(asked(aDigest(5))),
        r1,
      ).registry(aLook('Whole', { digest: aDigest(5) })),
      want: { state: 'Restoring', source: 'Backup 05' },
    },
    {
      when: 'of one that is not recorded',
      given: stopped(outdated.spec(asked(aDigest(9))), r1),
      want: { state: 'Error', reason: 'BackupNotFound' },
    },
    {
      when: 'of one that is to be removed',
      given: stopped(
        aSandbox()
          .onRunner('r1')
          .stopped()
          .backedUp({ deletionTime: at(-1_000) })
          .spec(asked()),
        r1,
      ),
      want: { state: 'Error', reason: 'BackupNotFound' },
    },
    {
      when: 'of one that is corrupt',
      given: stopped(box, r1).registry(aLook('Corrupt')),
      want: { state: 'Error', reason: 'BackupUnverified', runner: 'r1' },
    },
    {
      when: 'the registry does not answer',
      given: stopped(box, r1).registry(aLook('Unavailable')),
      want: { state: 'Pending', reason: 'RegistryUnavailable' },
    },
    {
      when: 'it was done',
      given: stopped(box.status({ restore: { requestID: 'a', digest: aDigest(1), completionTime: at(-1_000) } }), r1),
      want: { state: 'Starting', source: 'Local' },
    },
    {
      when: 'it runs: at the next start',
      given: wholeOn(box.started(), r1).reported(aCopy('Running', { order: 4, contentVersion: 2 })),
      want: { state: 'Started', source: 'Image' },
    },
    { when: 'it is to be stopped: at the next start', given: stopped(box.wantsStopped(), r1), want: { state: 'Stopped' } },
    {
      when: 'no target works: back, and not started with other files than those that were asked for',
      given: wholeOn(
        restoring
          .version(1)
          .spec(asked())
          .status({ assignment: { ...assignment, reason: 'RestoreRequested' } }),
        r1,
        r2,
      )
        .reported(aCopy('Rejected', { order: 3, reason: 'OutOfDisk' }))
        .registry(aLook('Unavailable')),
      want: { state: 'Pending', reason: 'OutOfDisk', runner: 'r1', epoch: 1, version: 1 },
    },
  ]);

  it('is answered when what was restored runs, once', () => {
    const running = committed.spec(asked()).status({ assignment: { ...assignment, phase: 'Committed', reason: 'RestoreRequested' } });
    const first = decide(
      wholeOn(running, r1, r2)
        .reported(aCopy('Running', { order: 4, contentVersion: 2 }))
        .snapshot(),
    ).status;
    expect(first.restore).toEqual({ requestID: 'a', digest: aDigest(1), completionTime: at(0) });
    const again = running.status(first).spec({ restore: { requestID: 'b', digest: aDigest(1) } });
    const ended = decide(
      wholeOn(again, r1, r2)
        .reported(aCopy('Stopped', { order: 5, contentVersion: 2, exit: anExit('Error') }))
        .snapshot(),
    ).status;
    expect([ended.state, ended.restore?.requestID]).toEqual(['Stopped', 'a']);
  });
});

describe('S2: archive', () => {
  const wanted = (box: SandboxBuilder) => box.spec({ desiredState: 'Archived' });
  const full = (outcome: Parameters<typeof aLook>[0], ago = 100) => aLook(outcome, { depth: 'Full', ago });
  const archived = {
    state: 'Archived',
    runner: undefined,
    prev: 'r1',
    epoch: undefined,
    highest: 1,
    releases: ['r1/1'],
    version: 1,
    raised: 1,
  } as const;
  tests([
    {
      when: 'it runs: stopped first',
      given: wholeOn(wanted(aSandbox().onRunner('r1').started()), r1).reported(aCopy('Running')),
      want: { state: 'Stopping' },
    },
    {
      when: 'not current: backed up',
      given: stopped(wanted(aSandbox().onRunner('r1').stopped()), r1),
      want: { state: 'Archiving', events: ['Archiving', 'BackupRunning'] },
    },
    {
      when: 'current: every byte is read back first, the sizes do not do',
      given: stopped(wanted(backedUp), r1),
      want: { state: 'Archiving', runner: 'r1', releases: [], asks: ['Full 01'] },
    },
    {
      when: 'current and read back: archived and released in one patch',
      given: stopped(wanted(backedUp), r1).registry(full('Whole')),
      want: archived,
    },
    {
      when: 'read back long ago: again',
      given: stopped(wanted(backedUp), r1).registry(full('Whole', 60_001)),
      want: { state: 'Archiving', releases: [], asks: ['Full 01'] },
    },
    {
      when: 'B5: a byte is wrong: the copy stays, and another backup is made',
      given: stopped(wanted(backedUp), r1).registry(full('Corrupt')),
      want: { state: 'Archiving', runner: 'r1', releases: [], events: ['Archiving', 'BackupUnverified', 'BackupRunning'] },
    },
    {
      when: 'the registry does not answer',
      given: stopped(wanted(backedUp), r1).registry(full('Unavailable')),
      want: { state: 'Error', reason: 'RegistryUnavailable', runner: 'r1', releases: [] },
    },
    {
      when: 'its runner is lost, current and read back',
      given: stopped(wanted(backedUp), r1.notReady()).registry(full('Whole')),
      want: archived,
    },
    {
      when: 'its runner is lost, not current',
      given: stopped(wanted(aSandbox().onRunner('r1').stopped()), r1.notReady()),
      want: { state: 'Pending', reason: 'RunnerLost' },
    },
    { when: 'its files are gone, not current', given: wholeOn(wanted(outdated), r1), want: { state: 'Error', reason: 'ContentMissing' } },
    {
      when: 'no repository is configured: refused with a reason',
      given: stopped(wanted(aSandbox().onRunner('r1').stopped()), r1).withoutRepository(),
      want: { state: 'Error', reason: 'BackupsNotConfigured' },
    },
    { when: 'it has no content', given: aWorld(wanted(aSandbox())), want: { state: 'Archived', version: 0 } },
    {
      when: 'the backup has failed: said until the next try',
      given: stopped(
        wanted(
          aSandbox()
            .onRunner('r1')
            .stopped()
            .backingUp({ kind: 'Archive', state: 'Pending', attempts: 1, retryTime: at(5_000), message: 'It is full.' }),
        ),
        r1,
      ),
      want: { state: 'Error', reason: 'BackupFailed', runner: 'r1' },
    },
    {
      when: 'the backup has failed, and the next try is due',
      given: stopped(
        wanted(
          aSandbox()
            .onRunner('r1')
            .stopped()
            .backingUp({ kind: 'Archive', state: 'Pending', attempts: 1, retryTime: at(0), message: 'It is full.' }),
        ),
        r1,
      ),
      want: { state: 'Archiving', events: ['Archiving', 'BackupRunning'] },
    },
    {
      when: 'D2: it was being restored',
      given: wholeOn(wanted(restoring), cordoned, r2),
      want: { state: 'Stopped', runner: 'r1', epoch: 1, releases: ['r2/2'] },
    },
  ]);

  it('an archived sandbox asks nothing of any runner', () => {
    const { status } = decide(stopped(wanted(backedUp), r1).registry(full('Whole')).snapshot());
    expect(mainOrder(status)).toBeUndefined();
    expect(ordersOf({ status }).map(({ wanted: what, runnerName, epoch }) => `${what} ${runnerName}/${epoch}`)).toEqual(['Absent r1/1']);
  });
});

describe('D0: the backups of a deleted sandbox', () => {
  const box = backedUp.deleting();
  const gone = (world: WorldBuilder) => world.reported(aCopy('Absent', { order: 3 })).absent(1);
  const deleting = box.order(3).status({ state: 'Deleting', transition: { startTime: at(-1_000), attempts: 0 } });
  const ends = (world: WorldBuilder) => {
    const { finalizer, registry, events } = decide(world.snapshot());
    return {
      finalizer,
      asks: registry.map((work) => `${work.kind} ${subject(work)}`),
      events: events.map(({ reason }) => reason),
    };
  };
  it.each([
    { when: 'they are removed with it', given: gone(wholeOn(deleting, r1)), want: { finalizer: 'Keep', asks: ['Delete 01'] } },
    {
      when: 'they are removed: what was pushed and never recorded is looked for',
      given: gone(wholeOn(deleting, r1)).registry(aLook('Deleted', { kind: 'Delete' })),
      want: { finalizer: 'Keep', asks: ['Sweep *'] },
    },
    {
      when: 'a copy is left that could still push: nothing is looked for yet',
      given: wholeOn(deleting, r1).registry(aLook('Deleted', { kind: 'Delete' })),
      want: { finalizer: 'Keep', asks: [] },
    },
    {
      when: 'the runner of the copy is lost: what it may have pushed is looked for',
      given: wholeOn(deleting, aRunner('r1').disconnected()).registry(aLook('Deleted', { kind: 'Delete' })),
      want: { finalizer: 'Keep', asks: ['Sweep *'] },
    },
    {
      when: 'the registry does not let the operator look: it is not waited for, and where to look is said',
      given: gone(wholeOn(deleting, r1)).registry(aLook('Deleted', { kind: 'Delete' }), aLook('Unauthorized', { kind: 'Sweep' })),
      want: { finalizer: 'Remove', events: ['Deleted', 'BackupNotRemoved'] },
    },
    {
      when: 'they are removed, and nothing was found: it goes',
      given: gone(wholeOn(deleting, r1)).registry(aLook('Deleted', { kind: 'Delete' }), aLook('Deleted', { kind: 'Sweep' })),
      want: { finalizer: 'Remove', events: ['Deleted'] },
    },
    {
      when: 'they are removed, and whether there are more is not known by the deadline: it goes, and says where to look',
      given: gone(wholeOn(deleting, r1))
        .registry(aLook('Deleted', { kind: 'Delete' }), aLook('Unavailable', { kind: 'Sweep' }))
        .later(120_000),
      want: { finalizer: 'Remove', events: ['Deleted', 'BackupNotRemoved'] },
    },
    {
      when: 'the registry does not answer: not before the deadline',
      given: gone(wholeOn(deleting, r1)).registry(aLook('Unavailable', { kind: 'Delete' })),
      want: { finalizer: 'Keep', asks: [] },
    },
    {
      when: 'the registry does not answer until the deadline: it goes, and says what stays',
      given: gone(wholeOn(deleting, r1))
        .registry(aLook('Unavailable', { kind: 'Delete' }))
        .later(120_000),
      want: { finalizer: 'Remove', events: ['Deleted', 'BackupNotRemoved'] },
    },
    {
      when: 'the registry removes nothing: it is not waited for, and what stays is said',
      given: gone(wholeOn(deleting, r1)).registry(aLook('Unsupported', { kind: 'Delete' })),
      want: { finalizer: 'Remove', events: ['Deleted', 'BackupNotRemoved'] },
    },
    {
      when: 'they are kept, as asked',
      given: gone(wholeOn(deleting.backupPolicy({ reclaimPolicy: 'Retain' }), r1)),
      want: { finalizer: 'Remove', asks: [], events: ['Deleted'] },
    },
  ])('$when', ({ given, want }) => expect(ends(given)).toMatchObject(want));
});
