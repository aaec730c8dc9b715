import { SANDBOX_FINALIZER, type SandboxStatus } from '../../crds/index.ts';
import { mergePatch } from '../../kube/diff.ts';
import { decideStart } from '../assignment/decide-start.ts';
import { distrust, reconsider } from '../backups/distrust.ts';
import { followBackup } from '../backups/follow-backup.ts';
import type { BackupStep } from '../backups/operation.ts';
import { planBackup } from '../backups/plan-backup.ts';
import { retain } from '../backups/retention.ts';
import { freeSuperseded } from '../backups/superseded.ts';
import { blameOf } from './blame.ts';
import { carryOut, preparationOf } from './carry-out.ts';
import { backedUp, conditionsOf, startedClaim } from './conditions.ts';
import { timeLeft } from './deadlines.ts';
import type { AssignmentNote, Decision } from './decision.ts';
import { decideDeletion } from './deletion.ts';
import { decideArchive } from './decide-archive.ts';
import { decideStop } from './decide-stop.ts';
import { eventsOf } from './events.ts';
import { numbered } from './number.ts';
import { outstandingOrders } from './outstanding.ts';
import type { Outcome, Situation } from './outcome.ts';
import { settle } from './settle.ts';
import { isWithoutStore, type SandboxSnapshot } from './snapshot.ts';
import { timeOf } from './time.ts';

/** How long an order may stay unanswered on a living stream before it is sent again. */
export const resendMs = 10_000;

/** What is to be done about one sandbox. Pure: the same snapshot gives the same decision, and nothing of it is changed. */
export function decide(world: SandboxSnapshot): Decision {
  const { metadata } = world.sandbox;
  const isHeld = metadata.finalizers.includes(SANDBOX_FINALIZER);
  if (metadata.deletionTimestamp !== undefined) return isHeld ? decideDeleted(world) : idle(world);
  if (!isHeld) return { ...idle(world), finalizer: 'Add' };
  return decideWanted(world);
}

/** The object lives: it is brought to what spec asks for. First the facts, then what becomes of the sandbox, then of its backups: one status of it all. */
function decideWanted(world: SandboxSnapshot): Decision {
  // First of all: what is not whole any more must let nothing go.
  const trusted = distrust(world, world.sandbox.status);
  const settled = settle({ ...world, sandbox: { ...world.sandbox, status: trusted.status } });
  const followed = followBackup(world, settled.status);
  const situation: Situation = { world, settled: { ...settled, status: followed.status } };
  const { desiredState } = world.sandbox.spec;
  const outcome = rulesFor[desiredState](situation);
  const planned = planBackup(world, carryOut(situation, outcome));
  const retained = retain(world, planned.status);
  // Last of all: what is to be removed holds nothing any more.
  const freed = freeSuperseded(world, retained.status);
  const steps = [trusted, followed, planned, retained, freed, reconsider(world, freed.status)];
  const next = finished(world, freed.status);
  const decision = withOutcome(withSteps(changed(world, next), steps), outcome);
  return {
    ...decision,
    preparation: preparationOf(next, outcome),
    lesson: lessonOf(situation, outcome),
    lookAgainMs: earliest(decision.lookAgainMs, 'lookAgainMs' in outcome ? outcome.lookAgainMs : undefined, retryIn(next, world)),
    assignment: desiredState === 'Started' && isAboutPlace(outcome) ? assignmentNote(world) : undefined,
    waitsForRunner: outcome.kind === 'Wait' && blameOf(outcome.reason) !== 'Sandbox',
  };
}

const rulesFor = { Started: decideStart, Stopped: decideStop, Archived: decideArchive } as const;

/** D0. */
function decideDeleted(world: SandboxSnapshot): Decision {
  const outcome = decideDeletion(world);
  if (outcome.kind === 'Wait') {
    const decision = changed(world, finished(world, outcome.status));
    return { ...decision, lookAgainMs: earliest(decision.lookAgainMs, outcome.lookAgainMs), registry: outcome.registry };
  }
  return { ...idle(world), finalizer: 'Remove', removals: outcome.removals, events: outcome.events };
}

/** The whole status: releases dropped that are proven, or whose store is gone and the copy with it (a deleted object notes these), orders numbered, conditions and generation as they are now. */
function finished(world: SandboxSnapshot, chosen: SandboxStatus): SandboxStatus {
  const isDeleted = world.sandbox.metadata.deletionTimestamp !== undefined;
  const gone = world.remains.filter((one) => one.isAbsent || (!isDeleted && isWithoutStore(one)));
  const isGone = (runnerName: string, epoch: number) => gone.some((one) => one.runnerName === runnerName && one.epoch === epoch);
  const started = chosen.state === 'Started' ? startedClaim(chosen, world) : {};
  const kept = { ...chosen, ...started, releases: chosen.releases.filter(({ runnerName, epoch }) => !isGone(runnerName, epoch)) };
  const next = { ...numbered(world, kept), observedGeneration: world.sandbox.metadata.generation };
  return { ...next, conditions: conditionsOf(next, world) };
}

function changed(world: SandboxSnapshot, next: SandboxStatus): Decision {
  const before = world.sandbox.status;
  const patch = mergePatch(before, next);
  const status = patch === undefined ? before : next;
  const unanswered = outstandingOrders(world, status).length > 0 ? resendMs : undefined;
  const left = patch === undefined ? timeLeft(world) : timeLeft({ ...world, sandbox: { ...world.sandbox, status } });
  return {
    ...idle(world),
    status,
    patch,
    events: patch === undefined ? [] : eventsOf(before, next),
    lookAgainMs: earliest(unanswered, left),
  };
}

/** What is asked and told beside the status. */
function withOutcome(decision: Decision, outcome: Outcome): Decision {
  const notices = 'notices' in outcome ? outcome.notices : [];
  const registry = 'registry' in outcome ? outcome.registry : [];
  return { ...decision, events: [...decision.events, ...notices], registry: [...decision.registry, ...registry] };
}

/** What the backups of the sandbox ask for beside its status. */
function withSteps(decision: Decision, steps: readonly BackupStep[]): Decision {
  return {
    ...decision,
    events: [...decision.events, ...steps.flatMap(({ events }) => events)],
    registry: steps.flatMap(({ registry }) => registry),
    lookAgainMs: earliest(decision.lookAgainMs, ...steps.map(({ lookAgainMs }) => lookAgainMs)),
  };
}

function idle({ sandbox }: SandboxSnapshot): Decision {
  return {
    status: sandbox.status,
    patch: undefined,
    finalizer: 'Keep',
    preparation: undefined,
    removals: [],
    events: [],
    lesson: undefined,
    lookAgainMs: undefined,
    assignment: undefined,
    waitsForRunner: false,
    registry: [],
  };
}

function lessonOf({ settled }: Situation, outcome: Outcome): Decision['lesson'] {
  return 'lesson' in outcome && outcome.lesson !== undefined ? outcome.lesson : settled.lesson;
}

function isAboutPlace({ kind }: Outcome): boolean {
  return kind === 'Assign' || kind === 'StartInPlace' || kind === 'Restore' || kind === 'GoBack' || kind === 'Wait';
}

/** What is logged of every decision about a place: read from the snapshot and nothing else, so that it tells what was decided on. */
function assignmentNote(world: SandboxSnapshot): AssignmentNote {
  const { sandbox, runner } = world;
  const { metadata, status } = sandbox;
  return {
    sandboxId: metadata.uid,
    currentRunnerId: status.runnerName,
    prevRunnerId: status.prevRunnerName,
    runnerUnschedulable: runner?.spec.unschedulable,
    backupState: backedUp(status, world).reason,
  };
}

/** A retry that is overdue waits for something else, which will say so: time alone brings nothing. */
function retryIn({ transition }: SandboxStatus, { now }: SandboxSnapshot): number | undefined {
  const due = timeOf(transition?.retryTime);
  return due === undefined || due <= now.wall ? undefined : due - now.wall;
}

function earliest(...times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
