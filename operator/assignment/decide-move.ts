import { effectiveResources } from '../../crds/index.ts';
import type { AssignmentReason } from '../../crds/index.ts';
import { currentBackup, recordOf } from '../backups/current.ts';
import type { SandboxEvent } from '../lifecycle/decision.ts';
import type { Outcome, Situation } from '../lifecycle/outcome.ts';
import { verificationOf } from '../backups/verification.ts';
import { lacking } from './amounts.ts';
import { chooseRunner, placementMismatch, type Unavailability } from './choose-runner.ts';
import {
  asking,
  hasRoomForMove,
  noCurrentBackup,
  olderBackups,
  registryUnavailable,
  requestOf,
  restoreCurrent,
  restoring,
  tooManyCopies,
  waitForRoom,
} from './restore.ts';
import { freeOf, isLost, type RunnerView } from './runner-view.ts';

/** When a stopped sandbox starts from a backup instead of where it lies: rows D3, D5, D7 and D10–D12 of docs/assignment.md. R0 is `world.runner`, read once. */

/** D3: spec.restore, once for each requestID. Of any backup that is recorded, on any runner, its own included. */
export function requestedRestore(situation: Situation): Outcome | undefined {
  const { world, settled } = situation;
  const { restore } = world.sandbox.spec;
  if (restore === undefined || restore.requestID === settled.status.restore?.requestID) return undefined;
  const record = recordOf(settled.status, restore.digest);
  if (record === undefined || record.deletionTime !== undefined) {
    const message = `There is no backup ${restore.digest} of this sandbox. ${olderBackups(settled.status)}`;
    return { kind: 'Fail', reason: 'BackupNotFound', message, retry: 'OnChange' };
  }
  if (!hasRoomForMove(settled.status)) return tooManyCopies(settled.status);
  const choice = chooseRunner(world.fleet, requestOf(world, {}));
  if (choice.kind === 'None') return waitForRoom(situation, choice);
  const found = verificationOf(world, record, 'Meta');
  switch (found.kind) {
    case 'Asked':
      return asking(found.work, found.lookAgainMs);
    case 'Unavailable':
      return registryUnavailable(found);
    case 'Bad':
      return { kind: 'Fail', reason: 'BackupUnverified', message: found.message, retry: 'BackOff' };
    case 'Whole':
      return { kind: 'Restore', runner: choice.runner, agent: choice.agent, record, reason: 'RestoreRequested' };
  }
}

/** D5: no runner has the files, a backup may. */
export function noRunner(situation: Situation): Outcome | undefined {
  const { status } = situation.settled;
  if (status.runnerName !== undefined) return undefined;
  return restoreCurrent(situation, 'BackupRestored', status.prevRunnerName, noCurrentBackup(status));
}

/** D7: the runner is lost. What is current was over before, so that no proof is needed; else it is waited for. */
export function runnerLost(situation: Situation): Outcome | undefined {
  const { runner } = situation.world;
  if (!isLost(runner)) return undefined;
  const { status } = situation.settled;
  if (currentBackup(status) !== undefined && !hasRoomForMove(status)) return tooManyCopies(status);
  const moved = moveFrom(situation, 'RunnerLost', () => true);
  return moved === undefined || moved.kind === 'Unverified' ? undefined : moved.outcome;
}

/** D10: a cordoned runner gives away what can go. */
export function runnerUnschedulable(situation: Situation): Outcome | undefined {
  if (situation.world.runner?.spec.unschedulable !== true) return undefined;
  return movedOrInPlace(
    situation,
    moveFrom(situation, 'RunnerUnschedulable', () => true),
  );
}

/** D11: no room, in back-off after failures, or not what placement asks for any more. */
export function runnerUnfit(situation: Situation): Outcome | undefined {
  const { runner, sandbox, now } = situation.world;
  if (runner === undefined) return undefined;
  const mismatch = placementMismatch(runner, sandbox.spec.placement);
  const isUnfit = lackOn(situation, runner) !== undefined || runner.failures.until > now.monotonic || mismatch !== undefined;
  if (!isUnfit) return undefined;
  return (
    movedOrInPlace(
      situation,
      moveFrom(situation, 'RunnerUnfit', () => true),
    ) ?? inPlace(situation, mismatch === undefined ? [] : [notMet(runner, mismatch)])
  );
}

/**
 * D12: more are started on the runner than it should have, itself not counted, and another has fewer and is not over its own with this one. Those that run, that
 * are being started, and that other decisions have just placed all count: many starts at once do not overshoot, and nothing goes back and forth.
 */
export function runnerOverloaded(situation: Situation): Outcome | undefined {
  const { runner } = situation.world;
  if (runner === undefined || runner.load.started <= runner.spec.maxStarted) return undefined;
  const isLess = ({ load, spec }: RunnerView) => load.started + 1 <= spec.maxStarted && load.started < runner.load.started;
  return movedOrInPlace(situation, moveFrom(situation, 'LoadBalanced', isLess));
}

/** D13, and whenever a row says so: where the files lie, if it fits there. */
export function inPlace(situation: Situation, notices: readonly SandboxEvent[] = []): Outcome | undefined {
  const { runner } = situation.world;
  if (runner?.agent === undefined) return undefined;
  const lack = lackOn(situation, runner);
  if (lack === undefined) return { kind: 'StartInPlace', agent: runner.agent, notices };
  const message = `The runner ${runner.name}, which has the files, has not enough ${lack} free to start the sandbox.`;
  return { kind: 'Wait', reason: 'InsufficientOnRunner', message };
}

function lackOn({ world }: Situation, runner: RunnerView): string | undefined {
  return runner.agent === undefined ? undefined : lacking(effectiveResources(world.sandbox.spec).requests, freeOf(runner, runner.agent));
}

type Moved = { readonly kind: 'Moved'; readonly outcome: Outcome } | { readonly kind: 'Unverified'; readonly message: string };

/** Undefined when there is no current backup, or no other runner that can take it. */
function moveFrom(situation: Situation, reason: AssignmentReason, isWanted: (runner: RunnerView) => boolean): Moved | undefined {
  const { world, settled } = situation;
  const record = currentBackup(settled.status);
  if (record === undefined || !hasRoomForMove(settled.status)) return undefined;
  const others = world.fleet.filter((runner) => runner.name !== settled.status.runnerName && isWanted(runner));
  const tried = restoring(situation, record, reason, others);
  switch (tried.kind) {
    case 'NoRunner':
      return undefined;
    case 'Unverified':
      return { kind: 'Unverified', message: `The backup ${record.digest} could not be verified: ${tried.found.message}` };
    default:
      return { kind: 'Moved', outcome: tried.outcome };
  }
}

/** What can not be verified now starts where it lies, and says why. */
function movedOrInPlace(situation: Situation, moved: Moved | undefined): Outcome | undefined {
  if (moved?.kind !== 'Unverified') return moved?.outcome;
  return inPlace(situation, [{ type: 'Warning', reason: 'BackupUnverified', action: 'Place', note: moved.message }]);
}

function notMet(runner: RunnerView, mismatch: Unavailability): SandboxEvent {
  return {
    type: 'Normal',
    reason: 'PlacementNotMet',
    action: 'Place',
    note: `The sandbox is started in place on ${runner.name}, which is ${mismatch}.`,
  };
}
