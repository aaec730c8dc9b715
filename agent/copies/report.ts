import { backupReport } from '../backup/stage.ts';
import type { ExitReason, SandboxReason } from '../../crds/index.ts';
import type { RecordedExit, Rejection } from '../journal/record.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { CopyReport, Exit, Progress } from '../proto/gen/berth/agent/v1/agent.ts';
import { copyStep } from './next-step.ts';
import type { PrepareProgress } from './runtime.ts';
import { goalOf, hasNotRun, isAlive, isMissing, taskOf } from './view.ts';
import type { CopyView, Goal, SandboxView } from './view.ts';

/** What the agent is doing with a copy just now. */
export type Activity =
  { readonly kind: 'Preparing'; readonly progress: PrepareProgress | undefined } | { readonly kind: 'Starting' | 'Stopping' | 'Removing' };

/** Why a step is being tried again. */
export interface Trouble {
  readonly reason: SandboxReason;
  readonly message: string;
}

interface Told {
  readonly state: CopyState;
  readonly reason?: SandboxReason;
  readonly message?: string;
}

/** What is told of a copy: only what was observed, under the highest order of its sandbox. */
export function reportOf(sandbox: SandboxView, copy: CopyView, activity: Activity | undefined, trouble: Trouble | undefined): CopyReport {
  const told = tell(sandbox, copy, activity);
  return {
    ...identify(sandbox, copy),
    state: told.state,
    exit: told.state === CopyState.COPY_STATE_STOPPED ? exitOf(copy.entry?.exit) : undefined,
    reason: trouble?.reason ?? told.reason ?? '',
    message: trouble?.message ?? told.message ?? '',
    progress: told.state === CopyState.COPY_STATE_PREPARING ? progressOf(activity) : undefined,
    backup: copy.backup && backupReport(copy.backup),
  };
}

/** What stands in every report. The container's own note speaks only where the journal knows nothing. */
function identify({ uid, entry: sandbox }: SandboxView, copy: CopyView) {
  const { entry, observed, epoch } = copy;
  const named = [sandbox, observed].find((one) => one !== undefined && one.name !== '');
  const task = taskOf(copy);
  return {
    uid,
    namespace: named?.namespace ?? '',
    name: named?.name ?? '',
    epoch,
    order: sandbox?.order ?? 0,
    contentVersion: entry?.started ?? observed?.note.contentVersion ?? 0,
    baseDigest: observed?.baseDigest ?? '',
    startTimeMs: task.state === 'Running' ? task.startTimeMs : 0,
  };
}

function tell(sandbox: SandboxView, copy: CopyView, activity: Activity | undefined): Told {
  const goal = goalOf(sandbox, copy);
  const rejection = standingRejection(sandbox, copy);
  if (goal.kind === 'Gone') return { state: CopyState.COPY_STATE_ABSENT };
  if (rejection !== undefined) {
    return { state: CopyState.COPY_STATE_REJECTED, reason: rejection.reason as SandboxReason, message: rejection.message };
  }
  if (activity !== undefined) return { state: stateOfActivity[activity.kind] };
  if (isAlive(copy)) return { state: isEnding(goal) ? CopyState.COPY_STATE_STOPPING : CopyState.COPY_STATE_RUNNING };
  return tellAtRest(sandbox, copy, goal);
}

const stateOfActivity = {
  Preparing: CopyState.COPY_STATE_PREPARING,
  Starting: CopyState.COPY_STATE_STARTING,
  Stopping: CopyState.COPY_STATE_STOPPING,
  Removing: CopyState.COPY_STATE_STOPPED,
} as const;

/** The newest order of the sandbox is one that this copy will never carry out. */
function standingRejection(sandbox: SandboxView, { entry }: CopyView): Rejection | undefined {
  const newest = entry?.rejections.at(-1);
  return newest !== undefined && newest.order === sandbox.entry?.order ? newest : undefined;
}

function isEnding(goal: Goal): boolean {
  return goal.kind === 'Stopped' || goal.kind === 'Absent' || goal.kind === 'Abandoned';
}

/** No process of it runs and nothing is being done with it in this moment. */
function tellAtRest(sandbox: SandboxView, copy: CopyView, goal: Goal): Told {
  const step = copyStep(sandbox, copy);
  // The end is told with its exit, which is recorded first.
  if (step.kind === 'RecordExit') return { state: isEnding(goal) ? CopyState.COPY_STATE_STOPPING : CopyState.COPY_STATE_STARTING };
  if (step.kind === 'RecordStart' || step.kind === 'Start' || hasNotRun(copy)) return { state: stillToStart(copy) };
  if (isMissing(copy)) {
    return {
      state: CopyState.COPY_STATE_MISSING,
      reason: 'ContentMissing',
      message: 'The copy should lie on this runner and its files are not there.',
    };
  }
  if (step.kind === 'Prepare') return { state: CopyState.COPY_STATE_PREPARING };
  if (step.kind === 'AwaitOrder') {
    return { state: CopyState.COPY_STATE_PREPARING, message: 'The agent was restarted and waits for the order to come again.' };
  }
  if (goal.kind === 'Prepared' || goal.kind === 'Ahead') return { state: CopyState.COPY_STATE_PREPARED };
  return { state: CopyState.COPY_STATE_STOPPED, ...(goal.kind === 'Running' ? tellExit(copy.entry?.exit) : {}) };
}

function stillToStart(copy: CopyView): CopyState {
  return taskOf(copy).state === 'Created' ? CopyState.COPY_STATE_PREPARED : CopyState.COPY_STATE_PREPARING;
}

function progressOf(activity: Activity | undefined): Progress | undefined {
  if (activity?.kind !== 'Preparing' || activity.progress === undefined) return undefined;
  const { phase, bytes, totalBytes } = activity.progress;
  return { phase: phase === 'CreatingTask' ? 'Creating' : phase, bytes, totalBytes };
}

/** Why a process ended, in the API's words. */
export function exitReason(exit: RecordedExit): ExitReason {
  if (exit.diskLimitExceeded === true) return 'DiskLimitExceeded';
  if (exit.rebooted === true) return 'RunnerRebooted';
  if (exit.lost) return 'Lost';
  if (exit.oomKilled) return 'OOMKilled';
  if (exit.signal > 0) return 'Signaled';
  return exit.code === 0 ? 'Completed' : 'Error';
}

function exitOf(exit: RecordedExit | undefined): Exit | undefined {
  if (exit === undefined) return undefined;
  const { code, signal, finishTimeMs, ordered } = exit;
  return { code, reason: exitReason(exit), signal, finishTimeMs, ordered };
}

function tellExit(exit: RecordedExit | undefined): Omit<Told, 'state'> {
  if (exit === undefined || exit.ordered) return {};
  switch (exitReason(exit)) {
    case 'Completed':
      return { reason: 'Completed', message: 'The main program ended with exit code 0.' };
    case 'Error':
      return { reason: 'ExitedWithError', message: `The main program ended with exit code ${exit.code}.` };
    case 'OOMKilled':
      return { reason: 'OOMKilled', message: 'The main program was killed because the sandbox went beyond its memory limit.' };
    case 'Signaled':
      return { reason: 'Signaled', message: `The main program was ended by signal ${exit.signal}.` };
    case 'DiskLimitExceeded':
      return { reason: 'DiskLimitExceeded', message: 'The main program was ended because the sandbox went beyond its disk limit.' };
    case 'RunnerRebooted':
      return { reason: 'RunnerRebooted', message: 'The machine was booted anew while the main program ran.' };
    case 'Lost':
      return { reason: 'ExitLost', message: 'The main program is gone and its exit was not seen.' };
  }
}

/** Whether a full inventory names the copy: not what is gone, nor what is only remembered. */
export function isInInventory(sandbox: SandboxView, copy: CopyView): boolean {
  const goal = goalOf(sandbox, copy);
  if (goal.kind === 'Gone') return false;
  if (copy.observed !== undefined || (copy.entry?.started ?? 0) > 0) return true;
  const { entry } = copy;
  const newest = Math.max(entry?.accepted?.order ?? 0, entry?.rejections.at(-1)?.order ?? 0);
  return newest > 0 && newest === sandbox.entry?.order;
}
