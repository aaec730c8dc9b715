import { currentBackup } from '../backups/current.ts';
import { timeLeft } from './deadlines.ts';
import { duration } from './time.ts';
import type { Outcome, Situation } from './outcome.ts';

/** Rules that hold whether the sandbox is to run or not. */

/** D6: the files are not where they should be. Never from the image instead; left again when they are back. */
export function contentMissing({ settled }: Situation): Outcome | undefined {
  if (settled.missing === undefined) return undefined;
  return { kind: 'Fail', reason: 'ContentMissing', message: settled.missing, retry: 'OnChange' };
}

/** With a current backup the files on the runner are not needed any more. */
export function contentMissingAndNotCurrent(situation: Situation): Outcome | undefined {
  return currentBackup(situation.settled.status) === undefined ? contentMissing(situation) : undefined;
}

/** A step that was ordered and is not answered yet: it is waited for until its deadline, then Stopped is ordered and waited for. */
export function underWay(situation: Situation): Outcome {
  const left = timeLeft(situation.world);
  if (left === undefined || left > 0) return { kind: 'Keep', lookAgainMs: left };
  const { state, runnerName } = situation.settled.status;
  const isAway = situation.world.runner?.agent === undefined;
  const who = `The runner ${runnerName ?? ''}${isAway ? ', which is not connected,' : ''}`;
  return {
    kind: 'Fail',
    reason: 'DeadlineExceeded',
    message: `${who} has not ${doneBy[state] ?? 'answered'} by the deadline.`,
    retry: 'BackOff',
  };
}

const doneBy: Readonly<Partial<Record<Situation['settled']['status']['state'], string>>> = {
  Creating: 'created the sandbox',
  Restoring: 'restored the sandbox',
  Starting: 'started the sandbox',
  Stopping: 'stopped the sandbox',
  Archiving: 'archived the sandbox',
};

/** In Error, Stopped is ordered: until it is proven that nothing runs, nothing else can be begun. */
export function awaitingProof({ settled }: Situation): Outcome | undefined {
  return settled.status.state === 'Error' && !settled.isAtRest ? { kind: 'Keep' } : undefined;
}

/** `a wait of 4 s`. */
export function waitOf(ms: number): string {
  return `a wait of ${duration(ms)}`;
}
