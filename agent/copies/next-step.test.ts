import { describe, expect, it } from '@jest/globals';
import { anAcceptance, anExit, aRejection } from '../journal/a-record.ts';
import type { JournalRecord } from '../journal/record.ts';
import { applyRecords, copyEntry, emptyJournal } from '../journal/reduce.ts';
import type { BackupView } from '../backup/stage.ts';
import { aConfig, anOrder } from './an-order.ts';
import { nextStep } from './next-step.ts';
import type { Step } from './next-step.ts';
import { readOrder } from './order.ts';
import type { AttemptWish } from './order.ts';
import type { RuntimeCopy, RuntimeTask } from './runtime.ts';
import type { CopyView } from './view.ts';

const wish = ((): AttemptWish => {
  const order = readOrder(anOrder({ config: aConfig() }));
  if (typeof order === 'string' || !('attempt' in order.wish)) throw new Error('an order to start');
  return order.wish.attempt;
})();

function aCopy(task: RuntimeTask, of: Partial<RuntimeCopy> = {}): RuntimeCopy {
  return {
    key: { uid: 'u1', epoch: 1 },
    namespace: 'default',
    name: 'a',
    note: { order: 0, contentVersion: 0 },
    configHash: 'c1',
    baseDigest: 'sha256:1',
    requests: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
    hasContent: true,
    bootID: 'boot-1',
    task,
    ...of,
  };
}

interface Given {
  readonly records: readonly JournalRecord[];
  readonly copies?: readonly (Partial<CopyView> & { readonly epoch?: number })[];
}

function stepFor({ records, copies = [{}] }: Given): Step {
  const entry = applyRecords(emptyJournal, records).sandboxes.get('u1');
  const blank = { backup: undefined, observed: undefined, wish: undefined, ahead: undefined, exitHint: undefined };
  const views = copies.map((copy) => {
    const epoch = copy.epoch ?? 1;
    const flags = { wasStartAsked: true, isRemoved: false, isWaiting: false, isAbandoned: false, hasOverrun: false };
    return { ...blank, ...flags, epoch, entry: copyEntry(entry, epoch), ...copy };
  });
  return nextStep({ uid: 'u1', bootID: 'boot-1', entry, copies: views });
}

function inShort(step: Step): string {
  switch (step.kind) {
    case 'Rest':
    case 'AwaitOrder':
      return step.kind;
    case 'Prepare':
      return `Prepare ${step.epoch} ${step.wish.source.kind}`;
    case 'RecordStart':
    case 'Start':
    case 'TakeBack':
      return `${step.kind} ${step.epoch} v${step.contentVersion}`;
    case 'RecordExit':
      return `RecordExit ${step.epoch} v${step.contentVersion}${step.exit.rebooted === true ? ' rebooted' : step.exit.lost ? ' lost' : ` code ${step.exit.code}`}`;
    case 'Stop':
      return `Stop ${step.epoch} ${step.graceSeconds}s`;
    case 'FailBackup':
      return `FailBackup ${step.epoch} ${step.reason}`;
    default:
      return `${step.kind} ${step.epoch}`;
  }
}

const toRun = anAcceptance();
const toRunNext = anAcceptance({ order: 3, contentVersion: 2, source: { kind: 'Local', digest: '' } });
const toStop = anAcceptance({ order: 2, wanted: 'Stopped', contentVersion: 0, source: undefined, configHash: '' });
const toRemove = anAcceptance({ order: 2, wanted: 'Absent', contentVersion: 0, source: undefined, configHash: '' });
const starting = (contentVersion: number, epoch = 1): JournalRecord => ({ kind: 'Starting', uid: 'u1', epoch, contentVersion });
const exited = (contentVersion: number): JournalRecord => ({ kind: 'Exited', uid: 'u1', epoch: 1, contentVersion, exit: anExit() });
const gone: JournalRecord = { kind: 'Absent', uid: 'u1', epoch: 1, timeMs: 1 };
const ahead: JournalRecord = {
  ...{ kind: 'Preparing', uid: 'u1', epoch: 1, namespace: 'default', name: 'a', configHash: 'c1', timeMs: 1 },
  source: { kind: 'Image', digest: '' },
};
const none = aCopy({ state: 'None' });
const created = aCopy({ state: 'Created' });
const running = aCopy({ state: 'Running', startTimeMs: 1 });
const ended = aCopy({ state: 'Stopped', exit: anExit({ code: 3 }) });

const waiting = (hasTurn = true, contentVersion = 1): BackupView => ({
  wish: { id: 1, repository: 'registry.test/a', contentVersion, priority: 'Stopped', credentials: [] },
  stage: { kind: 'Waiting' },
  hasTurn,
});

describe('the next step', () => {
  it.each<{ when: string; given: Given; want: string }>([
    // Running
    { when: 'it is to run and nothing is there', given: { records: [toRun], copies: [{ wish }] }, want: 'Prepare 1 Image' },
    { when: 'it is to run, nothing is there and the agent was restarted', given: { records: [toRun] }, want: 'AwaitOrder' },
    { when: 'its task is created', given: { records: [toRun], copies: [{ wish, observed: created }] }, want: 'RecordStart 1 v1' },
    {
      when: 'its task is created with another configuration',
      given: { records: [toRun], copies: [{ wish, observed: aCopy({ state: 'Created' }, { configHash: 'c0' }) }] },
      want: 'Prepare 1 Image',
    },
    {
      when: 'its start is recorded, not asked for',
      given: { records: [toRun, starting(1)], copies: [{ observed: created, wasStartAsked: false }] },
      want: 'Start 1 v1',
    },
    {
      when: 'its start may have been asked for and its task is only created',
      given: { records: [toRun, starting(1)], copies: [{ observed: created }] },
      want: 'Start 1 v1',
    },
    {
      when: 'its start may have been asked for and there is no task',
      given: { records: [toRun, starting(1)], copies: [{ wish, observed: none }] },
      want: 'RecordExit 1 v1 lost',
    },
    {
      when: 'its task is gone with the boot in which it was created',
      given: { records: [toRun, starting(1)], copies: [{ wish, observed: aCopy({ state: 'None' }, { bootID: 'boot-0' }) }] },
      want: 'RecordExit 1 v1 rebooted',
    },
    {
      when: 'its task is gone with the boot of its order, and no label tells of a boot',
      given: {
        records: [anAcceptance({ bootID: 'boot-0' }), starting(1)],
        copies: [{ observed: aCopy({ state: 'None' }, { bootID: '' }) }],
      },
      want: 'RecordExit 1 v1 rebooted',
    },
    {
      when: 'it is to stop, and its task is gone with the boot in which it was created',
      given: { records: [toRun, starting(1), toStop], copies: [{ observed: aCopy({ state: 'None' }, { bootID: 'boot-0' }) }] },
      want: 'RecordExit 1 v1 rebooted',
    },
    {
      when: 'it had ended before the machine was booted anew',
      given: { records: [toRun, starting(1), exited(1)], copies: [{ observed: aCopy({ state: 'None' }, { bootID: 'boot-0' }) }] },
      want: 'Rest',
    },
    {
      when: 'its start was recorded and its container is gone',
      given: { records: [toRun, starting(1)], copies: [{ wish }] },
      want: 'RecordExit 1 v1 lost',
    },
    { when: 'it runs', given: { records: [toRun, starting(1)], copies: [{ observed: running }] }, want: 'Rest' },
    { when: 'it has ended', given: { records: [toRun, starting(1)], copies: [{ observed: ended }] }, want: 'RecordExit 1 v1 code 3' },
    {
      when: 'it has ended and that is recorded',
      given: { records: [toRun, starting(1), exited(1)], copies: [{ wish, observed: ended }] },
      want: 'Rest',
    },
    {
      when: 'a newer version is to run and an older one does',
      given: { records: [toRun, starting(1), toRunNext], copies: [{ wish, observed: running }] },
      want: 'Stop 1 10s',
    },
    {
      when: 'a newer version is to run and the older one has ended',
      given: { records: [toRun, starting(1), exited(1), toRunNext], copies: [{ wish, observed: ended }] },
      want: 'Prepare 1 Local',
    },
    { when: 'a step failed and waits', given: { records: [toRun], copies: [{ wish, isWaiting: true }] }, want: 'Rest' },
    // What does not hold any more
    {
      when: 'the order was rejected and an attempt lies there',
      given: { records: [toRun, aRejection()], copies: [{ wish, observed: none }] },
      want: 'Remove 1',
    },
    {
      when: 'the order was rejected and its attempt is removed',
      given: { records: [toRun, aRejection()], copies: [{ wish, isRemoved: true }] },
      want: 'Forget 1',
    },
    {
      when: 'a newer order of another epoch is known',
      given: { records: [toRun, anAcceptance({ order: 2, epoch: 2, wanted: 'Stopped' })], copies: [{ wish, observed: created }] },
      want: 'Stop 1 0s',
    },
    {
      when: 'the machine was rebooted since the order',
      given: { records: [{ ...toRun, bootID: 'boot-0' }], copies: [{ wish, observed: none }] },
      want: 'Remove 1',
    },
    {
      when: 'a newer order of another epoch is known and it runs',
      given: { records: [toRun, starting(1), anAcceptance({ order: 2, epoch: 2, wanted: 'Stopped' })], copies: [{ observed: running }] },
      want: 'Rest',
    },
    // Two epochs
    {
      when: 'a second epoch is ready and the first still runs',
      given: {
        records: [toRun, starting(1), anAcceptance({ order: 2, epoch: 2, contentVersion: 2 }), starting(2, 2)],
        copies: [{ observed: running }, { epoch: 2, observed: { ...created, key: { uid: 'u1', epoch: 2 } }, wasStartAsked: false }],
      },
      want: 'Stop 1 10s',
    },
    // Stopped
    {
      when: 'it is to stop and runs',
      given: { records: [toRun, starting(1), toStop], copies: [{ observed: running }] },
      want: 'Stop 1 10s',
    },
    {
      when: 'it is to stop and its start was recorded only',
      given: { records: [toRun, starting(1), toStop], copies: [{ wasStartAsked: false }] },
      want: 'TakeBack 1 v1',
    },
    {
      when: 'it is to stop and was only prepared',
      given: { records: [toRun, toStop], copies: [{ observed: created }] },
      want: 'Stop 1 0s',
    },
    {
      when: 'it is to stop and what was prepared is of no use',
      given: { records: [toRun, toStop], copies: [{ observed: none }] },
      want: 'Remove 1',
    },
    { when: 'it is stopped', given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ observed: none }] }, want: 'Rest' },
    { when: 'it is to stop and was never here', given: { records: [toStop] }, want: 'Rest' },
    {
      when: 'the journal does not know that something ran on it',
      given: { records: [toRun, toStop], copies: [{ observed: aCopy({ state: 'None' }, { note: { order: 1, contentVersion: 4 } }) }] },
      want: 'Rest',
    },
    // Absent
    {
      when: 'it is to go and runs',
      given: { records: [toRun, starting(1), toRemove], copies: [{ observed: running }] },
      want: 'Stop 1 10s',
    },
    { when: 'it is to go', given: { records: [toRun, starting(1), exited(1), toRemove], copies: [{ observed: none }] }, want: 'Remove 1' },
    { when: 'it is to go and is removed', given: { records: [toRemove], copies: [{ isRemoved: true }] }, want: 'RecordAbsent 1' },
    { when: 'it is gone', given: { records: [toRemove, gone] }, want: 'Rest' },
    {
      when: 'it is gone and something of it came back',
      given: { records: [toRemove, gone], copies: [{ observed: created }] },
      want: 'Remove 1',
    },
    // Ahead of an order
    { when: 'it is made ahead', given: { records: [ahead], copies: [{ ahead: wish }] }, want: 'Prepare 1 Image' },
    { when: 'it is made ahead and ready', given: { records: [ahead], copies: [{ ahead: wish, observed: created }] }, want: 'Rest' },
    {
      when: 'it was made ahead and nobody wants it any more',
      given: { records: [ahead], copies: [{ observed: created }] },
      want: 'Remove 1',
    },
    { when: 'no order is known of it', given: { records: [], copies: [{ observed: running }] }, want: 'Rest' },
    // Beyond its disk limit
    {
      when: 'it runs and has written more than it may',
      given: { records: [toRun, starting(1)], copies: [{ hasOverrun: true, observed: running }] },
      want: 'Stop 1 1s',
    },
    {
      when: 'it was ended because it had written more than it may',
      given: { records: [toRun, starting(1), exited(1)], copies: [{ hasOverrun: true, observed: none }] },
      want: 'Rest',
    },
    {
      when: 'it is paused and nothing reads it',
      given: { records: [toRun, starting(1)], copies: [{ observed: aCopy({ state: 'Paused' }) }] },
      want: 'Resume 1',
    },
    {
      when: 'it is paused and is to stop',
      given: { records: [toRun, starting(1), toStop], copies: [{ observed: aCopy({ state: 'Paused' }) }] },
      want: 'Stop 1 10s',
    },
    // Backups
    {
      when: 'it has stopped and is to be backed up',
      given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ observed: none, backup: waiting() }] },
      want: 'ReadBackup 1',
    },
    {
      when: 'it is to be backed up and others go first',
      given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ observed: none, backup: waiting(false) }] },
      want: 'AwaitTurn 1',
    },
    {
      when: 'it runs and is to be backed up',
      given: { records: [toRun, starting(1)], copies: [{ observed: running, backup: waiting() }] },
      want: 'ReadBackup 1',
    },
    {
      when: 'it runs, is to stop and to be backed up',
      given: { records: [toRun, starting(1), toStop], copies: [{ observed: running, backup: waiting() }] },
      want: 'Stop 1 10s',
    },
    {
      when: 'its task was made ahead and it is to be backed up',
      given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ observed: created, ahead: wish, backup: waiting() }] },
      want: 'ReadBackup 1',
    },
    {
      when: 'it is to be backed up as it will be after a start that is to come',
      given: { records: [toRun], copies: [{ wish, observed: created, backup: waiting() }] },
      want: 'RecordStart 1 v1',
    },
    {
      when: 'that start waits for its order',
      given: { records: [toRun], copies: [{ backup: waiting() }] },
      want: 'AwaitOrder',
    },
    {
      when: 'it was started once more than what is to be backed up',
      given: { records: [toRun, starting(1), exited(1), toRunNext, starting(2)], copies: [{ observed: running, backup: waiting() }] },
      want: 'FailBackup 1 BackupVersionMismatch',
    },
    {
      when: 'it never was what is to be backed up',
      given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ observed: none, backup: waiting(true, 2) }] },
      want: 'FailBackup 1 BackupVersionMismatch',
    },
    {
      when: 'what is to be backed up is not there',
      given: { records: [toRun, starting(1), exited(1), toStop], copies: [{ backup: waiting() }] },
      want: 'FailBackup 1 ContentMissing',
    },
    {
      when: 'its backup is tried again after a while',
      given: {
        records: [toRun, starting(1), exited(1), toStop],
        copies: [
          { observed: none, backup: { ...waiting(), stage: { kind: 'Waiting', trouble: { reason: 'RuntimeFailed', message: '' } } } },
        ],
      },
      want: 'Rest',
    },
    {
      when: 'its backup is on its way and it is to go',
      given: {
        records: [toRun, starting(1), exited(1), toRemove],
        copies: [{ observed: none, backup: { ...waiting(), stage: { kind: 'Pushing', progress: { bytes: 1, totalBytes: 2 } } } }],
      },
      want: 'Remove 1',
    },
    // Abandoned
    {
      when: 'nobody claims it for long and it runs, without an order',
      given: { records: [], copies: [{ isAbandoned: true, observed: running }] },
      want: 'Stop 1 10s',
    },
    {
      when: 'nobody claims it for long and it runs, as ordered',
      given: { records: [toRun, starting(1)], copies: [{ isAbandoned: true, observed: running }] },
      want: 'Stop 1 10s',
    },
    {
      when: 'nobody claims it for long and it could start',
      given: { records: [toRun], copies: [{ isAbandoned: true, observed: created, wish }] },
      want: 'Stop 1 0s',
    },
    {
      when: 'nobody claims it for long and it has stopped',
      given: { records: [toRun, starting(1), exited(1)], copies: [{ isAbandoned: true, observed: none, wish }] },
      want: 'Rest',
    },
    {
      when: 'nobody claims it for long and it is to go',
      given: { records: [toRun, starting(1), exited(1), toRemove], copies: [{ isAbandoned: true, observed: none }] },
      want: 'Remove 1',
    },
  ])('when $when → $want', ({ given, want }) => {
    expect(inShort(stepFor(given))).toBe(want);
  });
});
