import { describe, expect, it } from '@jest/globals';
import type { SandboxStatus } from '../../crds/index.ts';
import { aRunner } from '../../test/builders/a-runner-view.ts';
import { aSandbox, at, testTime } from '../../test/builders/a-sandbox.ts';
import { aCopy, aWorld, anExit, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from './decide.ts';
import type { Decision } from './decision.ts';
import { ordersOf } from './orders.ts';

/**
 * The part of a decision that a table names: the state it leads to, and what else the row is about. The sandboxes of builders have no
 * conditions yet: writing these alone is no step.
 */
function step(world: WorldBuilder) {
  const { status, patch } = decide(world.snapshot());
  const { state, reason, order, contentVersion, runnerName, assignment } = status;
  return {
    writes: Object.keys(patch ?? {}).some((key) => key !== 'conditions'),
    state,
    reason,
    order,
    contentVersion,
    runnerName,
    epoch: assignment?.epoch,
  };
}

/** Where a row reports nothing of a copy that was stopped, its runner still has it. */
function lying(world: WorldBuilder): WorldBuilder {
  const { sandbox, copy } = world.thawed();
  const { state, order, contentVersion } = sandbox.status;
  const isThere = copy === undefined && (state === 'Stopped' || state === 'Pending') && contentVersion > 0;
  return isThere ? world.reported(aCopy('Stopped', { order, contentVersion, exit: anExit('Completed') })) : world;
}

interface Row {
  readonly when: string;
  readonly given: WorldBuilder;
  readonly want: Partial<ReturnType<typeof step>>;
}

const onR1 = aSandbox().onRunner('r1');
const exit = (reason: Parameters<typeof anExit>[0], more = {}) => aCopy('Stopped', { exit: anExit(reason), ...more });

describe('a sandbox that should run', () => {
  const rows: readonly Row[] = [
    {
      when: 'D4: it has no content and a runner fits: created there, committed at once',
      given: aWorld(aSandbox()).runners(aRunner('r1')),
      want: { state: 'Creating', order: 1, contentVersion: 1, runnerName: 'r1', epoch: 1 },
    },
    {
      when: 'D4: no runner fits: it waits and says why',
      given: aWorld(aSandbox()).runners(aRunner('r1').unschedulable()),
      want: { state: 'Pending', reason: 'NoRunnerAvailable', order: 0, contentVersion: 0, runnerName: undefined },
    },
    {
      when: 'D4: a Secret with credentials is missing: Error before anything is assigned',
      given: aWorld(aSandbox()).credentials({ kind: 'Missing', reason: 'ImagePullSecretNotFound', message: 'There is no Secret "s".' }),
      want: { state: 'Error', reason: 'ImagePullSecretNotFound', order: 0, runnerName: undefined },
    },
    {
      when: 'D4: a Secret that its environment comes from is missing: it waits before anything is assigned',
      given: aWorld(aSandbox()).environment({ kind: 'Missing', reason: 'EnvSecretNotFound', message: 'There is no Secret "s".' }),
      want: { state: 'Pending', reason: 'EnvSecretNotFound', order: 0, runnerName: undefined },
    },
    {
      when: 'D13: a Secret that its environment comes from is missing: it waits with its files',
      given: aWorld(onR1.stopped()).environment({ kind: 'Missing', reason: 'EnvSecretKeyNotFound', message: 'It has no key "k".' }),
      want: { state: 'Pending', reason: 'EnvSecretKeyNotFound', contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'it runs, and the Secret that its environment came from is gone: it runs on',
      given: aWorld(onR1.started())
        .reported(aCopy('Running'))
        .environment({ kind: 'Missing', reason: 'EnvSecretNotFound', message: 'There is no Secret "s".' }),
      want: { state: 'Started', order: 1, contentVersion: 1 },
    },
    {
      when: 'D1: the runner prepares it',
      given: aWorld(onR1.creating()).reported(aCopy('Preparing')),
      want: { writes: false, state: 'Creating' },
    },
    {
      when: 'D1: the runner has not answered at all',
      given: aWorld(onR1.creating()),
      want: { writes: false, state: 'Creating', order: 1 },
    },
    {
      when: 'it runs under its contentVersion: Started, and the orders stay as they are',
      given: aWorld(onR1.creating()).reported(aCopy('Running')),
      want: { state: 'Started', order: 1, contentVersion: 1 },
    },
    {
      when: 'it runs under an older contentVersion: that proves nothing',
      given: aWorld(onR1.starting().version(2).order(3)).reported(aCopy('Running', { order: 3, contentVersion: 1 })),
      want: { writes: false, state: 'Starting' },
    },
    {
      when: 'it ran, says a report from before the order: that proves nothing',
      given: aWorld(onR1.starting().version(2).order(3)).reported(aCopy('Stopped', { order: 2, contentVersion: 2 })),
      want: { writes: false, state: 'Starting' },
    },
    {
      when: 'the order was accepted and what lies there has not been started yet: that is no proof that it never will be',
      given: aWorld(onR1.starting().version(2).order(3)).reported(aCopy('Stopped', { order: 3, contentVersion: 1 })),
      want: { writes: false, state: 'Starting', contentVersion: 2 },
    },
    {
      when: 'D13: it is stopped and its runner is there: started in place under a higher order and contentVersion',
      given: aWorld(onR1.stopped()),
      want: { state: 'Starting', order: 3, contentVersion: 2, runnerName: 'r1', epoch: 1 },
    },
    {
      when: 'D13: its runner is cordoned: still in place',
      given: aWorld(onR1.stopped()).runners(aRunner('r1').unschedulable(), aRunner('r2')),
      want: { state: 'Starting', runnerName: 'r1' },
    },
    {
      when: 'its runner is not connected',
      given: aWorld(onR1.stopped()).runners(aRunner('r1').disconnected(), aRunner('r2')),
      want: { state: 'Pending', reason: 'RunnerNotConnected', runnerName: 'r1', contentVersion: 1 },
    },
    {
      when: 'its runner is not ready',
      given: aWorld(onR1.stopped()).runners(aRunner('r1').notReady(), aRunner('r2')),
      want: { state: 'Pending', reason: 'RunnerLost', runnerName: 'r1' },
    },
    {
      when: 'D11: it does not fit where it lies',
      given: aWorld(onR1.stopped()).runners(aRunner('r1').capacity({ memoryBytes: 1 }), aRunner('r2')),
      want: { state: 'Pending', reason: 'InsufficientOnRunner', runnerName: 'r1', contentVersion: 1 },
    },
    {
      when: 'D6: the object of its runner is gone',
      given: aWorld(onR1.stopped()).runners(aRunner('r2')),
      want: { state: 'Error', reason: 'ContentMissing', runnerName: 'r1', contentVersion: 1 },
    },
    {
      when: 'D6: the object of its runner is gone while the agent, which has the very disk, says that it runs',
      given: aWorld(onR1.started()).reported(aCopy('Running')).withoutRunnerObjects(),
      want: { state: 'Started', order: 1, contentVersion: 1 },
    },
    {
      when: 'D6: the object of its runner is gone, and the agent has another disk',
      given: aWorld(onR1.started()).runners(aRunner('r1').wiped()).withoutRunnerObjects(),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1 },
    },
    {
      when: 'D6: the object of its runner is gone, and the agent has not told all that it has',
      given: aWorld(onR1.started())
        .runners(aRunner('r1').agent({ isComplete: false }))
        .withoutRunnerObjects(),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1 },
    },
    {
      when: 'D6: the object of its runner is gone, and the agent does not have the copy',
      given: aWorld(onR1.started()).withoutRunnerObjects(),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1 },
    },
    {
      when: 'D6: its runner came back with another disk',
      given: aWorld(onR1.stopped()).runners(aRunner('r1').wiped(), aRunner('r2')),
      want: { state: 'Error', reason: 'ContentMissing', runnerName: 'r1', contentVersion: 1 },
    },
    {
      when: 'D6: the inventory is complete and it ran, but the copy is not in it',
      given: aWorld(onR1.started()),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1 },
    },
    {
      when: 'D6: the agent says that the copy is missing',
      given: aWorld(onR1.started()).reported(aCopy('Missing')),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1 },
    },
    {
      when: 'D6: the runner knows only an older contentVersion than was seen running',
      given: aWorld(onR1.stopped().version(3).local()).reported(aCopy('Stopped', { order: 2, contentVersion: 1 })),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 3 },
    },
    {
      when: 'D6: nothing is known of the copy while the agent is not connected: that is no proof',
      given: aWorld(onR1.started()).runners(aRunner('r1').disconnected()),
      want: { state: 'Started' },
    },
    {
      when: 'the copy is back after it was missing: started in place',
      given: aWorld(
        onR1
          .local()
          .order(3)
          .failed('ContentMissing', { attempts: 0 })
          .status({ startTime: at(-9_000) }),
      ).reported(exit('Completed', { order: 3 })),
      want: { state: 'Starting', order: 4, contentVersion: 2 },
    },
    {
      when: 'the copy is still missing: nothing is written again',
      given: aWorld(onR1.started().failed('ContentMissing', { attempts: 0 }).order(2)),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1, order: 2 },
    },
    {
      when: 'restart: a new restartID stops it first',
      given: aWorld(onR1.started().spec({ restartID: 'a' })).reported(aCopy('Running')),
      want: { state: 'Stopping', reason: 'Restarting', order: 2, contentVersion: 1 },
    },
    {
      when: 'restart: it is proven stopped: started in place',
      given: aWorld(onR1.started().stopping().spec({ restartID: 'a' })).reported(exit('Signaled', { order: 2 })),
      want: { state: 'Starting', order: 3, contentVersion: 2 },
    },
    {
      when: 'restart: done already',
      given: aWorld(onR1.started().spec({ restartID: 'a' }).status({ restartID: 'a' })).reported(aCopy('Running')),
      want: { state: 'Started', order: 1 },
    },
    {
      when: 'env and limits are changed while it runs: nothing is restarted',
      given: aWorld(onR1.started().changed({ env: [{ name: 'A', value: 'b' }] })).reported(aCopy('Running')),
      want: { state: 'Started', order: 1, contentVersion: 1 },
    },
  ];
  it.each(rows)('$when', ({ given, want }) => expect(step(lying(given))).toMatchObject(want));
});

describe('an attempt that failed', () => {
  const rejected = (reason: string, more = {}) => aCopy('Rejected', { reason, message: 'it did not work', ...more });
  const rows: readonly Row[] = [
    {
      when: 'the image does not exist: Error, nothing ran, the runner is kept and not blamed',
      given: aWorld(onR1.creating()).reported(rejected('ImageNotFound')),
      want: { state: 'Error', reason: 'ImageNotFound', contentVersion: 0, order: 2, runnerName: 'r1' },
    },
    {
      when: 'the runner is at fault: another one in the same patch, under a new epoch',
      given: aWorld(onR1.creating()).reported(rejected('RuntimeFailed')),
      want: { state: 'Creating', contentVersion: 1, order: 2, runnerName: 'r2', epoch: 2 },
    },
    {
      when: 'the runner is at fault and there is no other: Error with its reason',
      given: aWorld(onR1.creating()).runners(aRunner('r1')).reported(rejected('RuntimeFailed')),
      want: { state: 'Error', reason: 'RuntimeFailed', contentVersion: 0, runnerName: 'r1' },
    },
    {
      when: 'every runner was tried: Error with the reason, not round and round',
      given: aWorld(onR1.creating().status({ transition: { startTime: at(0), attempts: 1 } })).reported(rejected('RuntimeFailed')),
      want: { state: 'Error', reason: 'RuntimeFailed', runnerName: 'r1' },
    },
    {
      when: 'the runner is full by its own count and there is no other: it waits',
      given: aWorld(onR1.creating()).runners(aRunner('r1')).reported(rejected('InsufficientOnRunner')),
      want: { state: 'Pending', reason: 'NoRunnerAvailable', contentVersion: 0 },
    },
    {
      when: 'a start in place finds no room: it waits, and contentVersion is taken back',
      given: aWorld(onR1.starting().version(2).order(3)).reported(rejected('InsufficientOnRunner', { order: 3, contentVersion: 1 })),
      want: { state: 'Pending', reason: 'InsufficientOnRunner', contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'a start in place finds nothing there: never from the image',
      given: aWorld(onR1.starting().version(2).order(3)).reported(rejected('ContentMissing', { order: 3, contentVersion: 1 })),
      want: { state: 'Error', reason: 'ContentMissing', contentVersion: 1, runnerName: 'r1', epoch: 1 },
    },
    {
      when: 'a start in place fails on the runner: Error, the files lie nowhere else',
      given: aWorld(onR1.starting().version(2).order(3)).reported(rejected('RuntimeFailed', { order: 3, contentVersion: 1 })),
      want: { state: 'Error', reason: 'RuntimeFailed', contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'a rejection of an older order proves nothing',
      given: aWorld(onR1.starting().version(2).order(3)).reported(rejected('RuntimeFailed', { order: 2, contentVersion: 1 })),
      want: { writes: false, state: 'Starting', contentVersion: 2 },
    },
    {
      when: 'a reason that this version does not know',
      given: aWorld(onR1.creating()).runners(aRunner('r1')).reported(rejected('SomethingNew')),
      want: { state: 'Error', reason: 'RuntimeFailed' },
    },
    {
      when: 'an end that nobody saw is recorded once and not anew with every look',
      given: aWorld(onR1.local().ended('Lost', 'ExitLost').failed('CommandNotFound', { retryMs: 4_000 })).reported(
        aCopy('Stopped', { order: 2, exit: anExit('Lost', { finishTimeMs: 0 }) }),
      ),
      want: { writes: false, state: 'Error' },
    },
    {
      when: 'the back-off is not over',
      given: aWorld(onR1.version(0).failed('ImageNotFound', { retryMs: 4_000 })),
      want: { state: 'Error', runnerName: 'r1' },
    },
    {
      when: 'the back-off is over and the sandbox was at fault: the same runner and epoch again',
      given: aWorld(onR1.version(0).failed('ImageNotFound', { retryMs: -1 })),
      want: { state: 'Creating', contentVersion: 1, runnerName: 'r1', epoch: 1, order: 2 },
    },
    {
      when: 'the back-off is over and the registry was at fault: rather another runner',
      given: aWorld(onR1.version(0).failed('ImagePullFailed', { retryMs: -1 })),
      want: { state: 'Creating', contentVersion: 1, runnerName: 'r2', epoch: 2 },
    },
    {
      when: 'the back-off is over and the runner has buried the epoch: a new one',
      given: aWorld(onR1.version(0).failed('ImageNotFound', { retryMs: -1 }))
        .runners(aRunner('r1'))
        .reported(aCopy('Absent')),
      want: { state: 'Creating', runnerName: 'r1', epoch: 2 },
    },
    {
      when: 'the spec was changed: tried at once',
      given: aWorld(
        onR1
          .version(0)
          .failed('CommandNotFound', { retryMs: 200_000, attempts: 9 })
          .changed({ command: ['true'] }),
      ),
      want: { state: 'Creating', contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'the credentials are there now',
      given: aWorld(aSandbox().failed('ImagePullSecretNotFound', { retryMs: -1 })),
      want: { state: 'Creating' },
    },
  ];
  it.each(rows)('$when', ({ given, want }) => expect(step(lying(given))).toMatchObject(want));

  it('leaves a record for what may be left on the runner that is left', () => {
    const { status } = decide(aWorld(onR1.creating()).reported(rejected('RuntimeFailed')).snapshot());
    expect(status).toMatchObject({
      prevRunnerName: 'r1',
      releases: [{ runnerName: 'r1', storeID: 'store-r1', epoch: 1, contentVersion: 0 }],
      transition: { attempts: 1 },
    });
    expect(ordersOf({ status }).map(({ runnerName, wanted, epoch, order }) => [runnerName, wanted, epoch, order])).toEqual([
      ['r2', 'Running', 2, 2],
      ['r1', 'Absent', 1, 2],
    ]);
  });

  it.each([
    { attempts: 0, jitter: 0, seconds: 1 },
    { attempts: 1, jitter: 0, seconds: 2 },
    { attempts: 5, jitter: 0, seconds: 32 },
    { attempts: 20, jitter: 0, seconds: 300 },
    { attempts: 20, jitter: 0.5, seconds: 270 },
  ])('is tried again after $seconds s when $attempts failed before', ({ attempts, jitter, seconds }) => {
    const sandbox = onR1.creating().status({ transition: { startTime: at(-1_000), attempts } });
    const { status, lookAgainMs } = decide(aWorld(sandbox).reported(rejected('ImageNotFound')).jitter(jitter).snapshot());
    expect(status.transition).toEqual({ startTime: at(0), attempts: attempts + 1, retryTime: at(seconds * 1000) });
    expect(lookAgainMs).toBeLessThanOrEqual(seconds * 1000);
  });

  it('a retry that is overdue and waits for the proof that nothing runs is not looked at in a loop', () => {
    const world = aWorld(onR1.order(2).failed('DeadlineExceeded', { retryMs: -5_000 })).reported(aCopy('Running'));
    const { patch, lookAgainMs } = decide(world.snapshot());
    expect(Object.keys(patch ?? {})).toEqual(['conditions']);
    expect(lookAgainMs).toBe(10_000);
  });

  it.each([
    { reason: 'RuntimeFailed', lesson: { runnerName: 'r1', kind: 'Failed' } },
    { reason: 'OutOfDisk', lesson: { runnerName: 'r1', kind: 'Failed' } },
    { reason: 'ImageNotFound', lesson: undefined },
    { reason: 'CommandNotFound', lesson: undefined },
    { reason: 'ImagePullFailed', lesson: undefined },
    { reason: 'InsufficientOnRunner', lesson: undefined },
  ])('teaches about the runner when it is at fault: $reason', ({ reason, lesson }) => {
    expect(decide(aWorld(onR1.creating()).reported(rejected(reason)).snapshot()).lesson).toEqual(lesson);
  });
});

describe('a sandbox that should not run', () => {
  const rows: readonly Row[] = [
    { when: 'it was never started', given: aWorld(aSandbox().wantsStopped()), want: { state: 'Stopped', reason: 'Stopped', order: 0 } },
    {
      when: 'S1: it runs',
      given: aWorld(onR1.started().wantsStopped()).reported(aCopy('Running')),
      want: { state: 'Stopping', order: 2, contentVersion: 1 },
    },
    {
      when: 'S1: it is being created: a higher Stopped there, only proof leaves it',
      given: aWorld(onR1.creating().wantsStopped()),
      want: { state: 'Stopping', order: 2, contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'it is stopping, says its runner',
      given: aWorld(onR1.started().stopping().wantsStopped()).reported(aCopy('Stopping', { order: 2 })),
      want: { writes: false, state: 'Stopping' },
    },
    {
      when: 'it was stopped, says a report from before the order',
      given: aWorld(onR1.started().stopping().wantsStopped()).reported(aCopy('Stopped', { order: 1 })),
      want: { state: 'Stopping' },
    },
    {
      when: 'it is proven stopped: with the same patch a backup is begun, under a raised order',
      given: aWorld(onR1.started().stopping().wantsStopped()).reported(exit('Signaled', { order: 2 })),
      want: { state: 'Stopped', reason: 'Stopped', order: 3, contentVersion: 1 },
    },
    {
      when: 'it never started: contentVersion is taken back',
      given: aWorld(onR1.creating().stopping().wantsStopped()).reported(aCopy('Stopped', { order: 2, contentVersion: 0 })),
      want: { state: 'Stopped', contentVersion: 0 },
    },
    {
      when: 'the order to run was rejected meanwhile',
      given: aWorld(onR1.creating().wantsStopped()).reported(aCopy('Rejected', { reason: 'ImageNotFound' })),
      want: { state: 'Stopped', contentVersion: 0 },
    },
    {
      when: 'it is in Error, and proven at rest',
      given: aWorld(onR1.creating().failed('DeadlineExceeded').order(2).wantsStopped()).reported(
        aCopy('Stopped', { order: 2, contentVersion: 0 }),
      ),
      want: { state: 'Stopped', contentVersion: 0 },
    },
    {
      when: 'it is in Error and nobody knows whether it runs',
      given: aWorld(onR1.creating().failed('DeadlineExceeded').order(2).wantsStopped()).runners(aRunner('r1').disconnected()),
      want: { state: 'Error', contentVersion: 1 },
    },
    {
      when: 'it waits for room',
      given: aWorld(onR1.stopped().pending('InsufficientOnRunner').wantsStopped()),
      want: { state: 'Stopped', order: 3 },
    },
    {
      when: 'D6: its files are gone',
      given: aWorld(onR1.stopped().wantsStopped()).runners(aRunner('r2')),
      want: { state: 'Error', reason: 'ContentMissing' },
    },
    { when: 'it is stopped', given: aWorld(onR1.stopped().backedUp().wantsStopped()), want: { state: 'Stopped', order: 2 } },
  ];
  it.each(rows)('$when', ({ given, want }) => expect(step(lying(given))).toMatchObject(want));
});

describe('S4: the main process ended', () => {
  const running = onR1.started();
  const rows: readonly (Row & { readonly also?: Partial<SandboxStatus> })[] = [
    {
      when: 'policy Always: Stopped is recorded under a raised order, and it waits',
      given: aWorld(running).reported(exit('Error')),
      want: { state: 'Stopped', reason: 'RestartBackOff', order: 2, contentVersion: 1 },
      also: { exitCode: 3, exitReason: 'Error', transition: { startTime: at(0), attempts: 1, retryTime: at(1_000) } },
    },
    {
      when: 'it ended before it was seen running',
      given: aWorld(onR1.creating()).reported(exit('Completed')),
      want: { state: 'Stopped', reason: 'RestartBackOff', order: 2, contentVersion: 1 },
    },
    {
      when: 'policy OnFailure and it failed',
      given: aWorld(running.spec({ restartPolicy: 'OnFailure' })).reported(exit('OOMKilled')),
      want: { state: 'Stopped', reason: 'RestartBackOff' },
    },
    {
      when: 'policy OnFailure and it completed',
      given: aWorld(running.spec({ restartPolicy: 'OnFailure' })).reported(exit('Completed')),
      want: { state: 'Stopped', reason: 'Completed', order: 2 },
    },
    {
      when: 'policy Never',
      given: aWorld(running.spec({ restartPolicy: 'Never' })).reported(
        exit('Signaled', { exit: anExit('Signaled', { code: 137, signal: 9 }) }),
      ),
      want: { state: 'Stopped', reason: 'Signaled' },
      also: { exitCode: 137, restartCount: 0, transition: undefined },
    },
    {
      when: 'nobody saw how',
      given: aWorld(running.spec({ restartPolicy: 'Never' })).reported(exit('Lost', { exit: anExit('Lost', { finishTimeMs: 0 }) })),
      want: { state: 'Stopped', reason: 'ExitLost' },
      also: { exitCode: 255, finishTime: at(0) },
    },
    {
      when: 'the machine was booted anew: started again soon, whatever went before',
      given: aWorld(running.status({ transition: { startTime: at(-5_000), attempts: 7 } })).reported(
        exit('RunnerRebooted', { exit: anExit('RunnerRebooted', { finishTimeMs: 0 }) }),
      ),
      want: { state: 'Stopped', reason: 'RestartBackOff' },
      also: { exitReason: 'RunnerRebooted', transition: { startTime: at(0), attempts: 1, retryTime: at(1_000) } },
    },
    {
      when: 'the wait is not over',
      given: aWorld(
        onR1.ended('Error', 'RestartBackOff').status({ transition: { startTime: at(-1_000), attempts: 1, retryTime: at(500) } }),
      ),
      want: { state: 'Stopped', reason: 'RestartBackOff' },
    },
    {
      when: 'the wait is over: same runner, same epoch, contentVersion + 1',
      given: aWorld(
        onR1.ended('Error', 'RestartBackOff').status({ transition: { startTime: at(-2_000), attempts: 4, retryTime: at(-1) } }),
      ),
      want: { state: 'Starting', order: 3, contentVersion: 2, runnerName: 'r1', epoch: 1 },
      also: { restartCount: 1 },
    },
    {
      when: 'the wait is over, and policy says Never now',
      given: aWorld(
        onR1
          .ended('Error', 'RestartBackOff')
          .status({ transition: { startTime: at(-2_000), attempts: 4, retryTime: at(-1) } })
          .changed({ restartPolicy: 'Never' })
          .backedUp(),
      ),
      want: { state: 'Stopped', reason: 'ExitedWithError', order: 2 },
    },
    {
      when: 'it ended long ago, and policy says Always now',
      given: aWorld(onR1.ended('Error', 'ExitedWithError').changed({ restartPolicy: 'Always' })),
      want: { state: 'Stopped', reason: 'RestartBackOff' },
    },
    {
      when: 'it ended and stays so: env is changed',
      given: aWorld(
        onR1
          .spec({ restartPolicy: 'Never' })
          .ended('Error', 'ExitedWithError')
          .changed({ env: [{ name: 'A', value: 'b' }] })
          .backedUp(),
      ),
      want: { state: 'Stopped', reason: 'ExitedWithError', order: 2 },
    },
    {
      when: 'it ended and stays so: a restart is asked for',
      given: aWorld(onR1.spec({ restartPolicy: 'Never' }).ended('Error', 'ExitedWithError').changed({ restartID: 'again' })),
      want: { state: 'Starting', order: 3, contentVersion: 2 },
      also: { restartID: 'again', restartCount: 0 },
    },
    {
      when: 'it was asked to end meanwhile',
      given: aWorld(running.wantsStopped()).reported(exit('Error')),
      want: { state: 'Stopped', reason: 'Stopped', order: 2 },
      also: { exitCode: 3 },
    },
  ];
  it.each(rows)('$when', ({ given, want, also }) => {
    const withCopy = lying(given);
    expect(step(withCopy)).toMatchObject(want);
    if (also !== undefined) expect(decide(withCopy.snapshot()).status).toMatchObject(also);
  });

  it('waits longer each time, and begins anew after a steady run', () => {
    const after = (attempts: number, ranMs: number) => {
      const sandbox = running.status({ startTime: at(-ranMs), transition: { startTime: at(-ranMs), attempts } });
      const report = exit('Error', { exit: anExit('Error', { finishTimeMs: testTime }) });
      return decide(aWorld(sandbox).reported(report).snapshot()).status.transition;
    };
    expect(after(0, 1_000)).toEqual({ startTime: at(0), attempts: 1, retryTime: at(1_000) });
    expect(after(3, 1_000)).toEqual({ startTime: at(0), attempts: 4, retryTime: at(8_000) });
    expect(after(30, 1_000)).toEqual({ startTime: at(0), attempts: 31, retryTime: at(300_000) });
    expect(after(30, 600_000)).toEqual({ startTime: at(0), attempts: 1, retryTime: at(1_000) });
  });

  it('keeps counting over a start that follows an end, and not over one that follows failures to start', () => {
    const starting = onR1.starting().version(2).order(3);
    const counted = (finishedMs: number) => {
      const sandbox = starting.status({ finishTime: at(finishedMs), transition: { startTime: at(-1_000), attempts: 5 } });
      return decide(
        aWorld(sandbox)
          .reported(aCopy('Running', { order: 3, contentVersion: 2 }))
          .snapshot(),
      ).status.transition?.attempts;
    };
    expect(counted(-20_000)).toBe(5);
    expect(counted(-3_600_000)).toBeUndefined();
  });
});

describe('deadlines', () => {
  const creating = onR1.creating(0);
  const rows: readonly (Row & { readonly lookAgainMs?: number })[] = [
    { when: 'Creating has 300 s', given: aWorld(creating).later(299_000), want: { state: 'Creating' } },
    {
      when: 'Creating without byte progress for 300 s: Error, Stopped is ordered, nothing is taken back without proof',
      given: aWorld(creating).later(300_000),
      want: { state: 'Error', reason: 'DeadlineExceeded', order: 2, contentVersion: 1, runnerName: 'r1' },
    },
    {
      when: 'Creating with bytes that moved 100 s ago',
      given: aWorld(creating)
        .reported(aCopy('Preparing', { bytes: 10, progressAt: 1_000_000 + 500_000 }))
        .later(600_000),
      want: { writes: false, state: 'Creating' },
    },
    {
      when: 'Creating has 60 min in all',
      given: aWorld(creating)
        .reported(aCopy('Preparing', { bytes: 10, progressAt: 1_000_000 + 3_599_000 }))
        .later(3_600_000),
      want: { state: 'Error', reason: 'DeadlineExceeded' },
    },
    {
      when: 'Starting has 60 s, whatever moves',
      given: aWorld(onR1.starting(0).version(2).order(3))
        .reported(aCopy('Preparing', { order: 3, contentVersion: 1, bytes: 10, progressAt: 1_059_000 }))
        .later(60_000),
      want: { state: 'Error', reason: 'DeadlineExceeded', order: 4, contentVersion: 2 },
    },
    {
      when: 'a deadline counts from when the state was entered, whatever else of status and spec has changed',
      given: aWorld(
        creating
          .changed({ env: [{ name: 'A', value: 'b' }] })
          .status({ message: 'Something else.', restartCount: 7, conditions: [] })
          .metadata({ labels: { a: 'b' } }),
      )
        .reported(aCopy('Preparing', { bytes: 10, progressAt: 1_000_000 + 10_000 }))
        .later(310_000),
      want: { state: 'Error', reason: 'DeadlineExceeded' },
    },
    {
      when: 'Stopping has its grace',
      given: aWorld(onR1.started().stopping(0).wantsStopped())
        .reported(aCopy('Stopping', { order: 2 }))
        .later(39_000),
      want: { state: 'Stopping' },
    },
    {
      when: 'Stopping has its grace and 30 s',
      given: aWorld(onR1.started().stopping(0).wantsStopped())
        .reported(aCopy('Stopping', { order: 2 }))
        .later(40_000),
      want: { state: 'Error', reason: 'DeadlineExceeded', order: 2 },
    },
    {
      when: 'a new leader is patient',
      given: aWorld(creating)
        .later(900_000)
        .patientUntil(1_000_000 + 930_000),
      want: { state: 'Creating' },
      lookAgainMs: 10_000,
    },
  ];
  it.each(rows)('$when', ({ given, want, lookAgainMs }) => {
    expect(step(lying(given))).toMatchObject(want);
    if (lookAgainMs !== undefined) expect(decide(given.snapshot()).lookAgainMs).toBe(lookAgainMs);
  });

  it.each([
    { when: 'never started', copy: aCopy('Stopped', { order: 2, contentVersion: 0 }), want: { state: 'Creating', contentVersion: 1 } },
    { when: 'started after all', copy: exit('Signaled', { order: 2 }), want: { state: 'Starting', contentVersion: 2, runnerName: 'r1' } },
    { when: 'not answering yet', copy: aCopy('Preparing', { order: 1 }), want: { state: 'Error', contentVersion: 1 } },
    { when: 'still running', copy: aCopy('Stopping', { order: 2 }), want: { state: 'Error', contentVersion: 1 } },
  ])('after Creating was given up, the runner says $when', ({ copy, want }) => {
    const given = aWorld(onR1.creating().failed('DeadlineExceeded', { retryMs: -1 }).order(2)).reported(copy);
    expect(step(lying(given))).toMatchObject(want);
  });
});

describe('orders that can not be sent as they are', () => {
  const changed = onR1.creating().changed({ env: [{ name: 'A', value: 'b' }] });
  const rows: readonly Row[] = [
    {
      when: 'the spec changed before the runner had the order: raised',
      given: aWorld(changed),
      want: { state: 'Creating', order: 2, contentVersion: 1 },
    },
    {
      when: 'the spec changed after the runner had the order on this stream: it stays',
      given: aWorld(changed).reported(aCopy('Preparing')).sent(1),
      want: { state: 'Creating', order: 1 },
    },
    {
      when: 'the agent has begun a new stream and the spec changed meanwhile: raised',
      given: aWorld(changed).reported(aCopy('Preparing')).sent(0),
      want: { state: 'Creating', order: 2, contentVersion: 1 },
    },
    {
      when: 'the runner is not connected: nothing is written for it yet',
      given: aWorld(changed).runners(aRunner('r1').disconnected()),
      want: { state: 'Creating', order: 1 },
    },
    {
      when: 'the machine was booted anew before it was started: raised, for the new boot',
      given: aWorld(onR1.creating())
        .runners(aRunner('r1').rebooted())
        .reported(aCopy('Stopped', { contentVersion: 0 }))
        .sent(1),
      want: { state: 'Creating', order: 2, contentVersion: 1 },
    },
    {
      when: 'the runner knows a higher number',
      given: aWorld(onR1.creating()).refused({ order: 1, code: 'Superseded', highestOrder: 7 }),
      want: { state: 'Creating', order: 8 },
    },
    {
      when: 'the runner knows another order of this number',
      given: aWorld(onR1.creating()).refused({ order: 1, code: 'ContentConflict', highestOrder: 1 }),
      want: { order: 2 },
    },
    {
      when: 'the refusal is about an older number',
      given: aWorld(onR1.creating().order(3)).refused({ order: 1, code: 'Superseded', highestOrder: 3 }),
      want: { order: 3 },
    },
  ];
  it.each(rows)('$when', ({ given, want }) => expect(step(lying(given))).toMatchObject(want));

  it('takes the new boot and the new hash with the new number', () => {
    const { status } = decide(aWorld(changed).runners(aRunner('r1').rebooted()).snapshot());
    expect(status.assignment).toMatchObject({ bootID: 'boot-2-r1', configHash: aWorld(changed).thawed().configHash });
  });
});

describe('D0: the object is deleted', () => {
  const decided = (world: WorldBuilder): Pick<Decision, 'finalizer' | 'removals'> & { state: string; order: number } => {
    const { finalizer, removals, status } = decide(world.snapshot());
    return { finalizer, removals, state: status.state, order: status.order };
  };
  const note = { uid: 'uid-box', namespace: 'default', name: 'box', epoch: 1, storeID: 'store-r1', graceSeconds: 10, startTime: at(0) };
  const patient = onR1.order(3).spec({ terminationGracePeriodSeconds: 600 });
  it.each([
    { when: 'nothing was ever placed', given: aWorld(aSandbox().deleting()), want: { finalizer: 'Remove', removals: [] } },
    {
      when: 'another finalizer holds it',
      given: aWorld(onR1.started().deleting().withoutFinalizer()),
      want: { finalizer: 'Keep', removals: [] },
    },
    { when: 'it runs', given: aWorld(onR1.started().deleting()), want: { finalizer: 'Keep', state: 'Deleting', order: 2 } },
    { when: 'it is being created', given: aWorld(onR1.creating().deleting()), want: { finalizer: 'Keep', state: 'Deleting', order: 2 } },
    {
      when: 'it failed',
      given: aWorld(onR1.version(0).failed('ImageNotFound').deleting()),
      want: { finalizer: 'Keep', state: 'Deleting' },
    },
    {
      when: 'the copy is removed',
      given: aWorld(onR1.order(2).deletingSince(-1_000)).absent(1),
      want: { finalizer: 'Remove', removals: [] },
    },
    {
      when: 'the copy is removed and a release is not',
      given: aWorld(onR1.order(2).releasing('r2', 7).deletingSince(-1_000)).absent(1),
      want: { finalizer: 'Keep', state: 'Deleting' },
    },
    {
      when: 'the runner does not answer, until the deadline',
      given: aWorld(onR1.order(2).deletingSince(0)).runners(aRunner('r1').notReady()).later(119_000),
      want: { finalizer: 'Keep', state: 'Deleting' },
    },
    {
      when: 'the runner does not answer by the deadline: noted, under a number above all',
      given: aWorld(onR1.order(2).deletingSince(-120_000)).runners(aRunner('r1').notReady()),
      want: { finalizer: 'Remove', removals: [{ runnerName: 'r1', removal: { ...note, order: 3 } }] },
    },
    {
      when: 'its grace period is longer than the deadline: waited for, while the runner is at it',
      given: aWorld(patient.deletingSince(-629_000)).reported(aCopy('Stopping', { order: 3 })),
      want: { finalizer: 'Keep', state: 'Deleting', removals: [] },
    },
    {
      when: 'its grace period is over and it is still there: noted with that grace',
      given: aWorld(patient.deletingSince(-630_000)).reported(aCopy('Stopping', { order: 3 })),
      want: { finalizer: 'Remove', removals: [{ runnerName: 'r1', removal: { ...note, order: 4, graceSeconds: 600 } }] },
    },
    {
      when: 'the runner has another disk now: noted at once',
      given: aWorld(onR1.stopped().deleting()).runners(aRunner('r1').wiped()),
      want: { finalizer: 'Remove', removals: [{ runnerName: 'r1', removal: { ...note, order: 3 } }] },
    },
    {
      when: 'the runner is gone for ever: there is nothing to note it in',
      given: aWorld(onR1.stopped().deleting()).runners(aRunner('r2')),
      want: { finalizer: 'Remove', removals: [] },
    },
  ])('$when', ({ given, want }) => expect(decided(given)).toMatchObject(want));

  const late = onR1.order(2).deletingSince(-120_000);
  it.each([
    { when: 'is away', runner: aRunner('r1').disconnected(), want: /^The copy on r1 is removed when the runner is back\.$/ },
    { when: 'is connected', runner: aRunner('r1'), want: /^The runner r1 is connected and has not removed the copy in time/ },
    { when: 'has another disk', runner: aRunner('r1').wiped(), want: /^The copy on a disk that the runner r1 has no more/ },
  ])('says why a copy is left on a runner that $when', ({ runner, want }) => {
    const { events } = decide(aWorld(late).runners(runner).snapshot());
    expect(events).toMatchObject([{ type: 'Warning', reason: 'RemovalPending', note: expect.stringMatching(want) }]);
  });
});

describe('what else a decision says', () => {
  it('puts the finalizer on before anything is ordered', () => {
    expect(decide(aWorld(aSandbox().withoutFinalizer()).snapshot())).toMatchObject({
      finalizer: 'Add',
      patch: undefined,
      preparation: undefined,
    });
  });

  it.each([
    { when: 'the Runner of the release is gone', runners: [aRunner('r1')], want: [] },
    { when: 'its runner has another disk', runners: [aRunner('r1'), aRunner('r2').wiped()], want: [] },
    { when: 'its runner has another disk and is away', runners: [aRunner('r1'), aRunner('r2').wiped().notReady()], want: [] },
    { when: 'its runner is lost', runners: [aRunner('r1'), aRunner('r2').notReady()], want: [9] },
    { when: 'its runner is there', runners: [aRunner('r1'), aRunner('r2')], want: [9] },
  ])('a release stays for as long as its disk may come back: $when', ({ runners, want }) => {
    const world = aWorld(onR1.started().releasing('r2', 9))
      .reported(aCopy('Running'))
      .runners(...runners);
    const { status } = decide(world.snapshot());
    expect(status.releases.map(({ epoch }) => epoch)).toEqual(want);
    expect(status).toMatchObject({ order: 1, state: 'Started' });
  });

  it('drops a release that is proven absent, and raises nothing for it', () => {
    const world = aWorld(onR1.started().releasing('r2', 9)).reported(aCopy('Running')).absent(9);
    expect(decide(world.snapshot()).status).toMatchObject({ releases: [], order: 1, state: 'Started' });
  });

  it('prepares ahead what it assigns', () => {
    expect(decide(aWorld(aSandbox()).runners(aRunner('r1')).snapshot()).preparation).toEqual({
      runnerName: 'r1',
      epoch: 1,
      storeID: 'store-r1',
      bootID: 'boot-r1',
      source: { kind: 'Image' },
    });
    const inPlace = aWorld(onR1.stopped()).reported(exit('Completed', { order: 2 }));
    expect(decide(inPlace.snapshot()).preparation).toMatchObject({ epoch: 1, source: { kind: 'Local' } });
  });

  it('echoes a restart that any start answers', () => {
    const { status } = decide(aWorld(aSandbox().spec({ restartID: 'x' })).snapshot());
    expect(status.restartID).toBe('x');
  });

  it('records the digest that the image was resolved to', () => {
    const baseDigest = `sha256:${'a'.repeat(64)}`;
    const { status } = decide(aWorld(onR1.creating()).reported(aCopy('Running', { baseDigest })).snapshot());
    expect(status.baseImage).toEqual({ ref: 'registry.test/demo:1', digest: baseDigest });
  });

  it('says that a changed spec takes effect at the next start', () => {
    const world = aWorld(onR1.started().changed({ env: [{ name: 'A', value: 'b' }] })).reported(aCopy('Running'));
    const { status, events } = decide(world.snapshot());
    const message = 'The main program runs on r1. The spec was changed since it was started: that takes effect at its next start.';
    expect(status.conditions.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'True', message });
    expect(status).toMatchObject({ state: 'Started', reason: 'RestartRequired' });
    expect(events).toEqual([{ type: 'Normal', reason: 'RestartRequired', action: 'Start', note: message }]);
  });

  it('takes that back when the spec is as it was started again', () => {
    const changed = onR1.started().status({ reason: 'RestartRequired' });
    const { status, events } = decide(aWorld(changed).reported(aCopy('Running')).snapshot());
    expect(status).toMatchObject({ state: 'Started', reason: 'Started', order: changed.obj().status.order });
    expect(events).toMatchObject([{ reason: 'Started' }]);
  });

  describe('D7: the runner is lost', () => {
    const lost = aRunner('r1').notReady();
    const ready = (world: WorldBuilder) => decide(world.snapshot()).status.conditions.find(({ type }) => type === 'Ready');

    it('nobody knows whether what was started there runs: Ready is Unknown, it is said once, and nothing else is done', () => {
      const world = aWorld(onR1.started()).runners(lost, aRunner('r2'));
      const { status, events } = decide(world.snapshot());
      const message =
        'The runner r1 is lost, so that nobody knows whether the main program runs. It is waited for: no current backup allows to start it elsewhere.';
      expect(status).toMatchObject({ state: 'Started', reason: 'RunnerLost', runnerName: 'r1', message });
      expect(status.order).toBe(onR1.started().obj().status.order);
      expect(ready(world)).toMatchObject({ status: 'Unknown', reason: 'RunnerLost', message });
      expect(events).toEqual([{ type: 'Warning', reason: 'RunnerLost', action: 'Start', note: message }]);
      const then = aWorld(onR1.status(status)).runners(lost, aRunner('r2')).later(3_600_000);
      expect(decide(then.snapshot()).patch).toBeUndefined();
    });

    it('is said to run again when the runner is back', () => {
      const known = onR1.started().status({ reason: 'RunnerLost' });
      const { status, events } = decide(aWorld(known).reported(aCopy('Running')).snapshot());
      expect(status).toMatchObject({ state: 'Started', reason: 'Started', order: known.obj().status.order });
      expect(events).toMatchObject([{ type: 'Normal', reason: 'Started' }]);
    });

    it.each([
      { when: 'its Lease expired and its agent is connected', runner: aRunner('r1').with({ isReady: false }) },
      { when: 'its Lease is renewed and its agent is not connected', runner: aRunner('r1').disconnected() },
    ])('a runner of which one sign of life is left is not lost: $when', ({ runner }) => {
      expect(ready(aWorld(onR1.started()).runners(runner).reported(aCopy('Running')))).toMatchObject({ status: 'True' });
    });

    it.each([
      { when: 'stopped', box: onR1.stopped(), want: 'RunnerLost' },
      { when: 'backing off', box: onR1.ended('Error', 'ExitedWithError'), want: 'RestartBackOff' },
    ])('$when there, it is not started elsewhere, whoever has room', ({ box, want }) => {
      const { status } = decide(aWorld(box).runners(lost, aRunner('r2')).snapshot());
      expect(status).toMatchObject({ reason: want, runnerName: 'r1', contentVersion: box.obj().status.contentVersion });
    });

    it('a first start that it was permitted and has not answered is left to it alone, also after the deadline', () => {
      const world = aWorld(onR1.creating()).runners(lost, aRunner('r2'));
      expect(step(world)).toMatchObject({ writes: false, state: 'Creating' });
      const overdue = decide(world.later(3_700_000).snapshot());
      expect(overdue.status).toMatchObject({ state: 'Error', reason: 'DeadlineExceeded', runnerName: 'r1', contentVersion: 1 });
      const then = aWorld(onR1.status(overdue.status)).runners(lost, aRunner('r2')).later(7_400_000);
      expect(decide(then.snapshot()).status).toMatchObject({ state: 'Error', runnerName: 'r1', contentVersion: 1 });
    });

    it('a first start that is proven never to have happened leaves it, with a release for what may lie there', () => {
      const failed = onR1.order(2).creating().failed('DeadlineExceeded', { retryMs: -1 });
      const { status } = decide(
        aWorld(failed)
          .runners(lost, aRunner('r2'))
          .reported(aCopy('Stopped', { order: 2, contentVersion: 0 }))
          .snapshot(),
      );
      expect(status).toMatchObject({ state: 'Creating', runnerName: 'r2', prevRunnerName: 'r1', contentVersion: 1 });
      expect(status.releases).toMatchObject([{ runnerName: 'r1', epoch: 1 }]);
    });
  });

  describe('a lost runner whose machine is proven to be off', () => {
    const off = aRunner('r1').fenced();
    const r2 = aRunner('r2');
    it.each([
      {
        when: 'what was seen running has ended with it, and is started again when the machine is back',
        given: aWorld(onR1.started()).runners(off, r2),
        want: { state: 'Stopped', reason: 'RestartBackOff', order: 2, contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'under restartPolicy Never it stays so',
        given: aWorld(onR1.started().spec({ restartPolicy: 'Never' })).runners(off, r2),
        want: { state: 'Stopped', reason: 'ExitLost', order: 2, contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'what was being stopped is stopped',
        given: aWorld(onR1.started().stopping().wantsStopped()).runners(off, r2),
        want: { state: 'Stopped', reason: 'Stopped', order: 2, contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'what it was permitted and never seen to start stays unresolved: it may have run',
        given: aWorld(onR1.creating()).runners(off, r2),
        want: { state: 'Creating', order: 1, contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'what lies there waits for it, and says so',
        given: aWorld(onR1.stopped()).runners(off, r2),
        want: { state: 'Pending', reason: 'RunnerLost', contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'nothing is placed on it',
        given: aWorld(aSandbox()).runners(off),
        want: { state: 'Pending', reason: 'NoRunnerAvailable' },
      },
      {
        when: 'when it is back and still said to be off, nothing is started there',
        given: lying(aWorld(onR1.stopped()).runners(aRunner('r1').with({ fencing: 'Administrator' }), r2)),
        want: { state: 'Pending', reason: 'RunnerFenced', contentVersion: 1, runnerName: 'r1' },
      },
      {
        when: 'its agent is connected, whatever is said of it: what it reports running runs',
        given: aWorld(onR1.started())
          .runners(aRunner('r1').with({ fencing: 'Administrator' }))
          .reported(aCopy('Running')),
        want: { state: 'Started', reason: 'Started', order: 1 },
      },
    ])('$when', ({ given, want }) => expect(step(given)).toMatchObject(want));
  });

  it('tells what the log is asked to tell, of the snapshot', () => {
    const world = aWorld(onR1.stopped().status({ prevRunnerName: 'r0' })).runners(aRunner('r1').unschedulable());
    expect(decide(world.reported(exit('Completed', { order: 2 })).snapshot()).assignment).toEqual({
      sandboxId: 'uid-box',
      currentRunnerId: 'r1',
      prevRunnerId: 'r0',
      runnerUnschedulable: true,
      backupState: 'NoBackup',
    });
  });

  it.each([
    { when: 'created', given: aWorld(aSandbox()).runners(aRunner('r1')), want: [['Normal', 'Creating', 'Create']] },
    { when: 'started', given: aWorld(onR1.creating()).reported(aCopy('Running')), want: [['Normal', 'Started', 'Start']] },
    {
      when: 'failed',
      given: aWorld(onR1.creating()).reported(aCopy('Rejected', { reason: 'ImageNotFound' })),
      want: [['Warning', 'ImageNotFound', 'Retry']],
    },
    { when: 'waiting', given: aWorld(aSandbox()).runners(), want: [['Warning', 'NoRunnerAvailable', 'Place']] },
    { when: 'deleted', given: aWorld(aSandbox().deleting()), want: [['Normal', 'Deleted', 'Delete']] },
    { when: 'prepared', given: aWorld(onR1.creating()).reported(aCopy('Preparing')), want: [] },
  ])('has an Event for each transition and none for others: $when', ({ given, want }) => {
    expect(decide(given.snapshot()).events.map(({ type, reason, action }) => [type, reason, action])).toEqual(want);
  });

  it('costs two status writes for a cold start and none after that', () => {
    const first = decide(aWorld(aSandbox()).runners(aRunner('r1')).snapshot());
    const started = decide(aWorld(aSandbox().status(first.status)).runners(aRunner('r1')).reported(aCopy('Running')).snapshot());
    const then = decide(
      aWorld(aSandbox().status(started.status)).runners(aRunner('r1')).reported(aCopy('Running')).later(900_000).snapshot(),
    );
    expect([first.status.state, started.status.state, then.patch]).toEqual(['Creating', 'Started', undefined]);
  });
});
