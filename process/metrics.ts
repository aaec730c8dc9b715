import { Counter as PromCounter, Gauge as PromGauge, Histogram as PromHistogram, Registry, collectDefaultMetrics } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  /** Adds `n` (default 1). */
  inc(labels?: Labels, n?: number): void;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
  /** Forgets the series with these labels, so that what no longer exists is no longer told. */
  remove(labels: Labels): void;
}

export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

/** A metric: its name (Prometheus style, base units), one sentence of help, and the names of its labels. */
export interface MetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** The port that cores count through. Asking twice for a name gives the same metric. */
export interface Metrics {
  counter(options: MetricOptions): Counter;
  gauge(options: MetricOptions): Gauge;
  histogram(options: MetricOptions & { readonly buckets: readonly number[] }): Histogram;
}

export interface MetricsRegistry extends Metrics {
  readonly contentType: string;
  /** All metrics in the Prometheus text format. */
  text(): Promise<string>;
}

export interface MetricsRegistryOptions {
  /** Adds the metrics of the process itself: CPU, memory, event loop lag, garbage collection. Default true. */
  readonly processMetrics?: boolean;
}

/** Metrics in an own registry, never in the global one of prom-client. */
export function createMetrics(options: MetricsRegistryOptions = {}): MetricsRegistry {
  const registry = new Registry();
  if (options.processMetrics ?? true) collectDefaultMetrics({ register: registry });
  const known = new Map<string, unknown>();
  const once = <M>(name: string, create: () => M): M => {
    const metric = (known.get(name) as M | undefined) ?? create();
    known.set(name, metric);
    return metric;
  };
  const settings = ({ name, help, labels }: MetricOptions) => ({ name, help, labelNames: [...(labels ?? [])], registers: [registry] });
  return {
    counter: (o) =>
      once(o.name, () => {
        const counter = new PromCounter(settings(o));
        return { inc: (labels, n) => counter.inc({ ...labels }, n) };
      }),
    gauge: (o) =>
      once(o.name, () => {
        const gauge = new PromGauge(settings(o));
        return { set: (value, labels) => gauge.set({ ...labels }, value), remove: (labels) => gauge.remove({ ...labels }) };
      }),
    histogram: (o) =>
      once(o.name, () => {
        const histogram = new PromHistogram({ ...settings(o), buckets: [...o.buckets] });
        return { observe: (value, labels) => histogram.observe({ ...labels }, value) };
      }),
    contentType: registry.contentType,
    text: () => registry.metrics(),
  };
}

/** Counts nothing: for tests and the simulation. */
export const noMetrics: Metrics = {
  counter: () => ({ inc: () => undefined }),
  gauge: () => ({ set: () => undefined, remove: () => undefined }),
  histogram: () => ({ observe: () => undefined }),
};
