/** The only source of time in Berth. Pure code takes times as values; shells take a Clock, so that tests and the simulation decide what time it is. */
export interface Clock {
  /** Milliseconds of a clock that never jumps. Only differences mean something; deadlines are judged with it. */
  monotonic(): number;
  /** Milliseconds since the epoch, anchored to the API server's time where one is known. For display and for comparing with stored times. */
  now(): number;
  /** Calls `fire` once after `ms` milliseconds unless cancelled. */
  after(ms: number, fire: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** A number in [0, 1): the only source of randomness, injected wherever jitter is wanted. */
export type Random = () => number;

/** Resolves after `ms` milliseconds; rejects with the signal's reason when it is aborted first. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const abort = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}
