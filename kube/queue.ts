import { backoffDelay } from '../process/backoff.ts';
import type { Backoff } from '../process/backoff.ts';
import type { Clock, Random, Timer } from '../process/clock.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Metrics } from '../process/metrics.ts';
import type { WorkQueue } from './types.ts';

export interface WorkQueueOptions {
  /** Label `name` of the metrics. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Of `addRateLimited`. Default 10 ms to 60 s, a fifth of it random. */
  readonly backoff?: Backoff;
  readonly metrics?: Metrics;
}

const defaultBackoff: Backoff = { initialMs: 10, maxMs: 60_000 };
const secondsBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300];

export function createWorkQueue(options: WorkQueueOptions): WorkQueue {
  return new KeyedQueue(options);
}

/**
 * A key is in at most one of these: waiting (in line), working (with a worker; `again` says that it was added meanwhile).
 * Apart from that it may be delayed.
 */
class KeyedQueue implements WorkQueue {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #backoff: Backoff;
  /** Since when each key waits, in order. */
  readonly #waiting = new Map<string, number>();
  readonly #working = new Map<string, { readonly since: number; again: boolean }>();
  readonly #delayed = new Map<string, { readonly at: number; readonly timer: Timer }>();
  readonly #failures = new Map<string, number>();
  readonly #idle: ((key: string | undefined) => void)[] = [];
  readonly #drained: (() => void)[] = [];
  readonly #count: ReturnType<typeof countersOf>;
  #closed = false;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#backoff = options.backoff ?? defaultBackoff;
    this.#count = countersOf(options.metrics ?? noMetrics, options.name);
  }

  get depth(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    if (this.#closed) return;
    const working = this.#working.get(key);
    if (working !== undefined) {
      if (!working.again) this.#count.added();
      working.again = true;
    } else if (!this.#waiting.has(key)) {
      this.#count.added();
      this.#enqueue(key);
    }
  }

  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.monotonic() + ms;
    const delayed = this.#delayed.get(key);
    if (delayed !== undefined && delayed.at <= at) return;
    delayed?.timer.cancel();
    const timer = this.#clock.after(ms, () => {
      this.#delayed.delete(key);
      this.add(key);
    });
    this.#delayed.set(key, { at, timer });
  }

  addRateLimited(key: string): void {
    if (this.#closed) return;
    const failures = this.retries(key) + 1;
    this.#failures.set(key, failures);
    this.#count.retried();
    this.addAfter(key, backoffDelay(this.#backoff, failures, this.#random));
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  retries(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  next(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    for (const [key] of this.#waiting) return Promise.resolve(this.#start(key));
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  done(key: string): void {
    const working = this.#working.get(key);
    if (working === undefined) return;
    this.#working.delete(key);
    this.#count.worked((this.#clock.monotonic() - working.since) / 1000);
    if (working.again && !this.#closed) this.#enqueue(key);
    this.#settleShutdown();
  }

  shutdown(): Promise<void> {
    this.#closed = true;
    for (const { timer } of this.#delayed.values()) timer.cancel();
    this.#delayed.clear();
    this.#waiting.clear();
    this.#failures.clear();
    this.#count.depth(0);
    for (const resolve of this.#idle.splice(0)) resolve(undefined);
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#settleShutdown();
    });
  }

  #enqueue(key: string): void {
    this.#waiting.set(key, this.#clock.monotonic());
    const worker = this.#idle.shift();
    if (worker === undefined) this.#count.depth(this.#waiting.size);
    else worker(this.#start(key));
  }

  #start(key: string): string {
    const now = this.#clock.monotonic();
    this.#count.waited((now - (this.#waiting.get(key) ?? now)) / 1000);
    this.#waiting.delete(key);
    this.#working.set(key, { since: now, again: false });
    this.#count.depth(this.#waiting.size);
    return key;
  }

  #settleShutdown(): void {
    if (this.#closed && this.#working.size === 0) for (const resolve of this.#drained.splice(0)) resolve();
  }
}

function countersOf(metrics: Metrics, name: string) {
  const labels = ['name'];
  const of = { name };
  const depth = metrics.gauge({ name: 'workqueue_depth', help: 'Keys waiting in the work queue.', labels });
  const adds = metrics.counter({ name: 'workqueue_adds_total', help: 'Keys added to the work queue.', labels });
  const retries = metrics.counter({ name: 'workqueue_retries_total', help: 'Keys added again after a failure.', labels });
  const waited = metrics.histogram({
    name: 'workqueue_queue_duration_seconds',
    help: 'How long keys wait.',
    labels,
    buckets: secondsBuckets,
  });
  const worked = metrics.histogram({
    name: 'workqueue_work_duration_seconds',
    help: 'How long keys are worked on.',
    labels,
    buckets: secondsBuckets,
  });
  return {
    depth: (keys: number) => depth.set(keys, of),
    added: () => adds.inc(of),
    retried: () => retries.inc(of),
    waited: (seconds: number) => waited.observe(seconds, of),
    worked: (seconds: number) => worked.observe(seconds, of),
  };
}
