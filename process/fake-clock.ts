import type { Clock, Timer } from './clock.ts';

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
}

/**
 * A clock that stands still until it is told to move. Timers fire in the order of their times, those of the same time in the order
 * in which they were set, also those that are set while it advances.
 */
export class FakeClock implements Clock {
  #monotonic = 0;
  #wall: number;
  #order = 0;
  readonly #pending = new Set<Pending>();

  /** `start` is what `now()` says at first, in milliseconds since the epoch. */
  constructor(start: number = Date.UTC(2026, 0, 1)) {
    this.#wall = start;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  now(): number {
    return this.#wall + this.#monotonic;
  }

  after(ms: number, fire: () => void): Timer {
    const pending = { at: this.#monotonic + Math.max(0, ms), order: this.#order++, fire };
    this.#pending.add(pending);
    return { cancel: () => this.#pending.delete(pending) };
  }

  /** The number of timers that wait. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Milliseconds until the next timer, or undefined when none waits. */
  untilNext(): number | undefined {
    const next = this.#next(Infinity);
    return next === undefined ? undefined : next.at - this.#monotonic;
  }

  /** Moves the time on and fires what falls due; code that awaits goes on only when the caller awaits. */
  advance(ms: number): void {
    const end = this.#monotonic + ms;
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) this.#fire(next);
    this.#monotonic = end;
  }

  /** As `advance`, and lets everything that awaits go on before each timer and at the end. */
  async run(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settle();
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#fire(next);
      await settle();
    }
    this.#monotonic = end;
    await settle();
  }

  /** Makes `now()` jump; `monotonic()` and the timers do not notice. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  #fire(pending: Pending): void {
    this.#pending.delete(pending);
    this.#monotonic = Math.max(this.#monotonic, pending.at);
    pending.fire();
  }

  #next(end: number): Pending | undefined {
    let next: Pending | undefined;
    for (const one of this.#pending) {
      if (one.at <= end && (next === undefined || one.at < next.at || (one.at === next.at && one.order < next.order))) next = one;
    }
    return next;
  }
}

/** Lets every promise that can go on go on. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
