import type { SandboxReason, SandboxStatus } from '../../crds/index.ts';
import { isProvenFenced } from '../assignment/fencing.ts';
import { reasonOf, sentence } from './blame.ts';
import { mainOrder } from './orders.ts';
import type { CopyView, ExitView, SandboxSnapshot } from './snapshot.ts';

/** What the newest report proves about the assigned copy: the table of proofs in docs/adr/0002-orders.md. */
export type Observation =
  /** Nothing that changes what is known. */
  | { readonly kind: 'Nothing' }
  /** It runs under this contentVersion. */
  | { readonly kind: 'Running'; readonly startTimeMs: number }
  /** It ran under this contentVersion and no process is left. */
  | { readonly kind: 'Ended'; readonly exit: ExitView | undefined }
  /** This contentVersion was never started, and the order that permitted it has been overtaken. */
  | { readonly kind: 'NeverStarted' }
  /** The order to run was never carried out and never will be: this contentVersion was not started. */
  | { readonly kind: 'Rejected'; readonly reason: SandboxReason; readonly message: string }
  /** The content that should lie on the runner does not. */
  | { readonly kind: 'Missing'; readonly message: string; readonly isProven: boolean }
  /** The copy is ready; nothing was permitted to run in it. */
  | { readonly kind: 'Prepared' };

const nothing: Observation = { kind: 'Nothing' };

/** Reports below the status's order prove nothing. Content that is missing by a complete inventory comes before whatever the copy said last. */
export function observe(world: SandboxSnapshot): Observation {
  const { status } = world.sandbox;
  const { copy } = world;
  const message = missingContent(world);
  if (message !== undefined) return { kind: 'Missing', message, isProven: isProvenIdle(world) };
  if (hasEndedWithItsMachine(world)) return { kind: 'Ended', exit: undefined };
  if (copy === undefined || copy.order < status.order) return nothing;
  const wanted = mainOrder(status)?.wanted;
  if (wanted === 'Running') return observeRunning(status, copy);
  if (wanted === 'Prepared') return observePrepared(copy);
  return wanted === 'Stopped' ? observeStopped(status, copy) : nothing;
}

/** It was seen running, and its machine is proven to be off. What was permitted and never seen may not have been started: that stays unresolved. */
function hasEndedWithItsMachine({ sandbox: { status }, runner }: SandboxSnapshot): boolean {
  const { state, assignment } = status;
  if (runner === undefined || assignment === undefined || !isProvenFenced(runner, assignment.storeID)) return false;
  return wasSeenRunning(status) && (state === 'Started' || state === 'Stopping' || state === 'Error');
}

/** True when the current contentVersion was seen running: it is taken back no more. */
export function wasSeenRunning(status: SandboxStatus): boolean {
  return status.startTime !== undefined;
}

/** True when something should lie on the runner, whatever became of the last start. */
export function hasContent(status: SandboxStatus): boolean {
  if (status.contentVersion === 0) return false;
  if (wasSeenRunning(status) || status.assignment?.source.kind === 'Local') return true;
  return status.state === 'Stopped' || status.state === 'Pending';
}

function observeRunning(status: SandboxStatus, copy: CopyView): Observation {
  const isCurrent = copy.contentVersion === status.contentVersion;
  switch (copy.state) {
    case 'Running':
      return isCurrent ? { kind: 'Running', startTimeMs: copy.startTimeMs } : nothing;
    case 'Stopped':
      return isCurrent ? { kind: 'Ended', exit: copy.exit } : nothing;
    case 'Rejected':
      return wasSeenRunning(status) ? nothing : rejected(reasonOf(copy.reason), sentence(copy.message, `The runner says ${copy.reason}.`));
    case 'Absent':
      return wasSeenRunning(status) ? nothing : rejected('OrderRejected', `The runner ${status.runnerName ?? ''} has removed the copy.`);
    default:
      return nothing;
  }
}

function observePrepared(copy: CopyView): Observation {
  switch (copy.state) {
    case 'Prepared':
      return { kind: 'Prepared' };
    case 'Rejected':
      return rejected(reasonOf(copy.reason), sentence(copy.message, `The runner says ${copy.reason}.`));
    case 'Absent':
    case 'Missing':
      return rejected('OrderRejected', 'The runner has removed what was being restored.');
    default:
      return nothing;
  }
}

function rejected(reason: SandboxReason, message: string): Observation {
  return { kind: 'Rejected', reason, message };
}

function observeStopped(status: SandboxStatus, copy: CopyView): Observation {
  if (copy.state !== 'Stopped' && copy.state !== 'Rejected' && copy.state !== 'Absent') return nothing;
  if (status.contentVersion === 0 || copy.contentVersion < status.contentVersion) return { kind: 'NeverStarted' };
  return copy.state === 'Stopped' ? { kind: 'Ended', exit: copy.exit } : nothing;
}

/** Why the content is not where it should be; undefined when that is not known. */
function missingContent(world: SandboxSnapshot): string | undefined {
  const { status } = world.sandbox;
  const { runnerName, assignment, contentVersion } = status;
  if (runnerName === undefined || assignment === undefined || contentVersion === 0 || assignment.phase === 'Prepared') return undefined;
  if (world.runner === undefined && !isStoreConnected(world))
    return `The runner ${runnerName} is gone, and with it the files of the sandbox.`;
  const storeID = world.runner?.storeID;
  if (storeID !== undefined && storeID !== assignment.storeID)
    return `The runner ${runnerName} came back with another disk, without the files of the sandbox.`;
  return hasContent(status) && isCopyGone(world) ? `The files of the sandbox are not on the runner ${runnerName} any more.` : undefined;
}

/** Where the files should be nothing runs, says the agent itself: the copy is gone from a disk that it has told all of, or the machine was booted anew. */
function isProvenIdle(world: SandboxSnapshot): boolean {
  const { assignment } = world.sandbox.status;
  if (isStoreConnected(world)) return world.copy === undefined || world.copy.state === 'Absent' || world.copy.state === 'Missing';
  const agent = world.runner?.agent;
  return agent?.isComplete === true && agent.bootID !== assignment?.bootID;
}

/** An agent with the very store of the assigned copy is connected, and has told all that lies there: also when the Runner's object is gone. */
function isStoreConnected({ sandbox: { status }, remains }: SandboxSnapshot): boolean {
  const { runnerName, assignment } = status;
  return remains.some((one) => one.isReachable && one.runnerName === runnerName && one.epoch === assignment?.epoch);
}

function isCopyGone(world: SandboxSnapshot): boolean {
  const { sandbox, copy } = world;
  const { status } = sandbox;
  if (copy === undefined) return isStoreConnected(world);
  if (copy.state === 'Missing' || copy.state === 'Absent') return true;
  const isAnswer = copy.order >= status.order && (copy.state === 'Stopped' || copy.state === 'Rejected');
  return isAnswer && copy.contentVersion < oldestPossible(status);
}

/** What a copy that is whole must have started: a lower version means an older disk or a lost journal, and must never be started as if it were the newest. */
function oldestPossible(status: SandboxStatus): number {
  const { state, contentVersion, assignment } = status;
  if (wasSeenRunning(status) || state === 'Stopped' || state === 'Pending') return contentVersion;
  return Math.max(assignment?.source.kind === 'Local' ? 1 : 0, contentVersion - 1);
}
