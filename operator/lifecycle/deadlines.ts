import type { SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from './snapshot.ts';
import { timeOf } from './time.ts';

/** How long each state may last, in milliseconds. Byte progress extends `Creating` and `Restoring` up to their total; nothing extends the others. */
export interface Deadlines {
  readonly creatingQuiet: number;
  readonly creatingTotal: number;
  readonly starting: number;
  /** On top of the grace period. */
  readonly stopping: number;
  /** At least; never less than the grace period and `stopping`. */
  readonly deleting: number;
  /** Of a backup, without a byte moved. */
  readonly backupQuiet: number;
  readonly backupTotal: number;
}

export const defaultDeadlines: Deadlines = {
  creatingQuiet: 300_000,
  creatingTotal: 3_600_000,
  starting: 60_000,
  stopping: 30_000,
  deleting: 120_000,
  backupQuiet: 300_000,
  backupTotal: 3_600_000,
};

/** When the state is given up if nothing happens, counted from `since`; undefined for states that may last. */
export function deadlineOf(
  { sandbox, deadlines }: Pick<SandboxSnapshot, 'sandbox' | 'deadlines'>,
  state: SandboxStatus['state'],
  since: number,
): number | undefined {
  const stopped = since + sandbox.spec.terminationGracePeriodSeconds * 1000 + deadlines.stopping;
  switch (state) {
    case 'Creating':
    case 'Restoring':
      return since + deadlines.creatingQuiet;
    case 'Archiving':
      return since + deadlines.backupTotal;
    case 'Starting':
      return since + deadlines.starting;
    case 'Stopping':
      return stopped;
    case 'Deleting':
      return Math.max(stopped, since + deadlines.deleting);
    default:
      return undefined;
  }
}

/** How many milliseconds are left of the state that the object is in: 0 when it is overdue; undefined when it may last. */
export function timeLeft(world: SandboxSnapshot): number | undefined {
  const { state, transition } = world.sandbox.status;
  const since = timeOf(transition?.startTime);
  if (since === undefined) return undefined;
  const due = deadlineOf(world, state, Math.max(since, progressTime(world) ?? 0));
  if (due === undefined) return undefined;
  const last = state === 'Creating' || state === 'Restoring' ? since + world.deadlines.creatingTotal : due;
  const patience = Math.max(0, world.patientUntil - world.now.monotonic);
  return Math.max(0, patience, Math.min(due, last) - world.now.wall);
}

/** When the bytes of the copy moved last, as wall time; only while data is what is waited for. */
function progressTime({ sandbox: { status }, copy, now }: SandboxSnapshot): number | undefined {
  const isData = status.state === 'Creating' || status.state === 'Restoring';
  return !isData || copy?.progressAt === undefined ? undefined : now.wall - (now.monotonic - copy.progressAt);
}
