import type { Clock } from '../process/clock.ts';
import type { Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Metrics } from '../process/metrics.ts';
import { isKubeError } from './errors.ts';
import type { WorkQueue } from './types.ts';

export interface ReconcileResult {
  /** Look again after so many milliseconds, if nothing happens before. */
  readonly requeueAfterMs?: number | undefined;
}

export interface ReconcileContext {
  /** Carries controller, key and the number of this reconcile. */
  readonly log: Logger;
  /** Aborted when the controller stops: leadership is lost or the process ends. */
  readonly signal: AbortSignal;
}

/** Brings what belongs to the key closer to what is wanted. Reads the present state itself; rejecting means "again, after a back-off". */
export type Reconcile = (key: string, context: ReconcileContext) => Promise<ReconcileResult | undefined>;

export interface ControllerOptions {
  /** Label `controller` of logs and metrics. */
  readonly name: string;
  readonly queue: WorkQueue;
  readonly reconcile: Reconcile;
  /** Keys worked on at the same time. Default 8. */
  readonly workers?: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

export interface Controller {
  /** Works until the signal is aborted; resolves when the last reconcile is over. Runs once: a new term of leadership takes a new controller and queue. */
  run(signal: AbortSignal): Promise<void>;
  /** Why it is not alive, in a sentence, when a reconcile takes longer than `limitMs`: for the health port. */
  stuck(limitMs: number): string | undefined;
}

type Outcome = 'success' | 'requeue_after' | 'conflict' | 'error';

/** Runs `reconcile` for each key of the queue: never twice at once for a key, again with back-off when it rejects. */
export function createController(options: ControllerOptions): Controller {
  return new QueueController(options);
}

class QueueController implements Controller {
  readonly #options: ControllerOptions;
  readonly #count: ReturnType<typeof countersOf>;
  /** When each reconcile under way began. */
  readonly #running = new Map<string, number>();
  #started = 0;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#count = countersOf(options.metrics ?? noMetrics, options.name);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { queue, workers = 8 } = this.#options;
    const stop = () => void queue.shutdown();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    await Promise.all(Array.from({ length: workers }, () => this.#work(signal)));
    signal.removeEventListener('abort', stop);
  }

  stuck(limitMs: number): string | undefined {
    for (const [key, since] of this.#running) {
      const ms = this.#options.clock.monotonic() - since;
      if (ms > limitMs) return `${this.#options.name}: the reconcile of ${key} has not ended for ${Math.round(ms / 1000)} s`;
    }
    return undefined;
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    for (let key = await queue.next(); key !== undefined; key = await queue.next()) await this.#reconcile(key, signal);
  }

  async #reconcile(key: string, signal: AbortSignal): Promise<void> {
    const { name, queue, reconcile, clock, log } = this.#options;
    const began = clock.monotonic();
    const context = { log: log.child({ controller: name, key, reconcile: ++this.#started }), signal };
    this.#running.set(key, began);
    this.#count.active(this.#running.size);
    let outcome: Outcome;
    try {
      outcome = this.#settle(key, await reconcile(key, context));
    } catch (err) {
      outcome = this.#fail(key, err, context);
    }
    this.#running.delete(key);
    this.#count.active(this.#running.size);
    this.#count.done(outcome, (clock.monotonic() - began) / 1000);
    queue.done(key);
  }

  #settle(key: string, result: ReconcileResult | undefined): Outcome {
    const { queue } = this.#options;
    queue.forget(key);
    if (result?.requeueAfterMs === undefined) return 'success';
    queue.addAfter(key, Math.max(1, result.requeueAfterMs));
    return 'requeue_after';
  }

  #fail(key: string, err: unknown, context: ReconcileContext): Outcome {
    const { queue } = this.#options;
    queue.addRateLimited(key);
    if (isKubeError(err, 'Conflict')) {
      context.log.debug({ reason: err.message }, 'Object changed meanwhile, reconciling again');
      return 'conflict';
    }
    if (context.signal.aborted) context.log.debug({ err }, 'Reconcile ended by shutdown');
    else context.log.error({ err, retries: queue.retries(key) }, 'Reconcile failed');
    return 'error';
  }
}

function countersOf(metrics: Metrics, controller: string) {
  const labels = ['controller'];
  const total = metrics.counter({
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciles by result.',
    labels: ['controller', 'result'],
  });
  const errors = metrics.counter({ name: 'controller_runtime_reconcile_errors_total', help: 'Reconciles that failed.', labels });
  const active = metrics.gauge({ name: 'controller_runtime_active_workers', help: 'Reconciles under way.', labels });
  const time = metrics.histogram({
    name: 'controller_runtime_reconcile_time_seconds',
    help: 'How long reconciles take.',
    labels,
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  });
  return {
    active: (n: number) => active.set(n, { controller }),
    done: (result: Outcome, seconds: number) => {
      total.inc({ controller, result });
      if (result === 'error') errors.inc({ controller });
      time.observe(seconds, { controller });
    },
  };
}
