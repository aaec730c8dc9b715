import { backoffDelay } from '../process/backoff.ts';
import type { Backoff } from '../process/backoff.ts';
import type { Random } from '../process/clock.ts';
import type { KubeError } from './errors.ts';

/** A request that failed. */
export interface Attempt {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly error: KubeError;
  /** False when it is sure that the server has not seen the request: the connection was never made. */
  readonly sent: boolean;
  /** 1 for the first. */
  readonly number: number;
  /** Until the deadline of the request. */
  readonly remainingMs: number;
}

const backoff: Backoff = { initialMs: 100, maxMs: 2_000, jitter: 0.5 };
/** Attempts after a broken or refused connection. */
const connectionAttempts = 4;
/** Attempts when the server asks to come back. */
const throttledAttempts = 10;

/**
 * How long to wait before sending the request again, or undefined when it must not be: a write that may have happened is never repeated,
 * a server that refuses is only asked again if it says when.
 */
export function retryDelay(attempt: Attempt, random: Random): number | undefined {
  const { method, error, sent, number, remainingMs } = attempt;
  const delay = () => {
    if (error.code === 'Unreachable')
      return sent && method !== 'GET' ? undefined : number < connectionAttempts ? backoffDelay(backoff, number, random) : undefined;
    if (error.retryAfterMs === undefined || number >= throttledAttempts) return undefined;
    return error.code === 'TooManyRequests' || error.details.status === 503 ? error.retryAfterMs * (1 + 0.2 * random()) : undefined;
  };
  const ms = delay();
  return ms !== undefined && ms < remainingMs ? ms : undefined;
}

/** The `Retry-After` header in milliseconds; only its form in seconds is used by the API server. */
export function parseRetryAfter(header: string | undefined): number | undefined {
  return header !== undefined && /^\d+$/.test(header.trim()) ? Number(header) * 1000 : undefined;
}
