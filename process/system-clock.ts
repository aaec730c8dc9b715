import type { Clock } from './clock.ts';

/** A Clock that learns the time from a server. */
export interface AnchoredClock extends Clock {
  /**
   * Follows a server's `Date` header: `serverTimeMs` is that header, which has whole seconds, read `roundTripMs` after the request
   * was sent. `now()` moves only when it contradicts the answer, so that equal clocks do not jitter.
   */
  anchor(serverTimeMs: number, roundTripMs?: number): void;
}

/** Where a system clock gets its time; tests replace it. */
export interface TimeSource {
  readonly monotonic: () => number;
  readonly wall: () => number;
}

const machine: TimeSource = { monotonic: () => performance.now(), wall: () => Date.now() };
/** `setTimeout` fires at once for anything longer. */
const longestTimeout = 0x7fff_ffff;

/** The machine's clock. The wall clock is read once: when it jumps later, nothing changes here. */
export function systemClock(source: TimeSource = machine): AnchoredClock {
  let offset = source.wall() - source.monotonic();
  return {
    monotonic: source.monotonic,
    now: () => source.monotonic() + offset,
    anchor: (serverTimeMs, roundTripMs = 0) => {
      offset = followServer(offset, serverTimeMs - source.monotonic(), roundTripMs);
    },
    after: (ms, fire) => {
      let timer: NodeJS.Timeout;
      const wait = (left: number) => {
        const part = Math.min(Math.max(0, left), longestTimeout);
        timer = setTimeout(() => (left > part ? wait(left - part) : fire()), part);
      };
      wait(ms);
      return { cancel: () => clearTimeout(timer) };
    },
  };
}

/**
 * The offset of server time from the monotonic clock, given the one believed so far and `atLeast`: the header minus the monotonic
 * clock at receipt. The server wrote the header up to `roundTripMs` before and cut up to a second: the truth is in
 * [atLeast, atLeast + 1000 + roundTripMs). What is believed is moved into that interval by as little as possible.
 */
export function followServer(believed: number, atLeast: number, roundTripMs: number): number {
  return Math.min(Math.max(believed, atLeast), atLeast + 999 + roundTripMs);
}
