import type { Clock, Timer } from '../../../process/clock.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** What virtual time 0 is on a wall clock. */
export const epoch = Date.UTC(2026, 0, 1);

/**
 * One run of a program: an agent or an operator pod between its start and its end. All that reaches the program (timers, answers, messages)
 * comes through here, so that a crash ends it between two steps and a pause (SIGSTOP) stops it while the time goes on.
 */
export class Process implements Clock {
  readonly name: string;
  readonly random: Random;
  readonly #scheduler: Scheduler;
  #state: 'running' | 'paused' | 'dead' = 'running';
  readonly #late: { readonly kind: 'timer' | 'arrival'; readonly run: () => void }[] = [];
  readonly #ends: (() => void)[] = [];

  constructor(name: string, scheduler: Scheduler, random: Random) {
    this.name = name;
    this.random = random;
    this.#scheduler = scheduler;
  }

  get isAlive(): boolean {
    return this.#state !== 'dead';
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  monotonic(): number {
    return this.#scheduler.now;
  }

  now(): number {
    return epoch + this.#scheduler.now;
  }

  after(ms: number, fire: () => void): Timer {
    let done = false;
    const timer = this.#scheduler.after(ms, () => {
      this.#arrive('timer', () => {
        if (!done) fire();
      });
    });
    return {
      cancel: () => {
        done = true;
        timer.cancel();
      },
    };
  }

  /** Something from outside reaches the program after `ms`: never when it is dead by then, later when it is paused. */
  arrive(ms: number, run: () => void): void {
    this.#scheduler.after(ms, () => {
      this.#arrive('arrival', run);
    });
  }

  /** SIGKILL: its memory is gone, nothing of it runs again. */
  kill(): void {
    if (this.#state === 'dead') return;
    this.#state = 'dead';
    this.#late.length = 0;
    for (const end of this.#ends.splice(0)) end();
  }

  /** Calls `end` when the process dies. What the kernel does then: connections close. */
  onEnd(end: () => void): void {
    this.#ends.push(end);
  }

  /** SIGSTOP. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  /** SIGCONT: what came meanwhile happens now, timers first or messages first. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    const late = this.#late.splice(0);
    const first = this.random.chance(0.5) ? 'timer' : 'arrival';
    const ordered = [...late.filter(({ kind }) => kind === first), ...late.filter(({ kind }) => kind !== first)];
    for (const { kind, run } of ordered) {
      this.#scheduler.after(0, () => {
        this.#arrive(kind, run);
      });
    }
  }

  #arrive(kind: 'timer' | 'arrival', run: () => void): void {
    if (this.#state === 'running') run();
    else if (this.#state === 'paused') this.#late.push({ kind, run });
  }
}
