import type { Random } from './clock.ts';

/** How long to wait after a failure: doubling from `initialMs` up to `maxMs`. */
export interface Backoff {
  readonly initialMs: number;
  readonly maxMs: number;
  /** Growth from one failure to the next. Default 2. */
  readonly factor?: number;
  /** The share of the delay that is random, in [0, 1]; the delay is only ever shortened. Default 0.2. */
  readonly jitter?: number;
}

/** The delay after the `failures`-th failure in a row (1 is the first), in milliseconds. */
export function backoffDelay(backoff: Backoff, failures: number, random: Random): number {
  const { initialMs, maxMs, factor = 2, jitter = 0.2 } = backoff;
  const full = Math.min(maxMs, initialMs * factor ** Math.max(0, failures - 1));
  return full * (1 - jitter * random());
}
