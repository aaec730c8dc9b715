import type { ExitReason, SandboxReason, SandboxStatus } from '../../crds/index.ts';
import { currentBackup } from '../backups/current.ts';
import type { RunnerLesson } from './decision.ts';
import { hasEnded, withRestored } from './carry-out-move.ts';
import { observe, wasSeenRunning, type Observation } from './observe.ts';
import type { ExitView, SandboxSnapshot } from './snapshot.ts';
import { pastTime, timeOf } from './time.ts';

/** The status as the facts make it, before anything new is decided, and what follows from them. */
export interface Settled {
  readonly status: SandboxStatus;
  /** It is proven that no process of the sandbox runs, or that none was ever permitted to. */
  readonly isAtRest: boolean;
  /** Why the content is not where it should be. */
  readonly missing: string | undefined;
  /** The attempt that certainly failed; its contentVersion is already taken back in `status`. */
  readonly rejection: { readonly reason: SandboxReason; readonly message: string } | undefined;
  /** Of a copy that is restored from a backup: it is proven that nothing ran in it, or that nothing was permitted to. */
  readonly isUnused: boolean;
  /** Such a copy is ready to be committed. */
  readonly isPrepared: boolean;
  readonly lesson: RunnerLesson | undefined;
}

/** A run at least this long ends a series of quick ends: the back-off begins anew. */
export const steadyRunMs = 600_000;

/** What each way to end is called as a reason of the status. */
export const EXIT_REASON_NAMES: Readonly<Record<ExitReason, SandboxReason>> = {
  Completed: 'Completed',
  Error: 'ExitedWithError',
  OOMKilled: 'OOMKilled',
  Signaled: 'Signaled',
  DiskLimitExceeded: 'DiskLimitExceeded',
  Lost: 'ExitLost',
  RunnerRebooted: 'RunnerRebooted',
};

/**
 * What the snapshot's facts make of the status: an observed start, an exit, a failed attempt. Decides nothing new and raises no order; `decide` goes on from
 * the status that this gives.
 */
export function settle(world: SandboxSnapshot): Settled {
  const before = withFreshPatience(world);
  const seen = observe(world);
  const isPrepared = seen.kind === 'Prepared';
  const isUnused = isUnusedBy(before, seen);
  const unchanged = {
    status: before,
    isAtRest: isAtRestBy(before),
    missing: undefined,
    rejection: undefined,
    lesson: undefined,
    isUnused,
    isPrepared,
  };
  switch (seen.kind) {
    case 'Nothing':
    case 'Prepared':
      return unchanged;
    case 'Missing':
      return { ...unchanged, missing: seen.message, isAtRest: unchanged.isAtRest || seen.isProven || hasEnded(before) };
    case 'Running':
      return { ...unchanged, status: asStarted(before, seen.startTimeMs, world), isAtRest: false, lesson: success(before) };
    case 'Ended':
      return { ...unchanged, status: asEnded(before, seen.exit, world), isAtRest: true, lesson: successOfStart(before) };
    case 'NeverStarted':
      return { ...unchanged, status: asNeverStarted(before), isAtRest: true };
    case 'Rejected':
      return { ...unchanged, status: isTentative(before) ? before : takenBack(before), isAtRest: true, rejection: seen };
  }
}

/** A changed spec is tried at once, and with a clean slate. */
function withFreshPatience({ sandbox: { status, metadata } }: SandboxSnapshot): SandboxStatus {
  const waits = status.state === 'Error' || status.state === 'Stopped' || status.state === 'Pending';
  if (!waits || status.transition === undefined || status.observedGeneration === metadata.generation) return status;
  return { ...status, transition: { ...status.transition, attempts: 0, retryTime: undefined } };
}

/** States that are entered only with the proof that nothing runs; and whatever the state, a current backup is that proof. */
function isAtRestBy(status: SandboxStatus): boolean {
  const { state, contentVersion } = status;
  const isIdle = state === 'Pending' || state === 'Stopped' || state === 'Archiving' || state === 'Archived';
  return contentVersion === 0 || isIdle || isTentative(status) || isNowhere(status) || currentBackup(status) !== undefined;
}

/** No runner was left without a proof: where there is no assignment there is nobody to ask for one. */
function isNowhere({ assignment }: SandboxStatus): boolean {
  return assignment === undefined;
}

/** Its copy is only prepared: nothing was permitted to run. */
function isTentative({ assignment }: SandboxStatus): boolean {
  return assignment?.phase === 'Prepared';
}

function isUnusedBy(status: SandboxStatus, { kind }: Observation): boolean {
  if (isTentative(status)) return true;
  return status.assignment?.source.kind === 'Backup' && !wasSeenRunning(status) && (kind === 'NeverStarted' || kind === 'Rejected');
}

function asStarted(status: SandboxStatus, startTimeMs: number, world: SandboxSnapshot): SandboxStatus {
  const { now } = world;
  if (status.state === 'Started') return status;
  const attempts = status.transition?.attempts ?? 0;
  const keepsCount = attempts > 0 && now.wall - (timeOf(status.finishTime) ?? 0) < steadyRunMs;
  return {
    ...withRestored(withBaseImage(status, world), world),
    state: 'Started',
    startTime: startAfter(status, startTimeMs === 0 ? now.wall : startTimeMs),
    transition: keepsCount ? { startTime: pastTime(now.wall), attempts } : undefined,
  };
}

/** After the end of the run before, whatever the clocks say: so that an end which is not before the start is that of this run. */
function startAfter({ finishTime }: SandboxStatus, startMs: number): string {
  const end = timeOf(finishTime);
  return pastTime(end === undefined ? startMs : Math.max(startMs, end + 1_000));
}

/** The image is resolved once, by the runner that first ran it. */
function withBaseImage(status: SandboxStatus, { sandbox, copy }: SandboxSnapshot): SandboxStatus {
  const digest = copy?.baseDigest ?? '';
  return status.baseImage !== undefined || digest === '' ? status : { ...status, baseImage: { ref: sandbox.spec.image, digest } };
}

/** The process of this contentVersion is over. Where it was ordered to run, that is an exit; else it is the stop that was asked for. */
function asEnded(status: SandboxStatus, exit: ExitView | undefined, world: SandboxSnapshot): SandboxStatus {
  const recorded = withExit(withRestored(withBaseImage(status, world), world), exit, world);
  switch (status.state) {
    case 'Creating':
    case 'Restoring':
    case 'Starting':
    case 'Started':
      return asExited(recorded, exit, world);
    case 'Stopping':
      return { ...recorded, state: 'Stopped', reason: 'Stopped', transition: undefined };
    default:
      return status.state === 'Stopped' || exit === undefined || isRecorded(status, exit) ? status : recorded;
  }
}

/** An end that nobody saw has no time of its own: the moment in which it was first told stays. */
function isRecorded({ startTime, finishTime, exitReason }: SandboxStatus, exit: ExitView): boolean {
  if (exit.finishTimeMs !== 0 || exitReason !== exit.reason) return false;
  return (timeOf(finishTime) ?? 0) >= (timeOf(startTime) ?? 1);
}

function asExited(status: SandboxStatus, exit: ExitView | undefined, world: SandboxSnapshot): SandboxStatus {
  const ranMs = (timeOf(status.finishTime) ?? world.now.wall) - (timeOf(status.startTime) ?? world.now.wall);
  const isFresh = ranMs >= steadyRunMs || exit?.reason === 'RunnerRebooted';
  const earlier = isFresh ? 0 : (status.transition?.attempts ?? 0);
  return {
    ...status,
    state: 'Stopped',
    reason: EXIT_REASON_NAMES[exit?.reason ?? 'Lost'],
    transition: { startTime: pastTime(world.now.wall), attempts: earlier + 1 },
  };
}

function withExit(status: SandboxStatus, exit: ExitView | undefined, { now }: SandboxSnapshot): SandboxStatus {
  const finishMs = exit === undefined || exit.finishTimeMs === 0 ? now.wall : exit.finishTimeMs;
  const finishTime = pastTime(Math.max(finishMs, timeOf(status.startTime) ?? finishMs));
  const startTime = status.startTime ?? finishTime;
  return { ...status, startTime, finishTime, exitCode: exit?.code ?? 255, exitReason: exit?.reason ?? 'Lost' };
}

function asNeverStarted(status: SandboxStatus): SandboxStatus {
  if (status.state === 'Stopped' || status.state === 'Pending' || status.state === 'Archiving') return status;
  const back = takenBack(status);
  return status.state === 'Stopping' ? { ...back, state: 'Stopped', reason: 'Stopped', transition: undefined } : back;
}

/** Nothing ran under this contentVersion: the one before it is the newest again. */
function takenBack(status: SandboxStatus): SandboxStatus {
  return { ...status, contentVersion: Math.max(0, status.contentVersion - 1) };
}

function success({ state, runnerName }: SandboxStatus): RunnerLesson | undefined {
  return runnerName === undefined || state === 'Started' ? undefined : { runnerName, kind: 'Succeeded' };
}

function successOfStart(status: SandboxStatus): RunnerLesson | undefined {
  return status.state === 'Creating' || status.state === 'Starting' ? success(status) : undefined;
}
