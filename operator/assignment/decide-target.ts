import { ASSIGNMENT_REASONS, type AssignmentReason, type BackupRecord, type SandboxReason, type SandboxStatus } from '../../crds/index.ts';
import { currentBackup, recordOf } from '../backups/current.ts';
import { blameOf } from '../lifecycle/blame.ts';
import { timeLeft } from '../lifecycle/deadlines.ts';
import type { RunnerLesson, SandboxEvent } from '../lifecycle/decision.ts';
import type { AfterGoingBack, Outcome, OutcomeOf, Situation } from '../lifecycle/outcome.ts';
import { lacking } from './amounts.ts';
import { hasRoomForRelease, previousOf, requestOf, restoring } from './restore.ts';
import { freeOf, isLost, type AgentView } from './runner-view.ts';

/** What becomes of a copy that is being restored: committed when it is ready; while nothing has run in it, another target or back to where the files lie. */

/** D2: nobody wants it to start any more. What ran in it is stopped like everything else. */
export function targetWithdrawn({ settled }: Situation): Outcome | undefined {
  return settled.isUnused ? { kind: 'GoBack', then: { kind: 'Rest' } } : undefined;
}

/** It is ready: the patch that permits it to run, while its runner can be told. From then on only a proof leaves it: one that is away now may never give it. */
export function targetPrepared({ world, settled }: Situation): Outcome | undefined {
  const { runner, environment } = world;
  const isThere = runner?.agent?.isComplete === true && runner.agent.storeID === settled.status.assignment?.storeID;
  const isTold = isThere && runner.fencing === undefined;
  return settled.isPrepared && isTold && environment.kind === 'Ready' ? { kind: 'Commit' } : undefined;
}

/** The target is lost, has refused, is too late, or was ordered to stop before anything ran: the next one, else back. */
export function targetFailed(situation: Situation): Outcome | undefined {
  const { settled } = situation;
  if (!settled.isUnused) return undefined;
  const failure = failureOf(situation);
  if (failure !== undefined) return nextTarget(situation, failure) ?? goBack(situation, failure);
  return settled.status.assignment?.phase === 'Committed' && !settled.isPrepared ? { kind: 'GoBack', then: { kind: 'Rest' } } : undefined;
}

interface Failure {
  readonly reason: SandboxReason;
  readonly message: string;
  readonly lesson: RunnerLesson | undefined;
}

function failureOf(situation: Situation): Failure | undefined {
  const { world, settled } = situation;
  const { status, rejection } = settled;
  const { runnerName = '', assignment } = status;
  const failed: RunnerLesson = { runnerName, kind: 'Failed' };
  if (rejection !== undefined) return { ...rejection, lesson: blameOf(rejection.reason) === 'Runner' ? failed : undefined };
  if (status.state === 'Error') return { reason: 'DeadlineExceeded', message: status.message ?? '', lesson: failed };
  if (assignment?.phase !== 'Prepared') return undefined;
  const isElsewhere = world.runner?.storeID !== undefined && world.runner.storeID !== assignment.storeID;
  if (isLost(world.runner) || isElsewhere) {
    return { reason: 'RunnerLost', message: `The runner ${runnerName} was lost while the sandbox was restored there.`, lesson: undefined };
  }
  if (timeLeft(world) !== 0) return undefined;
  return { reason: 'DeadlineExceeded', message: `The runner ${runnerName} has not restored the sandbox by the deadline.`, lesson: failed };
}

/** For the reason that the first one was chosen for; each runner once. */
function nextTarget(situation: Situation, failure: Failure): Outcome | undefined {
  const { world, settled } = situation;
  const { status } = settled;
  const isTriedEverywhere = (status.transition?.attempts ?? 0) + 1 >= world.fleet.length;
  const record = isTriedEverywhere || !hasRoomForRelease(status) ? undefined : sameBackup(status);
  if (record === undefined) return undefined;
  const reason = knownReason(status.assignment?.reason ?? '');
  const original = reason === 'RestoreRequested' ? undefined : previousOf(status)?.runnerName;
  const candidates = world.fleet.filter(({ name }) => name !== original);
  const excluded = { runnerName: status.runnerName ?? '', why: 'in back-off after failures' } as const;
  const tried = restoring(situation, record, reason, candidates, { excluded });
  // What was permitted to run does not wait for an answer where it is: its order would permit it again, under a contentVersion that is not its own.
  if (tried.kind === 'Ask') return status.assignment?.phase === 'Prepared' ? tried.outcome : undefined;
  return tried.kind === 'Go' ? { ...tried.outcome, lesson: failure.lesson, notices: [notRestored(status, failure)] } : undefined;
}

/** Why a target was left: what follows is told by itself, and does not say it. */
function notRestored({ runnerName = '' }: SandboxStatus, { reason, message }: Failure): SandboxEvent {
  return { type: 'Warning', reason, action: 'Restore', note: `It was not restored on ${runnerName}: ${message}` };
}

/** The backup that is being restored, if it still may be. */
function sameBackup(status: SandboxStatus): BackupRecord | undefined {
  const { reason = '', source } = status.assignment ?? {};
  const record = recordOf(status, source?.digest ?? '');
  const isOnceMore = reason === 'ContentMissing' && record?.verifiedTime !== undefined;
  const isAllowed = reason === 'RestoreRequested' || isOnceMore || currentBackup(status)?.digest === record?.digest;
  return isAllowed && record?.deletionTime === undefined ? record : undefined;
}

function knownReason(reason: string): AssignmentReason {
  return ASSIGNMENT_REASONS.find((one) => one === reason) ?? 'BackupRestored';
}

/** Reasons for which what lies on the original runner is not what is wanted, or is not there. */
const notInPlace: readonly string[] = ['RestoreRequested', 'RunnerLost', 'ContentMissing', 'BackupRestored'];

function goBack(situation: Situation, failure: Failure): Outcome {
  const { reason, message, lesson } = failure;
  const agent = originalAgent(situation);
  const then: AfterGoingBack = agent === undefined ? { kind: 'Wait', reason, message } : { kind: 'Start', agent };
  const isSpoiled = reason === 'BackupNotFound' || reason === 'BackupCorrupt';
  const told = agent === undefined ? {} : { notices: [notRestored(situation.settled.status, failure)] };
  return { kind: 'GoBack', then, lesson, ...(isSpoiled ? spoiled(situation, message) : told) };
}

/** The backup was whole when the operator looked, and is not any more, says the runner: told, and looked at again. */
function spoiled({ settled: { status } }: Situation, said: string): Pick<OutcomeOf<'GoBack'>, 'notices' | 'registry'> {
  const record = recordOf(status, status.assignment?.source.digest ?? '');
  if (record === undefined) return {};
  const { digest, repository, contentVersion } = record;
  const note = `The backup ${digest} could not be restored on ${status.runnerName ?? ''}: ${said}`;
  return {
    notices: [{ type: 'Warning', reason: 'BackupUnverified', action: 'Restore', note }],
    registry: [{ kind: 'Verify', depth: 'Meta', repository, digest, contentVersion }],
  };
}

/** The agent that can start the files where they lie. */
function originalAgent({ world, settled: { status } }: Situation): AgentView | undefined {
  const previous = previousOf(status);
  if (previous === undefined || notInPlace.includes(status.assignment?.reason ?? '')) return undefined;
  const runner = world.fleet.find(({ name }) => name === previous.runnerName);
  const agent = runner?.agent;
  if (runner === undefined || agent?.isComplete !== true || agent.storeID !== previous.storeID || runner.fencing !== undefined)
    return undefined;
  if (world.environment.kind !== 'Ready') return undefined;
  return lacking(requestOf(world, {}).requests, freeOf(runner, agent)) === undefined ? agent : undefined;
}
