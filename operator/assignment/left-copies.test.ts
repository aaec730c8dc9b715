import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Assignment, PreviousCopy, Release, SandboxStatus } from '../../crds/index.ts';
import { sandboxStatusSchema } from '../../crds/sandbox-status.ts';
import { aRunner, type RunnerViewBuilder } from '../../test/builders/a-runner-view.ts';
import { aDigest, aSandbox, at, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aCopy, aLook, aWorld, anExit, subject, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from '../lifecycle/decide.ts';

/** What becomes of the copies that moves and restores leave behind: none is forgotten, none goes without a proof, and their number blocks nothing for ever. */

const [r1, r2, r3] = [aRunner('r1'), aRunner('r2'), aRunner('r3')];
const repository = 'registry.test/berth/default.box';
const names = (copies: readonly Release[]) => copies.map(({ runnerName, epoch }) => `${runnerName}/${epoch}`);

/** What is decided, in the words of the tests. */
function seen(world: WorldBuilder) {
  const { status, registry, events } = decide(world.snapshot());
  return {
    state: status.state,
    reason: status.reason,
    runner: status.runnerName,
    previous: names(status.assignment?.previous === undefined ? [] : [status.assignment.previous]),
    releases: names(status.releases),
    superseded: names(status.superseded),
    asks: registry.map((work) => `${work.kind === 'Verify' ? work.depth : work.kind} ${subject(work)}`),
    events: events.map(({ reason }) => reason),
  };
}

/** The world as it is after this was decided, with the runners and looks that are given. */
function after(box: SandboxBuilder, world: WorldBuilder, ...runners: readonly RunnerViewBuilder[]): WorldBuilder {
  return aWorld(box.status(decide(world.snapshot()).status)).runners(...runners);
}

const previous: PreviousCopy = { runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 7 };
const assignment: Assignment = {
  epoch: 2,
  storeID: 'store-r2',
  bootID: 'boot-r2',
  phase: 'Committed',
  source: { kind: 'Backup', digest: aDigest(1), repository },
  previous,
  reason: 'RestoreRequested',
  startTime: at(-1_000),
  configHash: aSandbox().onRunner('r1').obj().status.assignment?.configHash ?? '',
};
/** Stopped on r1 at version 7, with backups of version 3 and of version 7, and being restored on r2 from the older one as version 8. */
const older = aSandbox()
  .onRunner('r2')
  .stopped()
  .backedUp({ contentVersion: 3 })
  .backedUp({ contentVersion: 7 })
  .order(4)
  .version(8)
  .status({
    state: 'Starting',
    reason: 'Starting',
    startTime: undefined,
    finishTime: undefined,
    exitReason: undefined,
    prevRunnerName: 'r1',
    highestEpoch: 2,
    assignment,
    transition: { startTime: at(-1_000), attempts: 0 },
  });
const runs = aCopy('Running', { order: 4, contentVersion: 8 });
const full = (outcome: Parameters<typeof aLook>[0], ago = 100) => aLook(outcome, { depth: 'Full', digest: aDigest(2), ago });

describe('a copy that a restore has replaced', () => {
  it('is kept when another backup than the one that was restored is said to hold it, and that one is read back', () => {
    expect(seen(aWorld(older).runners(r1, r2).reported(runs))).toMatchObject({
      state: 'Started',
      previous: [],
      releases: [],
      superseded: ['r1/1'],
      asks: ['Full 02'],
    });
  });

  it('goes at once when the backup that was restored is the one that holds it', () => {
    const same = older.status({ assignment: { ...assignment, source: { ...assignment.source, digest: aDigest(2) } } });
    expect(seen(aWorld(same).runners(r1, r2).reported(runs))).toMatchObject({ releases: ['r1/1'], superseded: [], asks: [] });
  });

  const restored = older.status(decide(aWorld(older).runners(r1, r2).reported(runs).snapshot()).status);
  const world = () =>
    aWorld(restored)
      .runners(r1, r2)
      .reported(aCopy('Running', { order: 4, contentVersion: 8 }));
  it.each([
    { when: 'every byte was read back: it goes', given: world().registry(full('Whole')), want: { releases: ['r1/1'], superseded: [] } },
    {
      when: 'read back long ago: again',
      given: world().registry(full('Whole', 60_001)),
      want: { releases: [], superseded: ['r1/1'], asks: ['Full 02'] },
    },
    {
      when: 'only its sizes are known',
      given: world().registry(aLook('Whole', { digest: aDigest(2) })),
      want: { releases: [], superseded: ['r1/1'], asks: ['Full 02'] },
    },
    {
      when: 'a byte is wrong: it stays, and the backup is relied on no more',
      given: world().registry(full('Corrupt')),
      want: { releases: [], superseded: ['r1/1'], asks: [], events: ['BackupUnverified'] },
    },
    {
      when: 'the registry does not answer: it stays',
      given: world().registry(full('Unavailable')),
      want: { releases: [], superseded: ['r1/1'], asks: [] },
    },
    {
      when: 'the backup is to be removed: it stays',
      given: aWorld(older.status({ ...restored.obj().status, backup: marked(restored.obj().status) }))
        .runners(r1, r2)
        .reported(aCopy('Running', { order: 4, contentVersion: 8 }))
        .registry(full('Whole')),
      want: { releases: [], superseded: ['r1/1'] },
    },
  ])('$when', ({ given, want }) => expect(seen(given)).toMatchObject(want));

  function marked({ backup }: SandboxStatus): SandboxStatus['backup'] {
    return backup && { ...backup, history: backup.history.map((record) => ({ ...record, deletionTime: at(-500) })) };
  }
});

describe('a copy before one that is left is not forgotten', () => {
  const asked = { restore: { requestID: 'b', digest: aDigest(1) } };
  it('by another restore, after what was restored before is gone', () => {
    const gone = older.failed('ContentMissing').spec(asked);
    const world = aWorld(gone)
      .runners(r1, r2.wiped().with({ agent: { ...wipedAgent(), bootID: 'boot-other' } }), r3)
      .registry(aLook('Whole'));
    expect(seen(world)).toMatchObject({ state: 'Restoring', previous: ['r2/2'], superseded: ['r1/1'] });
  });

  function wipedAgent() {
    const { agent } = r2.wiped().view();
    if (agent === undefined) throw new Error('not connected');
    return agent;
  }

  it('by a start in place, after what was restored has ended and nobody saw it', () => {
    const ended = older.failed('DeadlineExceeded', { retryMs: -1 }).order(5);
    const world = aWorld(ended)
      .runners(r1, r2)
      .reported(aCopy('Stopped', { order: 5, contentVersion: 8 }));
    expect(seen(world)).toMatchObject({ state: 'Starting', runner: 'r2', previous: [], superseded: ['r1/1'] });
  });

  const copies = (status: SandboxStatus) => {
    const before = status.assignment?.previous === undefined ? [] : [status.assignment.previous];
    const own = status.assignment === undefined ? [] : [{ runnerName: status.runnerName, epoch: status.assignment.epoch }];
    return [...own, ...before, ...status.releases, ...status.superseded].map(({ runnerName, epoch }) => `${runnerName ?? ''}/${epoch}`);
  };
  const states = [
    older,
    older.failed('DeadlineExceeded', { retryMs: -1 }),
    older.failed('ContentMissing'),
    older.status({ state: 'Restoring', assignment: { ...assignment, phase: 'Prepared' } }),
    older.status({ state: 'Stopping', reason: 'Stopping' }),
    older.status({ state: 'Archiving', reason: 'Archiving', startTime: at(-500) }),
    older.stopped().order(4),
    older.started(),
  ];
  const targets = { there: r2, lost: r2.notReady(), 'on another disk': r2.wiped(), away: r2.disconnected(), gone: undefined };
  const rests = { R0: [r1], 'R0 and another': [r1, r3], 'R0, lost': [r1.notReady()], none: [] };
  const keysOf = <Key extends string>(values: Readonly<Record<Key, unknown>>) => Object.keys(values) as Key[];
  const reports = ['none', 'Prepared', 'Running', 'Stopped', 'Rejected', 'Absent', 'Missing'] as const;

  it('whatever is wanted, reported, gone or lost, decided twice', () => {
    const worlds = fc.record({
      at: fc.nat(states.length - 1),
      desired: fc.constantFrom('Started' as const, 'Stopped' as const, 'Archived' as const),
      deleted: fc.boolean(),
      asks: fc.boolean(),
      current: fc.boolean(),
      target: fc.constantFrom(...keysOf(targets)),
      rest: fc.constantFrom(...keysOf(rests)),
      reports: fc.tuple(fc.constantFrom(...reports), fc.constantFrom(...reports)),
      version: fc.constantFrom(0, 7, 8),
    });
    fc.assert(
      fc.property(worlds, ({ at: index, desired, deleted, asks, current, target: targetName, rest, reports: [first, second], version }) => {
        const [target, others]: readonly [RunnerViewBuilder | undefined, readonly RunnerViewBuilder[]] = [targets[targetName], rests[rest]];
        const wished = (states[index] ?? older).spec({ desiredState: desired, ...(asks && asked) });
        const backed = current ? wished.backedUp({ contentVersion: 8 }) : wished;
        const made = deleted ? backed.deleting() : backed;
        const looks = [aDigest(1), aDigest(2), aDigest(3)].flatMap((digest) => [
          aLook('Whole', { digest }),
          aLook('Whole', { digest, depth: 'Full' }),
        ]);
        const at1 = (one: SandboxBuilder, report: (typeof reports)[number]) => {
          const { order } = one.obj().status;
          const base = aWorld(one)
            .runners(...others, ...(target === undefined ? [] : [target]))
            .registry(...looks);
          return report === 'none' ? base : base.reported(aCopy(report, { order, contentVersion: version, exit: anExit('Completed') }));
        };
        const before = made.obj().status;
        const once = decide(at1(made, first).snapshot());
        const twice = decide(at1(made.status(once.status), second).snapshot());
        const isGone = (name: string) => {
          const [runnerName = '', epoch = ''] = name.split('/');
          const [known] = [before, once.status, twice.status]
            .flatMap(allOf)
            .filter((one) => `${one.runnerName}/${one.epoch}` === `${runnerName}/${epoch}`);
          const view = [...others, target].find((one) => one?.view().name === runnerName)?.view();
          // A release whose disk is not there any more is dropped; the others only with a proof that no report of this test gives.
          return view === undefined || view.storeID !== known?.storeID;
        };
        for (const { status, finalizer } of [once, twice]) {
          if (finalizer === 'Remove') return;
          expect(sandboxStatusSchema.safeParse(status).success).toBe(true);
          expect(copies(before).filter((name) => !copies(status).includes(name) && !isGone(name))).toEqual([]);
        }
      }),
      { numRuns: 500 },
    );
  });

  function allOf({
    assignment: own,
    runnerName = '',
    releases,
    superseded,
  }: SandboxStatus): readonly Pick<Release, 'runnerName' | 'storeID' | 'epoch'>[] {
    return [
      ...(own === undefined ? [] : [{ ...own, runnerName }]),
      ...(own?.previous === undefined ? [] : [own.previous]),
      ...releases,
      ...superseded,
    ];
  }
});

describe('as many earlier copies as a status can name', () => {
  const many = (count: number, runnerName: string, from = 100): readonly Release[] =>
    Array.from({ length: count }, (_, index) => ({ runnerName, storeID: `store-${runnerName}`, epoch: from + index, contentVersion: 1 }));
  const box = aSandbox().onRunner('r1').order(4).version(2).stopped().backedUp({ contentVersion: 1 }).order(4);
  const asked = { restore: { requestID: 'a', digest: aDigest(1) } };
  const stopped = (one: SandboxBuilder, ...runners: readonly RunnerViewBuilder[]) =>
    aWorld(one)
      .runners(...runners)
      .registry(aLook('Whole'))
      .reported(aCopy('Stopped', { order: 4, contentVersion: 2, exit: anExit('Completed') }));
  const current = box.backedUp({ contentVersion: 2 });
  const wholeCurrent = [aLook('Whole', { digest: aDigest(2) }), aLook('Whole', { digest: aDigest(2), depth: 'Full' })];

  it.each([
    {
      when: 'superseded: a restore waits and says so, and no other files are started instead',
      given: stopped(box.spec(asked).status({ superseded: many(30, 'r2') }), r1, r2),
      want: { state: 'Pending', reason: 'TooManyCopies', runner: 'r1' },
    },
    {
      when: 'releases: a restore waits and says so',
      given: stopped(box.spec(asked).status({ releases: many(30, 'r2') }), r1, r2),
      want: { state: 'Pending', reason: 'TooManyCopies', runner: 'r1' },
    },
    {
      when: 'room for one more: restored',
      given: stopped(box.spec(asked).status({ superseded: many(29, 'r2') }), r1, r2),
      want: { state: 'Restoring' },
    },
    {
      when: 'it is not asked for any more: started in place',
      given: stopped(box.status({ superseded: many(30, 'r2') }), r1, r2),
      want: { state: 'Starting', runner: 'r1' },
    },
    {
      when: 'superseded: an archived one starts, since it leaves no copy',
      given: aWorld(current.status({ state: 'Archived', runnerName: undefined, assignment: undefined, superseded: many(30, 'r3') }))
        .runners(r1)
        .registry(...wholeCurrent),
      want: { state: 'Restoring', runner: 'r1' },
    },
    {
      when: 'releases: an archived one waits, with the true reason',
      given: aWorld(current.status({ state: 'Archived', runnerName: undefined, assignment: undefined, releases: many(30, 'r3') }))
        .runners(r1, r3)
        .registry(...wholeCurrent),
      want: { state: 'Pending', reason: 'TooManyCopies' },
    },
    {
      when: 'superseded: it is archived all the same',
      given: stopped(current.spec({ desiredState: 'Archived' }).status({ superseded: many(30, 'r2') }), r1, r2).registry(...wholeCurrent),
      want: { state: 'Archived' },
    },
    {
      when: 'releases: archiving waits and says so',
      given: stopped(current.spec({ desiredState: 'Archived' }).status({ releases: many(30, 'r2') }), r1, r2).registry(...wholeCurrent),
      want: { state: 'Pending', reason: 'TooManyCopies' },
    },
    {
      when: 'its runner is lost and it could be moved: said',
      given: stopped(current.status({ superseded: many(30, 'r3') }), r1.notReady(), r2).registry(...wholeCurrent),
      want: { state: 'Pending', reason: 'TooManyCopies', runner: 'r1' },
    },
    {
      when: 'a target refuses: back, and no other is tried',
      given: aWorld(
        older.order(3).status({
          state: 'Restoring',
          contentVersion: 7,
          assignment: {
            ...assignment,
            phase: 'Prepared',
            source: { ...assignment.source, digest: aDigest(2) },
            reason: 'RunnerUnschedulable',
          },
          releases: many(30, 'r3'),
        }),
      )
        .runners(r1, r2, r3)
        .registry(aLook('Whole', { digest: aDigest(2) }))
        .reported(aCopy('Rejected', { order: 3, reason: 'OutOfDisk' })),
      want: { state: 'Starting', runner: 'r1' },
    },
    {
      when: 'a first start is refused: no other runner is tried before there is room',
      given: aWorld(
        aSandbox()
          .onRunner('r1')
          .creating()
          .status({ releases: many(30, 'r3') }),
      )
        .runners(r1, r2, r3)
        .reported(aCopy('Rejected', { order: 1, reason: 'RuntimeFailed' })),
      want: { state: 'Error', reason: 'RuntimeFailed', runner: 'r1' },
    },
  ])('$when', ({ given, want }) => {
    expect(seen(given)).toMatchObject(want);
    expect(decide(given.snapshot()).status.message).toMatch(/\.$/);
  });

  it('says where they are, and goes on when they are gone', () => {
    const full = box.spec(asked).status({ superseded: many(30, 'r2') });
    expect(decide(stopped(full, r1, r2).snapshot()).status.message).toContain('on r2: 0 that are to be removed');
    const waiting = full.status({ ...decide(stopped(full, r1, r2).snapshot()).status, superseded: many(3, 'r2') });
    expect(seen(stopped(waiting, r1, r2))).toMatchObject({ state: 'Restoring' });
  });

  it('a deleted object releases as many as it can, and the others when those are gone', () => {
    const kept = older.deleting().status({ releases: many(20, 'r1', 200), superseded: many(30, 'r3') });
    const first = decide(aWorld(kept).runners(r1, r2, r3).snapshot()).status;
    expect([first.state, first.releases.length, first.superseded.length, first.assignment?.previous]).toEqual([
      'Deleting',
      32,
      19,
      undefined,
    ]);
    expect(sandboxStatusSchema.safeParse(first).success).toBe(true);
    const proven = first.releases.map(({ epoch }) => epoch);
    const second = after(kept, aWorld(kept).runners(r1, r2, r3), r1, r2, r3).absent(...proven);
    const dropped = decide(second.snapshot()).status;
    expect(dropped.releases.length + dropped.superseded.length).toBe(19);
    const third = decide(aWorld(kept.status(dropped)).runners(r1, r2, r3).snapshot()).status;
    expect([third.releases.length, third.superseded.length]).toEqual([19, 0]);
  });

  it('a deleted object notes those that it could not release by the deadline', () => {
    const kept = older.backupPolicy({ reclaimPolicy: 'Retain' }).deletingSince(-200_000);
    const world = aWorld(kept.status({ releases: many(32, 'r1', 200), superseded: many(3, 'r3') })).runners(r1, r2, r3);
    const { finalizer, removals } = decide(world.snapshot());
    expect([finalizer, removals.filter(({ runnerName }) => runnerName === 'r3').length]).toEqual(['Remove', 3]);
  });
});
