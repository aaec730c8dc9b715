import { createHash } from 'node:crypto';
import { backoffDelay } from '../process/backoff.ts';
import { sleep } from '../process/clock.ts';
import type { Clock, Random, Timer } from '../process/clock.ts';
import type { Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Counter, Metrics } from '../process/metrics.ts';
import { isKubeError } from './errors.ts';
import { keyOf } from './object.ts';
import { microTimestamp } from './time.ts';
import { TokenBucket } from './token-bucket.ts';
import type { EventNote, EventRecorder, KubeObject, KubeTransport, Manifest, Resource } from './types.ts';

export const events: Resource = { group: 'events.k8s.io', version: 'v1', plural: 'events', kind: 'Event', namespaced: true };

export interface EventRecorderOptions {
  readonly transport: KubeTransport;
  /** Who reports: `berth.dev/operator`. */
  readonly controller: string;
  /** Which process of these: the name of the pod. */
  readonly instance: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** An equal event within this time continues the series. Default 360,000 ms. */
  readonly seriesMs?: number;
  /** The count of a series is written at most this often. Default 10,000 ms. */
  readonly refreshMs?: number;
  /** New events of one object: so many at once, then one every `perObjectMs`. Default 25 and 12,000 ms. */
  readonly burst?: number;
  readonly perObjectMs?: number;
  /** A new event is written so much later, so that it does not get in the way of the work that it tells of. Default 0. */
  readonly lingerMs?: number;
  /** Events waiting to be written; more are dropped. Default 5,000. */
  readonly queue?: number;
  /** Series, and objects, that are remembered; of more the oldest are forgotten, so that an equal event is a new one. Default 4,096. */
  readonly memory?: number;
}

export interface RunnableEventRecorder extends EventRecorder {
  /** Writes what is recorded until the signal is aborted; then what still waits, for at most `drainMs` (default 2,000). */
  run(signal: AbortSignal, drainMs?: number): Promise<void>;
}

interface Series {
  readonly event: EventNote;
  readonly firstMs: number;
  count: number;
  lastMs: number;
  /** The Event that carries it, once written. */
  name?: string;
  /** The count that was written. */
  written: number;
  /** Monotonic. */
  lastAt: number;
  /** It is in line, being written, or will be when its time comes. */
  waiting: boolean;
}

/** The limits of events.k8s.io/v1. */
const longest = { note: 1024, reason: 128, action: 128, instance: 128 };
const writers = 4;
const attempts = 4;
const backoff = { initialMs: 200, maxMs: 5_000 };

/**
 * Events for `kubectl describe`, written beside the work and not before it. Equal ones (same object, type, reason, action and note)
 * become one Event with a count.
 */
export function createEventRecorder(options: EventRecorderOptions): RunnableEventRecorder {
  return new Recorder(options);
}

class Recorder implements RunnableEventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #results: Counter;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #queue: Series[] = [];
  readonly #lingering = new Map<Series, Timer>();
  #wake: (() => void)[] = [];
  #closed = false;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#results = (options.metrics ?? noMetrics).counter({
      name: 'kube_events_total',
      help: 'Events by what became of them.',
      labels: ['result'],
    });
  }

  record(event: EventNote): void {
    try {
      this.#record(event);
    } catch (err) {
      this.#options.log.error({ err, reason: event.reason }, 'Event not recorded');
    }
  }

  async run(signal: AbortSignal, drainMs = 2_000): Promise<void> {
    const hard = new AbortController();
    let timer: Timer | undefined;
    const close = () => {
      this.#closed = true;
      for (const series of this.#lingering.keys()) this.#endLingering(series);
      for (const wake of this.#wake.splice(0)) wake();
      timer = this.#clock.after(drainMs, () => hard.abort(new Error('shutdown')));
    };
    if (signal.aborted) close();
    signal.addEventListener('abort', close, { once: true });
    await Promise.all(Array.from({ length: writers }, () => this.#write(hard.signal)));
    timer?.cancel();
  }

  #record(event: EventNote): void {
    const { seriesMs = 360_000, queue = 5_000 } = this.#options;
    const now = this.#clock.monotonic();
    const key = keyOfSeries(event);
    const known = this.#series.get(key);
    if (known !== undefined && now - known.lastAt < seriesMs) {
      known.count++;
      known.lastAt = now;
      known.lastMs = this.#clock.now();
      this.#results.inc({ result: 'repeated' });
      this.#refreshLater(known);
      return;
    }
    if (this.#queue.length + this.#lingering.size >= queue || !this.#mayRecord(event.regarding, now)) {
      this.#results.inc({ result: 'dropped' });
      return;
    }
    const nowMs = this.#clock.now();
    const series = { event: bounded(event), firstMs: nowMs, lastMs: nowMs, count: 1, written: 0, lastAt: now, waiting: false };
    this.#series.delete(key);
    this.#series.set(key, series);
    this.#enqueueSoon(series);
    this.#forget(now, seriesMs);
  }

  #mayRecord({ metadata: { uid } }: KubeObject, now: number): boolean {
    const { burst = 25, perObjectMs = 12_000 } = this.#options;
    const bucket = this.#buckets.get(uid) ?? new TokenBucket(burst, perObjectMs, now);
    this.#buckets.delete(uid);
    this.#buckets.set(uid, bucket);
    return bucket.take(now);
  }

  /** Series that ended, buckets that are full again, and what is too much: the oldest come first. */
  #forget(now: number, seriesMs: number): void {
    const { memory = 4_096 } = this.#options;
    for (const [key, series] of this.#series) {
      if (now - series.lastAt < seriesMs && this.#series.size <= memory) break;
      this.#series.delete(key);
    }
    for (const [uid, bucket] of this.#buckets) {
      if (!bucket.isFull(now) && this.#buckets.size <= memory) break;
      this.#buckets.delete(uid);
    }
  }

  #enqueueSoon(series: Series): void {
    const { lingerMs = 0 } = this.#options;
    if (lingerMs === 0 || this.#closed) {
      this.#enqueue(series);
      return;
    }
    series.waiting = true;
    this.#lingering.set(
      series,
      this.#clock.after(lingerMs, () => this.#endLingering(series)),
    );
  }

  #endLingering(series: Series): void {
    this.#lingering.get(series)?.cancel();
    this.#lingering.delete(series);
    this.#enqueue(series);
  }

  #enqueue(series: Series): void {
    series.waiting = true;
    this.#queue.push(series);
    this.#wake.shift()?.();
  }

  #refreshLater(series: Series): void {
    if (series.waiting) return;
    series.waiting = true;
    this.#clock.after(this.#options.refreshMs ?? 10_000, () => this.#enqueue(series));
  }

  async #write(signal: AbortSignal): Promise<void> {
    for (;;) {
      const series = this.#queue.shift();
      if (series !== undefined) await this.#send(series, signal);
      else if (this.#closed) return;
      else await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  async #send(series: Series, signal: AbortSignal): Promise<void> {
    const { random, log } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#put(series, signal);
        this.#results.inc({ result: 'written' });
        series.waiting = false;
        if (series.count > series.written) this.#refreshLater(series);
        return;
      } catch (err) {
        if (attempt >= attempts || signal.aborted || !isWorthRepeating(err)) {
          this.#results.inc({ result: 'failed' });
          series.waiting = false;
          log.debug({ err, regarding: keyOf(series.event.regarding), reason: series.event.reason }, 'Event not written');
          return;
        }
        await sleep(this.#clock, backoffDelay(backoff, attempt, random), signal).catch(() => undefined);
      }
    }
  }

  async #put(series: Series, signal: AbortSignal): Promise<void> {
    const { transport } = this.#options;
    const { count, name, lastMs } = series;
    const namespace = namespaceOf(series.event.regarding);
    if (name !== undefined && series.written > 0) {
      const body = { series: { count, lastObservedTime: microTimestamp(lastMs) } };
      try {
        await transport.patch(events, { namespace, name }, { type: 'merge', body }, { signal });
        series.written = count;
        return;
      } catch (error) {
        if (!isKubeError(error, 'NotFound')) throw error;
      }
    }
    series.name = this.#nameFor(series.event.regarding);
    await transport.create(events, this.#manifest(series, series.name, namespace), { signal });
    series.written = count;
  }

  #nameFor({ metadata: { name } }: KubeObject): string {
    const { random } = this.#options;
    const suffix = Array.from({ length: 2 }, () =>
      Math.floor(random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0'),
    ).join('');
    return `${name.slice(0, 230)}.${suffix}`;
  }

  #manifest({ event, firstMs, lastMs, count }: Series, name: string, namespace: string): Manifest {
    const { controller, instance } = this.#options;
    const manifest: Manifest & Readonly<Record<string, unknown>> = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: microTimestamp(firstMs),
      reportingController: controller,
      reportingInstance: cut(instance, longest.instance),
      type: event.type,
      reason: event.reason,
      action: event.action,
      note: event.note,
      regarding: referenceTo(event.regarding),
      ...(event.related === undefined ? {} : { related: referenceTo(event.related) }),
      ...(count === 1 ? {} : { series: { count, lastObservedTime: microTimestamp(lastMs) } }),
    };
    return manifest;
  }
}

/** The namespace of an Event: that of its object, `default` for cluster-scoped ones. */
function namespaceOf({ metadata: { namespace } }: KubeObject): string {
  return namespace ?? 'default';
}

function keyOfSeries({ regarding, related, type, reason, action, note }: EventNote): string {
  const parts = [regarding.metadata.uid, related?.metadata.uid ?? '', type, reason, action, note];
  return createHash('sha256').update(parts.join('\0')).digest('base64');
}

function namesOf({ apiVersion, kind, metadata: { name, namespace, uid, resourceVersion } }: KubeObject): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace, uid, resourceVersion } };
}

function referenceTo({ apiVersion, kind, metadata: { name, namespace, uid, resourceVersion } }: KubeObject) {
  return { apiVersion, kind, name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion };
}

/** What is kept of an event: of its objects only what names them. */
function bounded(event: EventNote): EventNote {
  return {
    ...event,
    regarding: namesOf(event.regarding),
    ...(event.related === undefined ? {} : { related: namesOf(event.related) }),
    reason: cut(event.reason, longest.reason),
    action: cut(event.action, longest.action),
    note: cut(event.note, longest.note),
  };
}

/** At most so many bytes of UTF-8, ending in `…` when something was cut off, and never within a character. */
export function cut(text: string, bytes: number): string {
  const encoded = Buffer.from(text);
  if (encoded.length <= bytes) return text;
  return `${new TextDecoder('utf-8', { fatal: false }).decode(encoded.subarray(0, bytes - 3)).replace(/\uFFFD+$/, '')}…`;
}

function isWorthRepeating(error: unknown): boolean {
  return (['Unreachable', 'Timeout', 'ServerError', 'TooManyRequests', 'AlreadyExists', 'Unauthorized'] as const).some((code) =>
    isKubeError(error, code),
  );
}
