import type { SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from './snapshot.ts';
import { timeOf } from './time.ts';

/** How long each state may last, in milliseconds. Byte progress extends `Creating` up to its total; nothing extends the others. */
export const limits = {
  creatingQuiet: 300_000,
  creatingTotal: 3_600_000,
  starting: 60_000,
  /** On top of the grace period. */
  stopping: 30_000,
  /** At least; never less than the grace period and `stopping`. */
  deleting: 120_000,
} as const;

/** When the state is given up if nothing happens, counted from `since`; undefined for states that may last. */
export function deadlineOf(state: SandboxStatus['state'], since: number, graceSeconds: number): number | undefined {
  const stopped = since + graceSeconds * 1000 + limits.stopping;
  switch (state) {
    case 'Creating':
    case 'Restoring':
      return since + limits.creatingQuiet;
    case 'Starting':
      return since + limits.starting;
    case 'Stopping':
      return stopped;
    case 'Deleting':
      return Math.max(stopped, since + limits.deleting);
    default:
      return undefined;
  }
}

/** How many milliseconds are left of the state that the object is in: 0 when it is overdue; undefined when it may last. */
export function timeLeft(world: SandboxSnapshot): number | undefined {
  const { state, transition } = world.sandbox.status;
  const since = timeOf(transition?.startTime);
  if (since === undefined) return undefined;
  const due = deadlineOf(state, Math.max(since, progressTime(world) ?? 0), world.sandbox.spec.terminationGracePeriodSeconds);
  if (due === undefined) return undefined;
  const last = state === 'Creating' || state === 'Restoring' ? since + limits.creatingTotal : due;
  const patience = Math.max(0, world.patientUntil - world.now.monotonic);
  return Math.max(0, patience, Math.min(due, last) - world.now.wall);
}

/** When the bytes of the copy moved last, as wall time; only while data is what is waited for. */
function progressTime({ sandbox: { status }, copy, now }: SandboxSnapshot): number | undefined {
  const isData = status.state === 'Creating' || status.state === 'Restoring';
  return !isData || copy?.progressAt === undefined ? undefined : now.wall - (now.monotonic - copy.progressAt);
}
