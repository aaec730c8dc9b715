import type { Assignment, Release, SandboxReason, SandboxStatus, Transition } from '../../crds/index.ts';
import { backoffDelay } from '../../process/backoff.ts';
import { retryBackOff } from '../assignment/decide-start.ts';
import { deadlineOf } from './deadlines.ts';
import type { CopyPreparation } from './decision.ts';
import { asArchived, asArchiving, asCommitted, asGoneBack, asRestoring, highestEpochOf, withPreviousKept } from './carry-out-move.ts';
import type { Outcome, OutcomeOf, Situation } from './outcome.ts';
import { waitOf } from './shared-rules.ts';
import type { SandboxSnapshot } from './snapshot.ts';
import { dueTime, duration, pastTime } from './time.ts';

/** The status that an outcome makes of the settled one. Pure; numbers the orders not yet. */
export function carryOut(situation: Situation, outcome: Outcome): SandboxStatus {
  const { status } = situation.settled;
  switch (outcome.kind) {
    case 'Keep':
      return status;
    case 'Wait':
      return asWaiting(situation, outcome);
    case 'Fail':
      return asFailed(situation, outcome);
    case 'Assign':
      return asAssigned(situation, outcome);
    case 'StartInPlace':
      return asStarting(situation, outcome);
    case 'Restore':
      return asRestoring(situation, outcome);
    case 'Commit':
      return asCommitted(situation);
    case 'GoBack':
      return asGoneBack(situation, outcome);
    case 'Archiving':
      return asArchiving(situation, outcome);
    case 'Archive':
      return asArchived(situation, outcome);
    case 'Stop':
      return asStopping(situation, outcome);
    case 'Rest':
      return { ...status, state: 'Stopped', reason: outcome.reason, message: restMessage(status, outcome.reason), transition: undefined };
    case 'BackOff':
      return asBackingOff(situation, outcome);
  }
}

/** What may be made ready while the patch is on its way. */
export function preparationOf({ runnerName, assignment }: SandboxStatus, outcome: Outcome): CopyPreparation | undefined {
  if (outcome.kind !== 'Assign' && outcome.kind !== 'StartInPlace') return undefined;
  if (runnerName === undefined || assignment === undefined) return undefined;
  const { epoch, storeID, bootID, source } = assignment;
  return { runnerName, epoch, storeID, bootID, source };
}

export function asWaiting({ world, settled: { status } }: Situation, { reason, message, retry }: OutcomeOf<'Wait'>): SandboxStatus {
  const attempts = status.transition?.attempts ?? 0;
  const kept = attempts === 0 ? undefined : { startTime: status.transition?.startTime ?? pastTime(world.now.wall), attempts };
  return { ...status, state: 'Pending', reason, message, transition: retry === undefined ? kept : retrying(world, attempts + 1) };
}

export function asFailed({ world, settled: { status } }: Situation, { reason, message, retry }: OutcomeOf<'Fail'>): SandboxStatus {
  const isSame = world.sandbox.status.state === 'Error' && world.sandbox.status.reason === reason;
  const attempts = (status.transition?.attempts ?? 0) + (retry === 'BackOff' ? 1 : 0);
  const since = isSame && status.transition !== undefined ? status.transition.startTime : pastTime(world.now.wall);
  const transition = retry === 'BackOff' ? retrying(world, attempts) : { startTime: since, attempts };
  return { ...status, state: 'Error', reason, message, transition };
}

function retrying({ now, jitter }: SandboxSnapshot, attempts: number): Transition {
  const wait = backoffDelay(retryBackOff, attempts, () => jitter);
  return { startTime: pastTime(now.wall), attempts, retryTime: dueTime(now.wall + wait) };
}

function asAssigned(situation: Situation, { runner, agent, reason }: OutcomeOf<'Assign'>): SandboxStatus {
  const { world, settled } = situation;
  const { status } = settled;
  const isSameCopy = status.runnerName === runner.name && status.assignment?.storeID === agent.storeID && !isBurnt(world);
  const epoch = isSameCopy ? status.assignment.epoch : highestEpochOf(status) + 1;
  const digest = status.baseImage?.digest;
  const assignment: Assignment = {
    epoch,
    storeID: agent.storeID,
    bootID: agent.bootID,
    phase: 'Committed',
    source: digest === undefined ? { kind: 'Image' } : { kind: 'Image', digest },
    reason,
    startTime: pastTime(world.now.wall),
    configHash: world.configHash,
  };
  const attempts = (status.transition?.attempts ?? 0) + (settled.rejection === undefined ? 0 : 1);
  return {
    ...committed(situation, attempts, 'Creating'),
    runnerName: runner.name,
    ...(status.runnerName !== undefined && status.runnerName !== runner.name && { prevRunnerName: status.runnerName }),
    assignment,
    highestEpoch: epoch,
    reason: 'Creating',
    message: `The sandbox is being created on ${runner.name}.`,
    releases: isSameCopy ? status.releases : withRelease(status, world),
  };
}

export function asStarting({ world, settled }: Situation, { agent }: OutcomeOf<'StartInPlace'>): SandboxStatus {
  const status = withPreviousKept(settled.status);
  const { assignment } = status;
  if (assignment === undefined) return status;
  const isRestart = status.reason === 'RestartBackOff' && status.state === 'Stopped';
  return {
    ...committed({ world, settled: { ...settled, status } }, status.transition?.attempts ?? 0, 'Starting'),
    assignment: {
      ...assignment,
      bootID: agent.bootID,
      source: { kind: 'Local' },
      phase: 'Committed',
      configHash: world.configHash,
      runningConfigHash: undefined,
    },
    restartCount: status.restartCount + (isRestart ? 1 : 0),
    reason: 'Starting',
    message: `The main program is being started on ${status.runnerName ?? ''}.`,
  };
}

/** The patch that permits the content to change: contentVersion rises, what was known of the last run is over, a restart is answered. */
export function committed({ world, settled: { status } }: Situation, attempts: number, state: 'Creating' | 'Starting'): SandboxStatus {
  const { restartID } = world.sandbox.spec;
  return {
    ...status,
    state,
    contentVersion: status.contentVersion + 1,
    startTime: undefined,
    transition: transitionTo(state, world, attempts),
    ...(restartID !== undefined && { restartID }),
  };
}

function asStopping({ world, settled: { status } }: Situation, { reason }: OutcomeOf<'Stop'>): SandboxStatus {
  const { terminationGracePeriodSeconds } = world.sandbox.spec;
  const why = reason === 'Restarting' ? ' to be started again' : '';
  return {
    ...status,
    state: 'Stopping',
    reason,
    message: `The main program was asked to end${why}, and has ${terminationGracePeriodSeconds} s to do so.`,
    transition: transitionTo('Stopping', world, 0),
  };
}

function asBackingOff({ world, settled: { status } }: Situation, { retryMs }: OutcomeOf<'BackOff'>): SandboxStatus {
  const attempts = Math.max(1, status.transition?.attempts ?? 1);
  return {
    ...status,
    reason: 'RestartBackOff',
    message: `${endOf(status)} It is started again after ${waitOf(retryMs)}.`,
    transition: { startTime: pastTime(world.now.wall), attempts, retryTime: dueTime(world.now.wall + retryMs) },
  };
}

/** The entry into a state that ends by a deadline. */
export function transitionTo(state: SandboxStatus['state'], world: SandboxSnapshot, attempts: number): Transition {
  const { now } = world;
  const deadline = deadlineOf(world, state, now.wall);
  return { startTime: pastTime(now.wall), ...(deadline !== undefined && { deadlineTime: dueTime(deadline) }), attempts };
}

/** True when the runner will never make anything of this epoch again. */
function isBurnt({ copy, sandbox }: SandboxSnapshot): boolean {
  if (copy === undefined) return false;
  return copy.state === 'Absent' || (copy.state === 'Rejected' && copy.order >= sandbox.status.order && sandbox.status.state === 'Error');
}

/** The epoch that is left, so that what there may be of it is removed. */
function withRelease({ runnerName, assignment, contentVersion, releases }: SandboxStatus, { copy }: SandboxSnapshot): readonly Release[] {
  if (runnerName === undefined || assignment === undefined || copy?.state === 'Absent') return releases;
  return [...releases, { runnerName, storeID: assignment.storeID, epoch: assignment.epoch, contentVersion }];
}

function restMessage(status: SandboxStatus, reason: SandboxReason): string {
  if (reason !== 'Stopped') return `${endOf(status)} It is not started again, as spec.restartPolicy asks.`;
  return status.contentVersion === 0 && status.finishTime === undefined
    ? 'The sandbox was not started yet.'
    : 'The sandbox does not run, as spec.desiredState asks.';
}

/** How the main program ended, in a sentence. */
function endOf({ exitReason, exitCode = 255, startTime, finishTime }: SandboxStatus): string {
  const after =
    startTime === undefined || finishTime === undefined ? '' : ` after ${duration(Date.parse(finishTime) - Date.parse(startTime))}`;
  switch (exitReason) {
    case 'Completed':
      return `The main program ended${after} with exit code 0.`;
    case 'OOMKilled':
      return `The main program was killed${after} because the sandbox went beyond its memory limit.`;
    case 'Signaled':
      return `The main program was ended${after} by signal ${exitCode - 128}.`;
    case 'DiskLimitExceeded':
      return `The main program was ended${after} because the sandbox went beyond its disk limit.`;
    case 'RunnerRebooted':
      return 'The machine was booted anew while the main program ran.';
    case 'Lost':
      return 'The main program is gone and nobody saw how it ended.';
    default:
      return `The main program ended${after} with exit code ${exitCode}.`;
  }
}
