import { firstOf, type Outcome, type Situation } from './outcome.ts';
import { awaitingProof, contentMissing, underWay } from './shared-rules.ts';

/** How a sandbox that should not run comes to rest. Pure; row S1 of docs/assignment.md, first match wins. */
export function decideStop(situation: Situation): Outcome {
  return firstOf(situation, [
    contentMissing, // D6
    neverStarted,
    stopRunning, // S1
    stopUnderWay,
    awaitingProof,
    atRest,
  ]);
}

/** The order to run was rejected meanwhile: there is nothing to stop. */
function neverStarted({ settled }: Situation): Outcome | undefined {
  return settled.rejection === undefined ? undefined : { kind: 'Rest', reason: 'Stopped' };
}

/** Running, or permitted to: Stopped is ordered under a higher number (also D1 with a changed mind). */
function stopRunning({ settled: { status } }: Situation): Outcome | undefined {
  const mayRun = status.state === 'Creating' || status.state === 'Restoring' || status.state === 'Starting' || status.state === 'Started';
  return mayRun ? { kind: 'Stop', reason: 'Stopping' } : undefined;
}

function stopUnderWay(situation: Situation): Outcome | undefined {
  return situation.settled.status.state === 'Stopping' ? underWay(situation) : undefined;
}

function atRest(): Outcome {
  return { kind: 'Rest', reason: 'Stopped' };
}
