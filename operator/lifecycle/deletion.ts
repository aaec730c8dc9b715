import type { Sandbox, SandboxStatus } from '../../crds/index.ts';
import { transitionTo } from './carry-out.ts';
import { timeLeft } from './deadlines.ts';
import type { NotedRemoval, SandboxEvent } from './decision.ts';
import type { RemainsView, SandboxSnapshot } from './snapshot.ts';
import { pastTime } from './time.ts';

/** How a deleted object goes. */
export type DeletionOutcome =
  /** Its copies are ordered Absent and waited for. */
  | { readonly kind: 'Wait'; readonly status: SandboxStatus; readonly lookAgainMs: number | undefined }
  /** Every copy is proven absent, or noted in its Runner by `removals`: the finalizer goes. */
  | { readonly kind: 'Go'; readonly removals: readonly NotedRemoval[]; readonly event: SandboxEvent };

/** D0: from every state. What can not be reached by the deadline, or ever, is noted and removed when its runner is back. */
export function decideDeletion(world: SandboxSnapshot): DeletionOutcome {
  const left = world.remains.filter(({ isAbsent, isKnown, isReachable }) => !isAbsent && (isKnown || isReachable));
  const isDeleting = world.sandbox.status.state === 'Deleting';
  const overdue = isDeleting && timeLeft(world) === 0;
  const awaited = left.filter(({ isElsewhere }) => !isElsewhere);
  if (overdue || awaited.length === 0) {
    return { kind: 'Go', removals: left.map((remains) => noted(world, remains)), event: farewell(left) };
  }
  const { status } = world.sandbox;
  if (isDeleting) return { kind: 'Wait', status, lookAgainMs: timeLeft(world) };
  const deleting: SandboxStatus = {
    ...status,
    state: 'Deleting',
    reason: 'Deleting',
    message: `The copy on ${awaited.map(({ runnerName }) => runnerName).join(', ')} is being removed.`,
    transition: transitionTo('Deleting', world, 0),
  };
  return { kind: 'Wait', status: deleting, lookAgainMs: undefined };
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
function noted({ sandbox, now }: SandboxSnapshot, { runnerName, storeID, epoch }: RemainsView): NotedRemoval {
  const { metadata, spec, status }: Sandbox = sandbox;
  const { uid, namespace, name } = metadata;
  const graceSeconds = spec.terminationGracePeriodSeconds;
  const startTime = pastTime(now.wall);
  return { runnerName, removal: { uid, namespace, name, epoch, storeID, order: status.order + 1, graceSeconds, startTime } };
}
