import { describe, expect, it } from '@jest/globals';
import type { BackupOperation } from '../../crds/index.ts';
import { aRunner } from '../../test/builders/a-runner-view.ts';
import { aDigest, aRecord, aSandbox, at, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aBackup, aCopy, aLook, aWorld, anExit, sizeInRegistry, subject, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from '../lifecycle/decide.ts';
import { mainOrder } from '../lifecycle/orders.ts';
import type { BackupView } from '../lifecycle/snapshot.ts';

const onR1 = aSandbox().onRunner('r1');
const stopped = onR1.stopped().wantsStopped();
const started = onR1.started();
const repository = 'registry.test/berth/default.box';

/** What a decision makes of the backup of a sandbox. */
function seen(world: WorldBuilder): Seen {
  const { status, events, registry } = decide(world.snapshot());
  const { operation, history = [], requestID } = status.backup ?? {};
  const condition = status.conditions.find(({ type }) => type === 'BackedUp');
  return {
    state: status.state,
    operation: operation?.state,
    kind: operation?.kind,
    id: operation?.id,
    of: operation?.contentVersion,
    reason: operation?.reason,
    attempts: operation?.attempts,
    answered: requestID,
    records: history.map(({ digest, contentVersion, takenWhile }) => `${digest.slice(-2)} ${contentVersion} ${takenWhile}`),
    says: condition?.reason,
    isTold: mainOrder(status)?.backup?.id,
    raised: status.order - world.thawed().sandbox.status.order,
    asks: registry.map((work) => `${work.kind} ${subject(work)}`),
    events: events.map(({ reason }) => reason).filter((reason) => reason.startsWith('Backup')),
  };
}

interface Seen {
  readonly state: string;
  readonly operation: string | undefined;
  readonly kind: string | undefined;
  readonly id: number | undefined;
  /** The contentVersion that is read. */
  readonly of: number | undefined;
  readonly reason: string | undefined;
  readonly attempts: number | undefined;
  readonly answered: string | undefined;
  readonly records: readonly string[];
  readonly says: string | undefined;
  readonly isTold: number | undefined;
  readonly raised: number;
  readonly asks: readonly string[];
  readonly events: readonly string[];
}

interface Row {
  readonly when: string;
  readonly given: WorldBuilder;
  readonly want: Partial<Seen>;
}

/** The copy is stopped or runs as its sandbox says, and its agent says this of backup 1. */
function told(box: SandboxBuilder, backup?: BackupView, state: 'Running' | 'Stopped' = 'Stopped'): WorldBuilder {
  const { order, contentVersion } = box.obj().status;
  const exit = state === 'Stopped' ? anExit('Completed') : undefined;
  return aWorld(box).reported(aCopy(state, { order, contentVersion, exit, backup }));
}

function tests(rows: readonly Row[]): void {
  it.each(rows)('$when', ({ given, want }) => expect(seen(given)).toMatchObject(want));
}

describe('S1: when a backup is made', () => {
  const request = { policy: 'Manual', requestID: 'a' } as const;
  const interval = { policy: 'Interval', intervalSeconds: 60 } as const;
  const begun = { operation: 'Running', id: 1, of: 1, isTold: 1, raised: 1, says: 'BackupRunning', events: ['BackupRunning'] } as const;
  const none = { operation: undefined, raised: 0, events: [] };
  tests([
    { when: 'OnStop: it is stopped', given: told(stopped), want: { ...begun, kind: 'OnStop' } },
    {
      when: 'OnStop: its end is proven: with the same patch',
      given: aWorld(started.stopping().wantsStopped()).reported(aCopy('Stopped', { order: 2, exit: anExit('Signaled') })),
      want: { ...begun, state: 'Stopped', kind: 'OnStop' },
    },
    { when: 'OnStop: a current one is there', given: told(stopped.backedUp()), want: { ...none, says: 'BackupCurrent' } },
    { when: 'OnStop: an outdated one is there', given: told(stopped.backedUp({ contentVersion: 0 })), want: begun },
    {
      when: 'OnStop: one of this version that was taken while it ran is there',
      given: told(stopped.backedUp({ takenWhile: 'Paused' })),
      want: begun,
    },
    { when: 'OnStop: one that nobody has verified is there', given: told(stopped.backedUp({ verifiedTime: undefined })), want: begun },
    { when: 'OnStop: one that is to be removed is there', given: told(stopped.backedUp({ deletionTime: at(-1_000) })), want: begun },
    { when: 'OnStop: it runs', given: told(started, undefined, 'Running'), want: none },
    {
      when: 'OnStop: it ended by itself and stays so',
      given: told(onR1.spec({ restartPolicy: 'Never' }).ended('Error', 'ExitedWithError')),
      want: { ...begun, kind: 'OnStop' },
    },
    {
      when: 'OnStop: it ended by itself and is started again soon',
      given: told(
        onR1.ended('Error', 'RestartBackOff').status({ transition: { startTime: at(-1_000), attempts: 1, retryTime: at(9_000) } }),
      ),
      want: none,
    },
    { when: 'OnStop: its runner is not connected', given: told(stopped).runners(aRunner('r1').disconnected()), want: none },
    { when: 'OnStop: its runner has another disk', given: told(stopped).runners(aRunner('r1').wiped()), want: none },
    { when: 'OnStop: it has no content', given: aWorld(aSandbox().wantsStopped()), want: { ...none, says: 'NoBackup' } },
    {
      when: 'OnStop: there is no repository: said, and nothing is done',
      given: told(stopped).withoutRepository(),
      want: { ...none, says: 'BackupsNotConfigured' },
    },
    { when: 'Never: it is stopped', given: told(stopped.backupPolicy({ policy: 'Never' })), want: { ...none, says: 'NoBackup' } },
    { when: 'Never: one is requested', given: told(stopped.backupPolicy({ policy: 'Never', requestID: 'a' })), want: none },
    { when: 'Manual: it is stopped', given: told(stopped.backupPolicy({ policy: 'Manual' })), want: none },
    { when: 'Manual: one is requested', given: told(stopped.backupPolicy(request)), want: { ...begun, kind: 'Request' } },
    {
      when: 'Manual: one is requested while it runs',
      given: told(started.backupPolicy(request), undefined, 'Running'),
      want: { ...begun, kind: 'Request' },
    },
    {
      when: 'Manual: the request was done',
      given: told(stopped.backupPolicy(request).status({ backup: { requestID: 'a', lastID: 1, history: [] } })),
      want: none,
    },
    {
      when: 'a request of what has a current backup: another one is made',
      given: told(stopped.backedUp().backupPolicy({ requestID: 'a' })),
      want: { operation: 'Running', kind: 'Request', says: 'BackupCurrent' },
    },
    { when: 'Interval: it is stopped', given: told(stopped.backupPolicy(interval)), want: { ...begun, kind: 'OnStop' } },
    { when: 'Interval: it runs since a while', given: told(started.backupPolicy(interval), undefined, 'Running'), want: none },
    {
      when: 'Interval: the time is over',
      given: told(started.backupPolicy(interval), undefined, 'Running').later(60_000),
      want: { ...begun, kind: 'Interval' },
    },
    {
      when: 'Interval: the last backup is not that old',
      given: told(started.backupPolicy(interval).backedUp({ contentVersion: 0, completionTime: at(0) }), undefined, 'Running').later(
        59_000,
      ),
      want: { ...none, says: 'BackupOutdated' },
    },
  ]);

  it('looks again when the interval is over', () => {
    const world = told(started.backupPolicy(interval), undefined, 'Running');
    expect(decide(world.snapshot()).lookAgainMs).toBe(51_000);
  });
});

describe('a backup that runs', () => {
  const running = stopped.backingUp();
  const failed = {
    operation: 'Pending',
    attempts: 1,
    events: ['BackupFailed'],
    says: 'BackupFailed',
    isTold: undefined,
    raised: 1,
  } as const;
  tests([
    { when: 'it waits for its turn', given: told(running, aBackup('Waiting')), want: { operation: 'Running', raised: 0, events: [] } },
    {
      when: 'the registry is down, says the agent: so is said',
      given: told(running, aBackup('Waiting', { reason: 'RegistryUnavailable', message: 'no answer' })),
      want: { operation: 'Running', reason: 'RegistryUnavailable', raised: 0, says: 'BackupRunning' },
    },
    {
      when: 'it is done, says the agent: the operator looks for itself',
      given: told(running, aBackup('Done')),
      want: { operation: 'Running', records: [], asks: ['Verify 01'] },
    },
    {
      when: 'it is done, and was found whole: it is a record',
      given: told(running, aBackup('Done')).registry(aLook('Whole')),
      want: {
        operation: undefined,
        records: ['01 1 Stopped'],
        says: 'BackupCurrent',
        events: ['BackupCompleted'],
        raised: 1,
        isTold: undefined,
      },
    },
    {
      when: 'it is done, and another backup was found whole: that says nothing of this one',
      given: told(running, aBackup('Done')).registry(aLook('Whole', { digest: aDigest(2) })),
      want: { records: [], asks: ['Verify 01'] },
    },
    {
      when: 'it is done, and a part is missing',
      given: told(running, aBackup('Done')).registry(aLook('Missing')),
      want: { ...failed, reason: 'BackupUnverified', records: [] },
    },
    {
      when: 'it is done, and a part is corrupt',
      given: told(running, aBackup('Done')).registry(aLook('Corrupt')),
      want: { ...failed, reason: 'BackupUnverified', records: [] },
    },
    {
      when: 'it is done, and the registry does not answer: it is asked again later',
      given: told(running, aBackup('Done')).registry(aLook('Unavailable')),
      want: { operation: 'Running', reason: 'RegistryUnavailable', records: [], asks: [] },
    },
    {
      when: 'it is done, and the registry did not answer a while ago',
      given: told(running, aBackup('Done')).registry(aLook('Unavailable', { ago: 6_000 })),
      want: { operation: 'Running', asks: ['Verify 01'] },
    },
    {
      when: 'another backup is done, says the agent: that is none of ours',
      given: told(running, aBackup('Done', { id: 2 })).registry(aLook('Whole')),
      want: { operation: 'Running', records: [], asks: [] },
    },
    {
      when: 'a task ran meanwhile, says the agent: not current',
      given: told(running, aBackup('Done', { takenWhile: 'Paused' })).registry(aLook('Whole')),
      want: { records: ['01 1 Paused'], operation: 'Running', id: 2 },
    },
    {
      when: 'it runs under the very version that was read: that was not taken while stopped, whatever the agent says',
      given: told(
        started.backupPolicy({ policy: 'Manual', requestID: 'a' }).backingUp({ kind: 'Request', requestID: 'a' }),
        aBackup('Done'),
        'Running',
      ).registry(aLook('Whole')),
      want: { records: ['01 1 Paused'], answered: 'a', operation: undefined, says: 'BackupOutdated' },
    },
    {
      when: 'it failed, says the agent',
      given: told(running, aBackup('Failed', { reason: 'OutOfDisk', message: 'no space left' })),
      want: { ...failed, reason: 'OutOfDisk' },
    },
    {
      when: 'no byte has moved for five minutes',
      given: told(running, aBackup('Pushing')).later(300_000),
      want: { ...failed, reason: 'DeadlineExceeded' },
    },
    {
      when: 'a byte has moved a minute ago',
      given: told(running, aBackup('Pushing', { progressAt: 1_240_000 })).later(300_000),
      want: { operation: 'Running' },
    },
    {
      when: 'bytes move, and it takes an hour',
      given: told(running, aBackup('Pushing', { progressAt: 4_600_000 })).later(3_600_000),
      want: { ...failed, reason: 'DeadlineExceeded' },
    },
    {
      when: 'it is done, and the registry does not answer by the deadline: it is kept to be looked at, and another one is made',
      given: told(running, aBackup('Done')).later(3_600_000),
      want: { ...failed, reason: 'DeadlineExceeded', records: ['01 1 Stopped'], asks: ['Verify 01'] },
    },
    {
      when: 'it waits for its turn for ten minutes',
      given: told(running, aBackup('Waiting')).later(600_000),
      want: { operation: 'Running' },
    },
    {
      when: 'the agent has not said a word about it for five minutes',
      given: told(running).later(300_000),
      want: { ...failed, reason: 'DeadlineExceeded' },
    },
    {
      when: 'the operator leads since a moment only: it judges no deadline',
      given: told(running).later(300_000).patientUntil(1_330_000),
      want: { operation: 'Running' },
    },
    {
      when: 'its disk is another one now',
      given: told(running).runners(aRunner('r1').wiped()),
      want: { operation: 'Failed', reason: 'BackupGivenUp', records: [] },
    },
    {
      when: 'the sandbox has another copy now',
      given: told(stopped.backingUp({ epoch: 7 }), aBackup('Done')).registry(aLook('Whole')),
      want: { records: [], events: ['BackupGivenUp', 'BackupRunning'], id: 2 },
    },
    {
      when: 'the files are gone: what was made may be all that is left, and is looked at again',
      given: aWorld(running)
        .reported(aCopy('Missing', { order: 3, contentVersion: 1, backup: aBackup('Done') }))
        .registry(aLook('Unavailable')),
      want: { state: 'Error', operation: 'Failed', records: ['01 1 Stopped'], asks: ['Verify 01'] },
    },
    {
      when: 'another policy says Never now',
      given: told(running.backupPolicy({ policy: 'Never' }), aBackup('Pushing')),
      want: { operation: 'Failed', raised: 1 },
    },
    {
      when: 'one is requested meanwhile: this one goes on',
      given: told(running.backupPolicy({ requestID: 'a' }), aBackup('Pushing')),
      want: { operation: 'Running', kind: 'OnStop', answered: undefined },
    },
    {
      when: 'one was requested meanwhile, and this one is done: the requested one begins',
      given: told(running.backupPolicy({ requestID: 'a' }), aBackup('Done')).registry(aLook('Whole')),
      want: { records: ['01 1 Stopped'], operation: 'Running', kind: 'Request', id: 2, answered: undefined },
    },
    {
      when: 'a second request comes: the first one is finished and answered, then the second begins',
      given: told(stopped.backupPolicy({ requestID: 'b' }).backingUp({ kind: 'Request', requestID: 'a' }), aBackup('Done')).registry(
        aLook('Whole'),
      ),
      want: { answered: 'a', operation: 'Running', kind: 'Request', id: 2 },
    },
  ]);

  it('bytes are written into the status every 15 s at most', () => {
    const bytes = (ms: number, box: SandboxBuilder) =>
      decide(
        told(box, aBackup('Pushing', { bytes: 500, progressAt: 1_000_000 + ms }))
          .later(ms)
          .snapshot(),
      ).status.backup?.operation;
    expect(bytes(13_000, running)?.bytes).toBeUndefined();
    expect(bytes(14_000, running)).toMatchObject({ bytes: 500, progressTime: at(14_000) });
    const written = stopped.backingUp({ bytes: 400, progressTime: at(14_000) });
    expect(bytes(28_000, written)?.bytes).toBe(400);
    expect(bytes(29_000, written)?.bytes).toBe(500);
  });

  it('the record has what is known, its size as the registry has it, and the newest is also told apart', () => {
    const { backup } = decide(
      told(running, aBackup('Done', { sizeBytes: 77 }))
        .registry(aLook('Whole'))
        .snapshot(),
    ).status;
    const record = aRecord({ sizeBytes: sizeInRegistry, completionTime: at(0), verifiedTime: at(0) });
    const { verifiedTime: _, ...latest } = record;
    expect(backup).toEqual({ lastID: 1, latest, history: [record], operation: undefined });
  });
});

describe('a start, a stop, a delete during a backup', () => {
  const starts = onR1.stopped().backingUp();
  tests([
    {
      when: 'D8: a start while the files are read waits',
      given: told(starts, aBackup('Diffing')),
      want: { state: 'Pending', operation: 'Running', isTold: 1, raised: 0 },
    },
    {
      when: 'D8: a start that waited goes on when they are read, and what is sent is of the version before',
      given: told(starts.pending('BackupRunning'), aBackup('Pushing')),
      want: { state: 'Starting', operation: 'Running', of: 1, isTold: 1, raised: 1 },
    },
    {
      when: 'a start before they are read: the backup is given up',
      given: told(starts, aBackup('Waiting')),
      want: { state: 'Starting', operation: 'Failed', reason: 'BackupGivenUp', isTold: undefined },
    },
    {
      when: 'it runs again when the backup of before is done: a record, and not current',
      given: told(onR1.order(4).version(2).started().backingUp({ contentVersion: 1 }), aBackup('Done'), 'Running').registry(aLook('Whole')),
      want: { state: 'Started', records: ['01 1 Stopped'], says: 'BackupOutdated' },
    },
    {
      when: 'it runs again when the backup of before fails: it is not tried again',
      given: told(
        onR1.order(4).version(2).started().backingUp({ contentVersion: 1 }),
        aBackup('Failed', { reason: 'OutOfDisk' }),
        'Running',
      ),
      want: { state: 'Started', operation: 'Failed', reason: 'OutOfDisk' },
    },
    {
      when: 'a stop while the files of a running one are read: given up; a request is not answered by that',
      given: told(
        started.wantsStopped().backupPolicy({ requestID: 'a' }).backingUp({ kind: 'Request', requestID: 'a' }),
        aBackup('Diffing'),
        'Running',
      ),
      want: { state: 'Stopping', operation: 'Failed', answered: undefined, isTold: undefined },
    },
    {
      when: 'a stop when they are read: the backup goes on',
      given: told(started.wantsStopped().backingUp({ kind: 'Interval' }), aBackup('Pushing'), 'Running'),
      want: { state: 'Stopping', operation: 'Running', isTold: 1 },
    },
    {
      when: 'a delete: no order names it any more, and nothing is recorded',
      given: told(stopped.backingUp().deleting(), aBackup('Done')).registry(aLook('Whole')),
      want: { state: 'Deleting', isTold: undefined, records: [], raised: 1 },
    },
  ]);
});

describe('a backup that failed', () => {
  const failed: Partial<BackupOperation> = {
    state: 'Pending',
    attempts: 2,
    retryTime: at(8_000),
    reason: 'OutOfDisk',
    message: 'It is full.',
  };
  tests([
    {
      when: 'the next try is due later',
      given: told(stopped.backingUp(failed)),
      want: { operation: 'Pending', attempts: 2, says: 'BackupFailed', raised: 0 },
    },
    {
      when: 'it is due: another one, under another number',
      given: told(stopped.backingUp(failed)).later(8_000),
      want: { operation: 'Running', id: 2, attempts: 2, reason: undefined },
    },
    {
      when: 'it is started meanwhile: it is not tried again',
      given: told(onR1.stopped().backingUp(failed)),
      want: { state: 'Starting', operation: 'Failed', reason: 'OutOfDisk' },
    },
    {
      when: 'one is requested meanwhile: at once',
      given: told(stopped.backingUp(failed).backupPolicy({ requestID: 'a' })),
      want: { operation: 'Running', kind: 'Request', id: 2, attempts: 0 },
    },
    {
      when: 'it is due, and its runner is away',
      given: told(stopped.backingUp(failed)).runners(aRunner('r1').disconnected()).later(8_000),
      want: { operation: 'Pending' },
    },
  ]);

  it('waits longer each time, from 5 s to 5 min', () => {
    const waits = [0, 1, 2, 9].map((attempts) => {
      const world = told(stopped.backingUp({ attempts }), aBackup('Failed', { reason: 'OutOfDisk' }));
      return decide(world.snapshot()).status.backup?.operation?.retryTime;
    });
    expect(waits).toEqual([at(5_000), at(10_000), at(20_000), at(300_000)]);
  });
});

describe('retention', () => {
  const versions = (...list: readonly number[]) =>
    list.reduce((box, contentVersion) => box.backedUp({ contentVersion }), stopped.version(9));
  const marks = (world: WorldBuilder) => {
    const { status, registry } = decide(world.snapshot());
    return {
      marked: status.backup?.history.filter(({ deletionTime }) => deletionTime !== undefined).map(({ contentVersion }) => contentVersion),
      left: status.backup?.history.length,
      asks: registry.map((work) => `${work.kind} ${subject(work)}`),
    };
  };
  const marked = versions(1, 2, 3, 4).backedUp({ contentVersion: 9 });
  it.each([
    { when: 'as many as are kept', box: versions(7, 8, 9), want: { marked: [], left: 3, asks: [] } },
    {
      when: 'one more: the oldest is marked with the patch that removes it',
      box: versions(6, 7, 8, 9),
      want: { marked: [6], asks: ['Delete 01'] },
    },
    { when: 'fewer are kept now', box: versions(6, 7, 8, 9).backupPolicy({ retain: 1 }), want: { marked: [6, 7, 8] } },
    { when: 'the current one is the oldest', box: versions(9, 3, 4, 5), want: { marked: [] } },
    {
      when: 'the newest verified one is the oldest',
      box: stopped
        .version(9)
        .backedUp({ contentVersion: 3 })
        .backedUp({ verifiedTime: undefined })
        .backedUp({ verifiedTime: undefined })
        .backupPolicy({ retain: 1 }),
      want: { marked: [9] },
    },
    {
      when: 'some could not be verified: they take no place from those that were, and are not kept without end either',
      box: [5, 6, 7, 8].reduce(
        (box, contentVersion) => box.backedUp({ contentVersion, verifiedTime: undefined }),
        versions(1, 2, 3).version(9),
      ),
      want: { marked: [5] },
    },
    {
      when: 'the oldest is asked for by spec.restore',
      box: versions(6, 7, 8, 9).spec({ restore: { requestID: 'a', digest: aDigest(1) } }),
      want: { marked: [] },
    },
    {
      when: 'the oldest was restored, as asked',
      box: versions(6, 7, 8, 9)
        .spec({ restore: { requestID: 'a', digest: aDigest(1) } })
        .status({ restore: { requestID: 'a', digest: aDigest(1), completionTime: at(-9_000) } }),
      want: { marked: [6] },
    },
  ])('$when', ({ box, want }) => expect(marks(told(box))).toMatchObject(want));

  it('one that an assignment names stays', () => {
    const source = { kind: 'Backup', digest: aDigest(1), repository } as const;
    const box = started.version(9).order(5);
    const { assignment } = box.obj().status;
    if (assignment === undefined) throw new Error('assigned');
    const named = [6, 7, 8, 8].reduce(
      (one, contentVersion) => one.backedUp({ contentVersion }),
      box.status({ assignment: { ...assignment, source } }),
    );
    expect(marks(told(named, undefined, 'Running'))).toMatchObject({ marked: [] });
    expect(marks(told(named.local(), undefined, 'Running'))).toMatchObject({ marked: [6] });
  });

  it.each([
    { when: 'it is removed: forgotten', outcome: 'Deleted', want: { left: 3, asks: [] } },
    { when: 'it was not there any more: forgotten', outcome: 'Missing', want: { left: 3, asks: [] } },
    { when: 'the registry does not answer: kept, and tried again a minute later', outcome: 'Unavailable', want: { left: 4, asks: [] } },
    { when: 'the registry does not allow it', outcome: 'Unauthorized', want: { left: 4, asks: [] } },
  ] as const)('$when', ({ outcome, want }) => {
    const box = stopped
      .version(9)
      .backedUp({ contentVersion: 6, deletionTime: at(-1_000) })
      .backedUp({ contentVersion: 7 })
      .backedUp({ contentVersion: 8 })
      .backedUp({ contentVersion: 9 });
    expect(marks(told(box).registry(aLook(outcome, { kind: 'Delete' })))).toMatchObject(want);
    expect(marks(told(box).registry(aLook('Unavailable', { kind: 'Delete', ago: 61_000 })))).toMatchObject({
      left: 4,
      asks: ['Delete 01'],
    });
  });

  it('a registry that does not remove it is asked less and less often', () => {
    const box = stopped
      .version(9)
      .backedUp({ contentVersion: 6, deletionTime: at(-1_000) })
      .backedUp({ contentVersion: 9 });
    const after = (failures: number, ago: number) =>
      decide(
        told(box)
          .registry(aLook('Unsupported', { kind: 'Delete', failures, ago }))
          .snapshot(),
      );
    expect([after(1, 60_000).registry.length, after(2, 60_000).registry.length]).toEqual([1, 0]);
    expect([after(99, 14_399_000).registry.length, after(99, 14_400_000).registry.length]).toEqual([0, 1]);
    expect(after(2, 60_000).lookAgainMs).toBe(60_000);
  });

  it('removes nothing that was not marked before', () => {
    expect(marked.obj().status.backup?.history).toHaveLength(5);
    expect(marks(told(versions(7, 8, 9)).registry(aLook('Deleted', { kind: 'Delete' })))).toMatchObject({ left: 3, asks: [] });
  });
});

describe('an order for a backup', () => {
  it('is sent again to an agent that was restarted, though it was accepted', () => {
    const { assignment } = stopped.obj().status;
    expect(assignment).toBeDefined();
    const world = told(stopped.backingUp()).snapshot();
    expect(decide(world).lookAgainMs).toBeLessThanOrEqual(10_000);
  });

  it('of a running sandbox whose spec has changed: what runs is told to be of the old one, before and after', () => {
    const changed = started.changed({ env: [{ name: 'A', value: 'b' }], backup: { ...started.obj().spec.backup, requestID: 'a' } });
    const first = decide(told(changed, undefined, 'Running').snapshot()).status;
    expect([first.reason, first.order]).toEqual(['RestartRequired', 2]);
    const second = decide(told(changed.status(first), aBackup('Pushing'), 'Running').snapshot());
    expect(second.patch).toBeUndefined();
    const reverted = changed.status(first).spec({ env: [] });
    expect(decide(told(reverted, aBackup('Pushing'), 'Running').snapshot()).status.reason).toBe('Started');
  });
});
