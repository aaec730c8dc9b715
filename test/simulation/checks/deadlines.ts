import type { Sandbox, SandboxStatus } from '../../../crds/index.ts';

/**
 * What is wrong with the deadline of the state that a status tells, in a sentence: "Deadlines" of docs/assignment.md, once more and differently written. The
 * operator judges a state by `transition.startTime`, so that whoever moves that moves the deadline.
 */
export function deadlineFault({ spec, status: after }: Sandbox, before: SandboxStatus): string | undefined {
  const { state, transition } = after;
  const most = mostSeconds(state, spec.terminationGracePeriodSeconds);
  if (most === undefined) return undefined;
  if (transition?.deadlineTime === undefined) return `${state} without a deadline`;
  const seconds = (Date.parse(transition.deadlineTime) - Date.parse(transition.startTime)) / 1000;
  if (seconds > most + roundedSeconds) return `${state} for ${seconds} s, and ${most} s are allowed`;
  if (!isSameStay(before, after)) return undefined;
  const { startTime = '', deadlineTime = '' } = before.transition ?? {};
  const isPutOff = transition.startTime > startTime || transition.deadlineTime > deadlineTime;
  const stay = `${transition.startTime} to ${transition.deadlineTime}`;
  return isPutOff ? `${state} from ${startTime} to ${deadlineTime} is put off: from ${stay}` : undefined;
}

/** The begin is rounded down to whole seconds, the end up. */
const roundedSeconds = 2;

/** Undefined: it may last. */
function mostSeconds(state: SandboxStatus['state'], graceSeconds: number): number | undefined {
  switch (state) {
    case 'Creating':
    case 'Restoring':
      return 300;
    case 'Starting':
      return 60;
    case 'Stopping':
      return graceSeconds + 30;
    case 'Archiving':
      return 3_600;
    case 'Deleting':
      return Math.max(graceSeconds + 30, 120);
    default:
      return undefined;
  }
}

/** The state has gone on: what is tried on another runner, or under another permission, has a time of its own. */
function isSameStay(before: SandboxStatus, after: SandboxStatus): boolean {
  const isSameTry = before.assignment?.epoch === after.assignment?.epoch && before.contentVersion === after.contentVersion;
  return before.state === after.state && isSameTry;
}
