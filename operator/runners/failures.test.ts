import { describe, expect, it } from '@jest/globals';
import { afterFailure, afterSuccess, failureView, noFailures, type FailureHistory } from './failures.ts';

function failed(
  history: FailureHistory,
  ...failures: readonly (readonly [runnerName: string, uid: string, now: number])[]
): FailureHistory {
  return failures.reduce((now, [runnerName, uid, at]) => afterFailure(now, { runnerName, uid, now: at, jitter: 0 }), history);
}

describe('runners that fail', () => {
  it('one failure makes a runner the last choice, and keeps nobody away', () => {
    expect(failureView(failed(noFailures, ['r1', 'a', 0]), 'r1', 1)).toEqual({ sandboxes: 1, until: 0 });
  });

  it('a second sandbox that fails there backs the runner off, longer each time, to five minutes', () => {
    const until = (count: number) => {
      const failures = Array.from({ length: count }, (_, index) => ['r1', `s${index}`, 0] as const);
      return failureView(failed(noFailures, ...failures), 'r1', 1).until;
    };
    expect([2, 3, 4, 9, 10, 11, 30].map(until)).toEqual([1_000, 2_000, 4_000, 128_000, 256_000, 300_000, 300_000]);
  });

  it('a sandbox that fails wherever it is tried takes no runner away from the others', () => {
    const history = failed(noFailures, ['r1', 'bad', 0], ['r2', 'bad', 1], ['r1', 'bad', 2], ['r2', 'bad', 3]);
    expect([failureView(history, 'r1', 4), failureView(history, 'r2', 4)].every(({ until }) => until === 0)).toBe(true);
  });

  it('a sandbox that failed there alone and again elsewhere leaves only the blame of others', () => {
    const history = failed(noFailures, ['r1', 'a', 0], ['r1', 'b', 0], ['r2', 'b', 1]);
    expect(failureView(history, 'r1', 2)).toEqual({ sandboxes: 1, until: 0 });
    expect(failureView(history, 'r2', 2)).toEqual({ sandboxes: 0, until: 0 });
  });

  it('a success clears it', () => {
    expect(failureView(afterSuccess(failed(noFailures, ['r1', 'a', 0], ['r1', 'b', 0]), 'r1'), 'r1', 1)).toEqual({
      sandboxes: 0,
      until: 0,
    });
  });

  it('is forgotten ten minutes after the back-off', () => {
    const history = failed(noFailures, ['r1', 'a', 0], ['r1', 'b', 0]);
    expect(failureView(history, 'r1', 601_000)).toMatchObject({ sandboxes: 2 });
    expect(failureView(history, 'r1', 601_001)).toEqual({ sandboxes: 0, until: 0 });
  });

  it('does not grow with the number of failures', () => {
    const failures = Array.from({ length: 500 }, (_, index) => ['r1', `s${index}`, index] as const);
    expect(failed(noFailures, ...failures).get('r1')?.uids).toHaveLength(16);
  });
});
