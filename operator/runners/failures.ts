import { backoffDelay, type Backoff } from '../../process/backoff.ts';
import type { FailureView } from '../assignment/runner-view.ts';

/**
 * Which runners failed lately, in memory. A sandbox that fails on one runner is tried on another; when it fails there too, it is itself at
 * fault and no runner is blamed for it. A runner on which two different sandboxes failed that failed nowhere else is left alone for a
 * growing time, and ranks behind the others until something succeeds on it: being empty does not make it attractive.
 */
export interface RunnerFailures {
  /** uids of the sandboxes, oldest first. */
  readonly uids: readonly string[];
  /** Failures since the last success. */
  readonly count: number;
  /** Monotonic end of the back-off; 0: none. */
  readonly until: number;
  /** Monotonic time of the last failure. */
  readonly at: number;
}
export type FailureHistory = ReadonlyMap<string, RunnerFailures>;

export const noFailures: FailureHistory = new Map();

const backOff: Backoff = { initialMs: 1_000, maxMs: 300_000 };
/** Different sandboxes that must fail before a runner is left alone. */
const threshold = 2;
const rememberedUids = 16;
/** A failure is forgotten so long after the back-off that it caused. */
const forgottenMs = 600_000;

/** After `uid` failed on the runner by a cause that lies with the runner. `jitter` in [0, 1). */
export function afterFailure(
  history: FailureHistory,
  failed: { readonly runnerName: string; readonly uid: string; readonly now: number; readonly jitter: number },
): FailureHistory {
  const { runnerName, uid, now, jitter } = failed;
  const failedElsewhere = [...history].some(([name, { uids }]) => name !== runnerName && uids.includes(uid));
  if (failedElsewhere) return withoutSandbox(history, uid);
  const before = history.get(runnerName);
  const uids = [...(before?.uids ?? []).filter((one) => one !== uid), uid].slice(-rememberedUids);
  const count = (before?.count ?? 0) + 1;
  const until = uids.length < threshold ? 0 : now + backoffDelay(backOff, count - 1, () => jitter);
  return new Map([...history, [runnerName, { uids, count, until, at: now }]]);
}

/** After a sandbox was started on the runner. */
export function afterSuccess(history: FailureHistory, runnerName: string): FailureHistory {
  return history.has(runnerName) ? new Map([...history].filter(([name]) => name !== runnerName)) : history;
}

/** What a decision sees of one runner's history. */
export function failureView(history: FailureHistory, runnerName: string, now: number): FailureView {
  const failures = history.get(runnerName);
  if (failures === undefined || now > Math.max(failures.until, failures.at) + forgottenMs) return { sandboxes: 0, until: 0 };
  return { sandboxes: failures.uids.length, until: failures.until };
}

function withoutSandbox(history: FailureHistory, uid: string): FailureHistory {
  return new Map(
    [...history].flatMap(([name, failures]) => {
      const uids = failures.uids.filter((one) => one !== uid);
      if (uids.length === failures.uids.length) return [[name, failures] as const];
      return uids.length === 0 ? [] : [[name, { ...failures, uids, until: uids.length < threshold ? 0 : failures.until }] as const];
    }),
  );
}
