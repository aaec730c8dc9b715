import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import { blameOf, reasonOf } from '../lifecycle/blame.ts';
import { firstOf, type Outcome, type Situation } from '../lifecycle/outcome.ts';
import { EXIT_REASON_NAMES } from '../lifecycle/settle.ts';
import { awaitingProof, contentMissing, underWay } from '../lifecycle/shared-rules.ts';
import { currentBackup } from '../backups/current.ts';
import { isDiffing } from '../backups/operation.ts';
import { backingOff } from '../lifecycle/decide-stop.ts';
import { chooseRunner, unavailability } from './choose-runner.ts';
import { inPlace, noRunner, requestedRestore, runnerLost, runnerOverloaded, runnerUnfit, runnerUnschedulable } from './decide-move.ts';
import { targetFailed, targetPrepared } from './decide-target.ts';
import { describeFencing } from './fencing.ts';
import {
  hasRoomForRelease,
  requestOf,
  restoreCurrent,
  restoreFrom,
  tooManyCopies,
  unseenSource,
  waitForRoom,
  type Preference,
} from './restore.ts';
import type { RunnerView } from './runner-view.ts';

/** Where a sandbox that should run is to run, and when. Pure; rows D1–D13 and S4 of docs/assignment.md as far as built, first match wins. */
export function decideStart(situation: Situation): Outcome {
  return firstOf(situation, [
    targetFailed, // D1 of a move, while only prepared
    targetPrepared,
    contentGone, // D6
    rejectedFirstPlacement, // D4, the runner refused
    rejectedInPlace, // D13, the runner refused
    unresolvedCommit, // D1
    restartRequested,
    running,
    stopUnderWay,
    awaitingProof,
    endedByItself, // S4
    backingOff,
    credentialsMissing,
    environmentMissing,
    diffRunning, // D8
    requestedRestore, // D3
    firstPlacement, // D4
    noRunner, // D5
    runnerLost, // D7
    runnerAway,
    runnerFenced,
    runnerUnschedulable, // D10
    runnerUnfit, // D11
    runnerOverloaded, // D12
    startInPlace, // D13
  ]);
}

/** Between failures, and between the ends of a program and its next start. */
export const retryBackOff: Backoff = { initialMs: 1_000, maxMs: 300_000 };

/** D6: the files are not where they should be. A backup that was asked for, or that is current, instead; never the image. Left again when they are back. */
function contentGone(situation: Situation): Outcome | undefined {
  const gone = contentMissing(situation);
  if (gone === undefined) return undefined;
  const from = instead(situation, gone);
  return from === undefined ? gone : (backingOff(situation) ?? environmentMissing(situation) ?? from);
}

/** What is current was over before: that needs no proof that nothing runs. Everything else does. */
function instead(situation: Situation, gone: Outcome): Outcome | undefined {
  const { settled } = situation;
  const asked = settled.isAtRest ? requestedRestore(situation) : undefined;
  if (asked !== undefined) return asked;
  if (currentBackup(settled.status) !== undefined) return restoreCurrent(situation, 'ContentMissing', settled.status.runnerName, gone);
  return settled.isAtRest ? restoreOnceMore(situation, gone) : undefined;
}

/**
 * A target of a move was permitted to start, nobody saw it run, and its disk is gone: the same backup once more. Its contentVersion is not taken back, since
 * what was written between the permission and the end of the disk, if anything, is lost; that is told.
 */
function restoreOnceMore(situation: Situation, gone: Outcome): Outcome | undefined {
  const { status, missing = '' } = situation.settled;
  const record = unseenSource(status);
  if (record === undefined) return undefined;
  const note = `${missing} It was to start from the backup ${record.digest} and was never seen running: it is restored from it once more.`;
  const notices = [{ type: 'Warning', reason: 'ContentMissing', action: 'Restore', note }] as const;
  return restoreFrom(situation, record, { reason: 'ContentMissing', avoided: status.runnerName, otherwise: gone, notices });
}

/** Nothing was ever started on the runner: another one is tried when the cause lies with this one; else it is said and tried again later. */
function rejectedFirstPlacement(situation: Situation): Outcome | undefined {
  const { rejection, status } = situation.settled;
  if (rejection === undefined || status.contentVersion > 0) return undefined;
  const blame = blameOf(rejection.reason);
  const fail = { kind: 'Fail', reason: rejection.reason, message: rejection.message, retry: 'BackOff' } as const;
  if (blame === 'Sandbox' || blame === 'Registry' || status.runnerName === undefined) return fail;
  const isFull = blame === 'Capacity';
  const lesson = isFull ? undefined : ({ runnerName: status.runnerName, kind: 'Failed' } as const);
  const why = isFull ? 'insufficient by its own count' : 'in back-off after failures';
  const other = place(situation, { excluded: { runnerName: status.runnerName, why } });
  const isTriedEverywhere = (status.transition?.attempts ?? 0) + 1 >= situation.world.fleet.length;
  if (other.kind === 'Assign' && !isTriedEverywhere && hasRoomForRelease(status)) return { ...other, lesson };
  return isFull && other.kind === 'Wait' ? { ...other, retry: 'BackOff' } : { ...fail, lesson };
}

/** The copy lies on the runner, and there is no other place for it. */
function rejectedInPlace({ settled: { rejection } }: Situation): Outcome | undefined {
  if (rejection === undefined) return undefined;
  const { reason, message } = rejection;
  switch (blameOf(reason)) {
    case 'Capacity':
      return { kind: 'Wait', reason, message, retry: 'BackOff' };
    case 'Content':
      return { kind: 'Fail', reason, message, retry: 'OnChange' };
    default:
      return { kind: 'Fail', reason, message, retry: 'BackOff' };
  }
}

/** D1: a runner was permitted to start it and has not said how that went. The same order to the same runner, until its deadline. */
function unresolvedCommit(situation: Situation): Outcome | undefined {
  const { state } = situation.settled.status;
  return state === 'Creating' || state === 'Restoring' || state === 'Starting' ? underWay(situation) : undefined;
}

/** A new spec.restartID: stop, then start in place. Echoed by the patch that starts. */
function restartRequested({ world, settled: { status } }: Situation): Outcome | undefined {
  const { restartID } = world.sandbox.spec;
  const isNew = restartID !== undefined && restartID !== status.restartID;
  return isNew && status.state === 'Started' ? { kind: 'Stop', reason: 'Restarting' } : undefined;
}

function running({ settled: { status } }: Situation): Outcome | undefined {
  return status.state === 'Started' ? { kind: 'Keep' } : undefined;
}

/** Stopped was ordered, for a restart or before the user's mind changed: first the proof. */
function stopUnderWay(situation: Situation): Outcome | undefined {
  return situation.settled.status.state === 'Stopping' ? underWay(situation) : undefined;
}

/** S4: the main process ended. What restartPolicy says now counts, also for one that ended long ago. */
function endedByItself({ world, settled: { status } }: Situation): Outcome | undefined {
  const { exitReason, reason, transition } = status;
  if (status.state !== 'Stopped' || exitReason === undefined) return undefined;
  const ended = reason === EXIT_REASON_NAMES[exitReason];
  if (!ended && reason !== 'RestartBackOff') return undefined;
  const { restartPolicy, restartID } = world.sandbox.spec;
  if (restartID !== undefined && restartID !== status.restartID) return undefined;
  const restarts = restartPolicy === 'Always' || (restartPolicy === 'OnFailure' && exitReason !== 'Completed');
  if (!restarts) return { kind: 'Rest', reason: EXIT_REASON_NAMES[exitReason] };
  if (!ended) return undefined;
  return { kind: 'BackOff', retryMs: backoffDelay(retryBackOff, Math.max(1, transition?.attempts ?? 1), () => world.jitter) };
}

/** Before the image can be pulled, the Secrets that the sandbox names must be there. */
function credentialsMissing({ world: { credentials }, settled: { status } }: Situation): Outcome | undefined {
  if (status.contentVersion > 0 || credentials.kind === 'Ready') return undefined;
  return { kind: 'Fail', reason: credentials.reason, message: credentials.message, retry: 'BackOff' };
}

/** Nobody says when a Secret comes: it is looked for again after this long, and up to as much again. */
const secretsMs = 5_000;

/** Every start needs the Secrets that its environment comes from: it waits for them, and goes on when they are there. */
function environmentMissing({ world: { environment, jitter } }: Situation): Outcome | undefined {
  if (environment.kind === 'Ready') return undefined;
  const { reason, message } = environment;
  return { kind: 'Wait', reason, message, lookAgainMs: secretsMs * (1 + jitter) };
}

/** D4: no content yet. */
function firstPlacement(situation: Situation): Outcome | undefined {
  const { status } = situation.settled;
  if (status.contentVersion > 0) return undefined;
  if (status.state !== 'Error' || status.runnerName === undefined) return place(situation, {});
  const isOwnFault = blameOf(reasonOf(status.reason ?? '')) === 'Sandbox';
  const there = isOwnFault ? placeOn(situation, situation.world.runner) : undefined;
  if (there !== undefined) return there;
  return hasRoomForRelease(status) ? place(situation, isOwnFault ? {} : { avoided: status.runnerName }) : tooManyCopies(status);
}

/** A start in place needs the agent of its runner. */
export function runnerAway({ world: { runner }, settled: { status } }: Situation): Outcome | undefined {
  if (runner?.agent?.isComplete === true) return undefined;
  const name = status.runnerName ?? '';
  return runner?.isReady === true
    ? { kind: 'Wait', reason: 'RunnerNotConnected', message: `The runner ${name}, which has the files, is not connected to the operator.` }
    : {
        kind: 'Wait',
        reason: 'RunnerLost',
        message: `The runner ${name}, which has the files, is lost. It is waited for: no current backup can be started elsewhere now.`,
      };
}

/** Nothing is started on a machine that is said to be off: what is asserted of it must stay true of whatever ran there. */
function runnerFenced({ world: { runner } }: Situation): Outcome | undefined {
  if (runner?.fencing === undefined) return undefined;
  const message = `Nothing is started on the runner ${runner.name}, which has the files: ${describeFencing(runner.fencing)}.`;
  return { kind: 'Wait', reason: 'RunnerFenced', message };
}

/** D8: the files hold still while they are read. What was read is sent beside whatever comes next. */
function diffRunning({ world, settled: { status } }: Situation): Outcome | undefined {
  if (!isDiffing(world, status)) return undefined;
  return {
    kind: 'Wait',
    reason: 'BackupRunning',
    message: 'The sandbox starts as soon as its files are read for the backup that is being made.',
  };
}

/** D13. */
function startInPlace(situation: Situation): Outcome | undefined {
  return inPlace(situation);
}

function place(situation: Situation, preference: Preference): Outcome & { readonly kind: 'Assign' | 'Wait' } {
  const { world } = situation;
  const choice = chooseRunner(world.fleet, requestOf(world, preference));
  if (choice.kind === 'Chosen') return { kind: 'Assign', runner: choice.runner, agent: choice.agent, reason: 'FirstPlacement' };
  return waitForRoom(situation, choice);
}

/** The runner where it was tried before: the image may be there already. */
function placeOn({ world }: Situation, runner: RunnerView | undefined): Outcome | undefined {
  if (runner?.agent === undefined || unavailability(runner, requestOf(world, {})) !== undefined) return undefined;
  return { kind: 'Assign', runner, agent: runner.agent, reason: 'FirstPlacement' };
}
