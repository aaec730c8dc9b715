import type { BackupRecord, Release, Sandbox, SandboxStatus } from '../../crds/index.ts';
import { historyOf } from '../backups/current.ts';
import { subjectOf } from '../backups/registry-work.ts';
import { deletionOf, isRemovalDone, removalWork, resultOf, sweepsOf } from '../backups/retention.ts';
import { transitionTo } from './carry-out.ts';
import { timeLeft } from './deadlines.ts';
import type { NotedRemoval, SandboxEvent } from './decision.ts';
import type { RegistryWork, RemainsView, SandboxSnapshot } from './snapshot.ts';
import { pastTime } from './time.ts';

/** How a deleted object goes. */
export type DeletionOutcome =
  /** Its copies are ordered Absent and waited for. */
  | {
      readonly kind: 'Wait';
      readonly status: SandboxStatus;
      readonly lookAgainMs: number | undefined;
      readonly registry: readonly RegistryWork[];
    }
  /** Every copy is proven absent, or noted in its Runner by `removals`, and the backups are removed, kept as asked, or told of: the finalizer goes. */
  | { readonly kind: 'Go'; readonly removals: readonly NotedRemoval[]; readonly events: readonly SandboxEvent[] };

/** D0: from every state. What can not be reached by the deadline, or ever, is noted and removed when its runner is back; backups that are left are named. */
export function decideDeletion(world: SandboxSnapshot): DeletionOutcome {
  const left = world.remains.filter(({ isAbsent, isKnown, isReachable }) => !isAbsent && (isKnown || isReachable));
  const backups = backupsToRemove(world);
  const { status } = world.sandbox;
  const kept = keptCopies(status);
  const isDeleting = status.state === 'Deleting';
  const overdue = isDeleting && timeLeft(world) === 0;
  const awaited = left.filter(({ isElsewhere }) => !isElsewhere);
  const mayPush = kept.length > 0 || awaited.some(({ isReachable }) => isReachable);
  const unswept = sweepsToDo(world);
  const works = [...backups.map(deletionOf), ...(mayPush || backups.length > 0 ? [] : unswept)];
  const removable = works.filter((work) => !isRefused(world, work));
  if (overdue || (awaited.length === 0 && removable.length === 0 && kept.length === 0)) {
    const removals = [...left, ...kept.filter(({ runnerName }) => world.fleet.some(({ name }) => name === runnerName))];
    return {
      kind: 'Go',
      removals: removals.map((remains) => noted(world, remains)),
      events: [farewell(left), ...leftInRegistry(world, backups, unswept)],
    };
  }
  const { registry, lookAgainMs } = removalWork(world, removable);
  if (isDeleting) {
    const times = [timeLeft(world), lookAgainMs].filter((time) => time !== undefined);
    return { kind: 'Wait', status: withReleased(status), lookAgainMs: times.length === 0 ? undefined : Math.min(...times), registry };
  }
  return { kind: 'Wait', status: asDeleting(world, awaited), lookAgainMs: undefined, registry };
}

/** Releases that a status may have. */
const maxReleases = 32;

/** A copy that it could have gone back to, and those that restores have replaced. */
function keptCopies({ assignment, superseded }: SandboxStatus): readonly Release[] {
  return [...(assignment?.previous === undefined ? [] : [assignment.previous]), ...superseded];
}

/** What was kept is released like every other copy: the user wants none of it any more. As many as the status can name; the others when some of these are gone. */
function withReleased(status: SandboxStatus): SandboxStatus {
  const kept = keptCopies(status);
  if (kept.length === 0) return status;
  const room = Math.max(0, maxReleases - status.releases.length);
  const { assignment } = status;
  return {
    ...status,
    ...(assignment !== undefined && { assignment: { ...assignment, previous: undefined } }),
    releases: [...status.releases, ...kept.slice(0, room)],
    superseded: kept.slice(room),
  };
}

function asDeleting(world: SandboxSnapshot, awaited: readonly RemainsView[]): SandboxStatus {
  const { status } = world.sandbox;
  const names = awaited.map(({ runnerName }) => runnerName).join(', ');
  return {
    ...withReleased(status),
    state: 'Deleting',
    reason: 'Deleting',
    message: names === '' ? 'What is left of the sandbox is being removed.' : `The copy on ${names} is being removed.`,
    transition: transitionTo('Deleting', world, 0),
  };
}

/** Those that the registry may still have, and should not. */
function backupsToRemove({ sandbox: { spec, status }, registry }: SandboxSnapshot): readonly BackupRecord[] {
  if (spec.backup.reclaimPolicy === 'Retain') return [];
  return historyOf(status).filter((record) => !isRemovalDone(registry, deletionOf(record)));
}

/** It is not waited for: the registry does not do this, or does not let the operator look where there may never have been anything. */
function isRefused(world: SandboxSnapshot, work: RegistryWork): boolean {
  const outcome = resultOf(world.registry, work)?.outcome;
  return outcome === 'Unsupported' || (work.kind === 'Sweep' && outcome === 'Unauthorized');
}

/** What was pushed and never recorded is looked for, once what is recorded is removed and nothing that could push is left. */
function sweepsToDo(world: SandboxSnapshot): readonly RegistryWork[] {
  const { spec, status } = world.sandbox;
  if (spec.backup.reclaimPolicy === 'Retain') return [];
  return sweepsOf(world, status).filter((work) => !isRemovalDone(world.registry, work));
}

/** What is told of backups that stay; of a registry that does not do such a thing only what is recorded. */
function leftInRegistry(
  { registry }: SandboxSnapshot,
  backups: readonly BackupRecord[],
  sweeps: readonly RegistryWork[],
): readonly SandboxEvent[] {
  const [first] = backups;
  const unswept = sweeps.find((work) => resultOf(registry, work)?.outcome !== 'Unsupported');
  if (first !== undefined) {
    const digests = backups.map(({ digest }) => digest).join(', ');
    return [notRemoved(`The registry did not remove these backups in time, which stay in ${first.repository}: ${digests}.`)];
  }
  return unswept === undefined
    ? []
    : [
        notRemoved(
          `The registry did not say in time whether it has other backups of the sandbox: look for the tags ${subjectOf(unswept)}.`,
        ),
      ];
}

function notRemoved(note: string): SandboxEvent {
  return { type: 'Warning', reason: 'BackupNotRemoved', action: 'Delete', note: note.slice(0, 1024) };
}

/** What is told of the copies that are left when the object goes. */
function farewell(left: readonly RemainsView[]): SandboxEvent {
  if (left.length === 0) return { type: 'Normal', reason: 'Deleted', action: 'Delete', note: 'Every copy of the sandbox was removed.' };
  return { type: 'Warning', reason: 'RemovalPending', action: 'Delete', note: left.map(whyLeft).join(' ') };
}

function whyLeft({ runnerName, isElsewhere, isReachable }: RemainsView): string {
  if (isElsewhere) return `The copy on a disk that the runner ${runnerName} has no more is removed if that disk is back.`;
  if (isReachable) return `The runner ${runnerName} is connected and has not removed the copy in time: it goes on until that is done.`;
  return `The copy on ${runnerName} is removed when the runner is back.`;
}

/** Under a number above every order that was given, so that the runner does not take it for an old one. */
function noted({ sandbox, now }: SandboxSnapshot, { runnerName, storeID, epoch }: Release): NotedRemoval {
  const { metadata, spec, status }: Sandbox = sandbox;
  const { uid, namespace, name } = metadata;
  const graceSeconds = spec.terminationGracePeriodSeconds;
  const startTime = pastTime(now.wall);
  return { runnerName, removal: { uid, namespace, name, epoch, storeID, order: status.order + 1, graceSeconds, startTime } };
}
