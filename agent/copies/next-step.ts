import type { JournalSource, RecordedExit } from '../journal/record.ts';
import { defaultGraceSeconds, type AttemptWish } from './order.ts';
import type { BackupErrorCode, ExitStatus } from './runtime.ts';
import { goalOf, hasNotRun, holdsContent, isAlive, isMadeFrom, isMissing, isReady, sourceOf, taskOf } from './view.ts';
import type { CopyView, Goal, SandboxView } from './view.ts';

/** One step of a copy towards what is wanted of it. */
export type Step =
  /** All is as it should be, or as it can be. */
  | { readonly kind: 'Rest' }
  /** The order has to come again: after a start of the agent nobody else knows the configuration. */
  | { readonly kind: 'AwaitOrder' }
  | { readonly kind: 'RecordExit'; readonly epoch: number; readonly contentVersion: number; readonly exit: RecordedExit }
  /** The recorded start never happened and will not: what was before it counts again. */
  | { readonly kind: 'TakeBack'; readonly epoch: number; readonly contentVersion: number }
  | { readonly kind: 'Stop'; readonly epoch: number; readonly graceSeconds: number }
  | { readonly kind: 'Remove'; readonly epoch: number }
  | { readonly kind: 'RecordAbsent'; readonly epoch: number }
  /** What was made is removed; `next` is what is made instead. */
  | { readonly kind: 'Forget'; readonly epoch: number; readonly next: JournalSource | undefined }
  | { readonly kind: 'Prepare'; readonly epoch: number; readonly wish: AttemptWish }
  | { readonly kind: 'RecordStart'; readonly epoch: number; readonly contentVersion: number }
  | { readonly kind: 'Start'; readonly epoch: number; readonly contentVersion: number }
  /** It is paused and nothing reads it: whoever paused it is gone. */
  | { readonly kind: 'Resume'; readonly epoch: number }
  /** A backup could be read, and others go first. */
  | { readonly kind: 'AwaitTurn'; readonly epoch: number }
  | { readonly kind: 'ReadBackup'; readonly epoch: number }
  | { readonly kind: 'FailBackup'; readonly epoch: number; readonly reason: BackupErrorCode; readonly message: string };

const rest: Step = { kind: 'Rest' };

/** The next step of a sandbox: what ends comes before what begins, and one process of it must be gone before another may start. */
export function nextStep(sandbox: SandboxView): Step {
  const steps = sandbox.copies.filter((copy) => !copy.isWaiting).map((copy) => ({ copy, step: copyStep(sandbox, copy) }));
  const ending = steps.find(({ step }) => !begins(step) && !isIdle(step));
  if (ending !== undefined) return ending.step;
  const beginning = steps.find(({ step }) => begins(step));
  if (beginning === undefined) return backupOf(sandbox) ?? steps.find(({ step }) => step.kind === 'AwaitOrder')?.step ?? rest;
  return beginning.step.kind === 'Start' ? beforeStart(sandbox, beginning.step) : beginning.step;
}

/** A backup comes last: what ends and what begins was ordered later, or is of what is to be read. While it is read nothing else is done. */
function backupOf(sandbox: SandboxView): Step | undefined {
  const steps = sandbox.copies.filter((copy) => !copy.isWaiting).map((copy) => backupStep(sandbox, copy));
  return steps.find((step) => step !== undefined);
}

/** Read is only what the copy started last, and only if that is what the order names. */
function backupStep(sandbox: SandboxView, copy: CopyView): Step | undefined {
  const { backup, entry, epoch } = copy;
  if (backup?.stage.kind !== 'Waiting' || backup.stage.trouble !== undefined) return undefined;
  const { contentVersion } = backup.wish;
  const started = entry?.started ?? 0;
  const goal = goalOf(sandbox, copy);
  if (started < contentVersion && goal.kind === 'Running' && goal.accepted.contentVersion === contentVersion) return undefined;
  if (started !== contentVersion || hasNotRun(copy)) {
    const message = `The backup is to be of version ${contentVersion} of the files; on the runner lies version ${started}.`;
    return { kind: 'FailBackup', epoch, reason: 'BackupVersionMismatch', message };
  }
  if (isMissing(copy)) return { kind: 'FailBackup', epoch, reason: 'ContentMissing', message: 'The files are not on the runner any more.' };
  return { kind: backup.hasTurn ? 'ReadBackup' : 'AwaitTurn', epoch };
}

function begins(step: Step): boolean {
  return step.kind === 'Prepare' || step.kind === 'RecordStart' || step.kind === 'Start';
}

function isIdle(step: Step): boolean {
  return step.kind === 'Rest' || step.kind === 'AwaitOrder';
}

/** A sandbox runs at most once: a newer epoch that may run ends an older one of the same runner first. */
function beforeStart(sandbox: SandboxView, start: Step & { readonly kind: 'Start' }): Step {
  const other = sandbox.copies.find((copy) => copy.epoch !== start.epoch && isAlive(copy));
  if (other === undefined) return start;
  const graceSeconds = sandbox.copies.find(({ epoch }) => epoch === start.epoch)?.entry?.accepted?.graceSeconds ?? 0;
  return other.isWaiting ? rest : { kind: 'Stop', epoch: other.epoch, graceSeconds };
}

/** The next step of one copy, whatever its siblings do. */
export function copyStep(sandbox: SandboxView, copy: CopyView): Step {
  const goal = goalOf(sandbox, copy);
  const step = exitToRecord(sandbox, goal, copy) ?? overrun(copy) ?? stepTo(goal, copy);
  return isIdle(step) && taskOf(copy).state === 'Paused' ? { kind: 'Resume', epoch: copy.epoch } : step;
}

/** Whatever else is wanted: a process beyond its disk limit is ended. */
function overrun(copy: CopyView): Step | undefined {
  return copy.hasOverrun && isAlive(copy) ? stop(copy, overrunGraceSeconds) : undefined;
}

/** A process that was started and is not there any more has ended, whoever wanted it. */
function exitToRecord({ bootID }: SandboxView, goal: Goal, copy: CopyView): Step | undefined {
  const { entry, epoch } = copy;
  if (entry === undefined || entry.started === 0 || entry.exit !== undefined || isAlive(copy) || hasNotRun(copy)) return undefined;
  const task = taskOf(copy);
  const exit = task.state === 'Stopped' ? task.exit : (copy.exitHint ?? lostExit);
  const ordered = goal.kind === 'Stopped' || goal.kind === 'Absent';
  return {
    kind: 'RecordExit',
    epoch,
    contentVersion: entry.started,
    exit: {
      ...exit,
      ordered,
      ...(copy.hasOverrun && { diskLimitExceeded: true }),
      ...(exit.lost && ranUnder(copy) !== bootID && { rebooted: true }),
    },
  };
}

/** The boot under which its process was started. */
function ranUnder({ observed, entry }: CopyView): string | undefined {
  return observed === undefined || observed.bootID === '' ? entry?.accepted?.bootID : observed.bootID;
}

const lostExit: ExitStatus = { code: 255, signal: 0, oomKilled: false, finishTimeMs: 0, lost: true };

function stepTo(goal: Goal, copy: CopyView): Step {
  switch (goal.kind) {
    case 'Running':
      return towardsRunning(copy, goal);
    case 'Prepared':
      return towardsPrepared(copy, goal);
    case 'Ahead':
      return towardsAhead(copy, goal.wish);
    case 'Stopped':
      return isAlive(copy) ? stop(copy, goal.accepted.graceSeconds) : clear(copy);
    case 'Discarded':
      return isAlive(copy) ? rest : clear(copy);
    case 'Expired':
      return holdsContent(copy) ? rest : unmake(copy);
    case 'Absent':
      return towardsAbsent(copy, goal.accepted.graceSeconds);
    case 'Gone':
      return copy.observed === undefined ? rest : remove(copy);
    case 'Unclaimed':
      return rest;
    case 'Abandoned':
      return towardsRest(copy);
  }
}

/** Who fills the disk is not asked for long. */
const overrunGraceSeconds = 1;

function towardsRunning(copy: CopyView, { accepted }: Goal & { readonly kind: 'Running' }): Step {
  const { entry, epoch } = copy;
  const { contentVersion, source, configHash, graceSeconds } = accepted;
  const started = entry?.started ?? 0;
  if (started > contentVersion || (started === contentVersion && !hasNotRun(copy))) return rest;
  if (isAlive(copy)) return stop(copy, graceSeconds);
  if (source === undefined || !isReady(copy, source, configHash)) return make(copy, accepted.source);
  return { kind: started === contentVersion ? 'Start' : 'RecordStart', epoch, contentVersion };
}

function towardsPrepared(copy: CopyView, { accepted }: Goal & { readonly kind: 'Prepared' }): Step {
  if (isAlive(copy)) return rest;
  const { source, configHash } = accepted;
  return source !== undefined && isReady(copy, source, configHash) ? rest : make(copy, source);
}

function make(copy: CopyView, source: JournalSource | undefined): Step {
  const { wish, epoch } = copy;
  if (source !== undefined && !isMadeFrom(copy, source)) return unmake(copy, source);
  return wish === undefined ? { kind: 'AwaitOrder' } : { kind: 'Prepare', epoch, wish: onWhatIsThere(copy, wish) };
}

/** Content that something ran on is never replaced: neither by the image nor by a backup. */
function onWhatIsThere(copy: CopyView, wish: AttemptWish): AttemptWish {
  return holdsContent(copy) ? { ...wish, source: { kind: 'Local' } } : wish;
}

function towardsAhead(copy: CopyView, wish: AttemptWish): Step {
  const { epoch } = copy;
  const source = sourceOf(wish.source);
  if (isAlive(copy) || isReady(copy, source, wish.config.hash)) return rest;
  if (isMadeFrom(copy, source)) return { kind: 'Prepare', epoch, wish: onWhatIsThere(copy, wish) };
  return unmake(copy, source);
}

function towardsAbsent(copy: CopyView, graceSeconds: number): Step {
  if (isAlive(copy)) return stop(copy, graceSeconds);
  return copy.isRemoved && copy.observed === undefined ? { kind: 'RecordAbsent', epoch: copy.epoch } : remove(copy);
}

/** What runs is ended and what could start is taken away; whatever is written stays. */
function towardsRest(copy: CopyView): Step {
  if (isAlive(copy)) return stop(copy, Math.max(defaultGraceSeconds, copy.entry?.accepted?.graceSeconds ?? 0));
  return taskOf(copy).state === 'Created' ? stop(copy, 0) : rest;
}

/** Takes away what could start, and what nothing ever ran on. */
function clear(copy: CopyView): Step {
  const { epoch, entry } = copy;
  if (taskOf(copy).state === 'Created') return stop(copy, 0);
  if (entry !== undefined && hasNotRun(copy)) return { kind: 'TakeBack', epoch, contentVersion: entry.started };
  return entry?.madeFrom === undefined || holdsContent(copy) ? rest : unmake(copy);
}

/** Removes what this agent made and nothing ran on: the journal says from what it was made. */
function unmake(copy: CopyView, next?: JournalSource): Step {
  return copy.isRemoved && copy.observed === undefined ? { kind: 'Forget', epoch: copy.epoch, next } : remove(copy);
}

function stop({ epoch }: CopyView, graceSeconds: number): Step {
  return { kind: 'Stop', epoch, graceSeconds };
}

function remove({ epoch }: CopyView): Step {
  return { kind: 'Remove', epoch };
}
