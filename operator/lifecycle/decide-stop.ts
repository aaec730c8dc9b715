import { firstOf, type Outcome, type Situation } from './outcome.ts';
import { targetWithdrawn } from '../assignment/decide-target.ts';
import { awaitingProof, contentMissingAndNotCurrent, underWay } from './shared-rules.ts';
import { timeOf } from './time.ts';

/** How a sandbox that should not run comes to rest. Pure; row S1 of docs/assignment.md, first match wins. */
export function decideStop(situation: Situation): Outcome {
  return firstOf(situation, [
    archivedBefore,
    targetWithdrawn, // D2
    contentMissingAndNotCurrent, // D6
    neverStarted,
    stopRunning, // S1
    stopUnderWay,
    awaitingProof,
    atRest,
  ]);
}

/** In a backup alone it stays until it is to be started. */
function archivedBefore({ settled: { status } }: Situation): Outcome | undefined {
  return status.state === 'Archived' ? { kind: 'Keep' } : undefined;
}

/** The order to run was rejected meanwhile: there is nothing to stop. */
export function neverStarted({ settled }: Situation): Outcome | undefined {
  return settled.rejection === undefined ? undefined : { kind: 'Rest', reason: 'Stopped' };
}

/** Running, or permitted to: Stopped is ordered under a higher number (also D1 with a changed mind). */
export function stopRunning({ settled: { status } }: Situation): Outcome | undefined {
  const mayRun = status.state === 'Creating' || status.state === 'Restoring' || status.state === 'Starting' || status.state === 'Started';
  return mayRun ? { kind: 'Stop', reason: 'Stopping' } : undefined;
}

export function stopUnderWay(situation: Situation): Outcome | undefined {
  return situation.settled.status.state === 'Stopping' ? underWay(situation) : undefined;
}

function atRest(): Outcome {
  return { kind: 'Rest', reason: 'Stopped' };
}

/** The next attempt is due later. */
export function backingOff({ world, settled: { status } }: Situation): Outcome | undefined {
  const due = timeOf(status.transition?.retryTime);
  return due === undefined || due <= world.now.wall ? undefined : { kind: 'Keep', lookAgainMs: due - world.now.wall };
}
