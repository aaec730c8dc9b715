import { isAborted } from '../process/abort.ts';
import { backoffDelay } from '../process/backoff.ts';
import type { Backoff } from '../process/backoff.ts';
import { sleep } from '../process/clock.ts';
import type { Clock, Random } from '../process/clock.ts';
import type { Logger } from '../process/log.ts';
import type { Counter, Metrics } from '../process/metrics.ts';
import { KubeError, isKubeError } from './errors.ts';
import { readAll } from './list.ts';
import { untilSilent } from './until-silent.ts';
import { compareVersions } from './resource-version.ts';
import type { KubeObject, KubeTransport, ObjectMeta, Resource, Selection, WatchEvent } from './types.ts';

/** What a reflector feeds. `T` is what it keeps of an object. */
export interface ReflectorSink<T> {
  /** The version after which a watch may begin; undefined when a list is needed first. */
  readonly position: string | undefined;
  beginList(): number;
  /** Called for each object of a list as soon as it is here, so that a long list is never in memory as it came. */
  read(object: KubeObject): T;
  replace(objects: readonly T[], resourceVersion: string, mark: number): void;
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void;
  /** False when the objects must be listed again. */
  bookmark(resourceVersion: string): boolean;
}

export interface ReflectorSettings {
  /** Objects in a page of a list. Default 500. */
  readonly pageSize?: number;
  /** Try the streaming list first; a server without it is asked once. Default true. */
  readonly streaming?: boolean;
  /** A watch that says nothing for so long, not even a bookmark, is begun anew: its connection may be half-open. Default 90,000 ms. */
  readonly inactivityMs?: number;
  /** The server ends each watch after this time to twice this time. Default 300 s. */
  readonly watchSeconds?: number;
  /** Between failures. Default 500 ms to 10 s, half of it random. */
  readonly backoff?: Backoff;
}

export interface ReflectorOptions<T> extends ReflectorSettings {
  readonly transport: KubeTransport;
  readonly resource: Resource;
  readonly selection: Selection;
  readonly sink: ReflectorSink<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
}

interface Watched {
  events: number;
  /** It was ended because it said nothing. */
  silent: boolean;
}

/** A watch that the server ends sooner than this without a word counts as a failure, so that it is not asked in a tight loop. */
const shortestWatchMs = 1_000;
/** A watch that stood for so long, or said something, ends a row of failures. */
const steadyWatchMs = 10_000;
/** In a streaming list the next object comes sooner than this. */
const initialInactivityMs = 30_000;

/**
 * Keeps a sink like the resource at the API server: list, then watch, for ever. Nothing stops it but the signal: every failure is
 * logged, counted and tried again after a jittered back-off. A version that is too old (410) leads to a new list.
 */
export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #backoff: Backoff;
  readonly #lists: Counter;
  readonly #watches: Counter;
  readonly #events: Counter;
  #streaming: boolean;
  #failures = 0;
  #watchingSince: number | undefined;
  #mustList = true;
  /** Set after the connection broke: the server may be another one, restored from a backup. */
  #mustVerify = false;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#streaming = options.streaming ?? true;
    this.#backoff = options.backoff ?? { initialMs: 500, maxMs: 10_000, jitter: 0.5 };
    const { metrics } = options;
    const labels = ['resource', 'result'];
    this.#lists = metrics.counter({ name: 'kube_cache_lists_total', help: 'Lists of watched resources, by result.', labels });
    this.#watches = metrics.counter({ name: 'kube_cache_watches_total', help: 'Watches by how they ended.', labels });
    this.#events = metrics.counter({
      name: 'kube_cache_events_total',
      help: 'Events received from watches.',
      labels: ['resource', 'type'],
    });
  }

  /** Resolves when the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!isAborted(signal)) {
      const streaming = this.#streaming;
      try {
        await this.#round(signal);
      } catch (error) {
        if (isAborted(signal)) return;
        if (streaming !== this.#streaming) continue;
        await this.#recover(error, signal);
      }
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    if (this.#mustVerify && !this.#mustList) await this.#verify(signal);
    if (this.#mustList && !this.#streaming) await this.#listPages(signal);
    const began = this.#options.clock.monotonic();
    const { events, silent } = await this.#watch(signal);
    if (isAborted(signal)) return;
    this.#count(this.#watches, silent ? 'silent' : 'ended');
    if (!silent && events === 0 && this.#options.clock.monotonic() - began < shortestWatchMs) {
      throw new KubeError('Unreachable', `WATCH ${this.#options.resource.plural}: the server ended the watch at once`);
    }
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#options;
    if (this.#watchingSince !== undefined && clock.monotonic() - this.#watchingSince >= steadyWatchMs) this.#failures = 0;
    this.#watchingSince = undefined;
    this.#failures++;
    if (isKubeError(error, 'Expired')) this.#mustList = true;
    else if (isKubeError(error, 'Unreachable')) this.#mustVerify = true;
    const delay = Math.max(
      backoffDelay(this.#backoff, this.#failures, random),
      (error instanceof KubeError ? error.retryAfterMs : undefined) ?? 0,
    );
    log.warn(
      { resource: this.#options.resource.plural, err: error, failures: this.#failures, delayMs: Math.round(delay) },
      'Watch failed, trying again',
    );
    await sleep(clock, delay, signal).catch(() => undefined);
  }

  async #listPages(signal: AbortSignal): Promise<void> {
    const { transport, resource, selection, sink, pageSize } = this.#options;
    const mark = sink.beginList();
    const options = { ...selection, signal, ...(pageSize === undefined ? {} : { limit: pageSize }) };
    const list = await readAll(transport, resource, options, (raw) => sink.read(raw));
    if (isAborted(signal)) return;
    this.#listed(list.items, list.resourceVersion, mark, 'paged');
  }

  #listed(items: readonly T[], resourceVersion: string, mark: number, how: string): void {
    this.#options.sink.replace(items, resourceVersion, mark);
    this.#mustList = false;
    this.#mustVerify = false;
    this.#count(this.#lists, how);
    this.#options.log.debug({ resource: this.#options.resource.plural, objects: items.length, resourceVersion, how }, 'Listed');
  }

  /** Lists one object to see that the server has not gone back behind what was told, as one restored from a backup has. */
  async #verify(signal: AbortSignal): Promise<void> {
    const { transport, resource, selection, sink } = this.#options;
    const page = await transport.list(resource, { ...selection, limit: 1, signal });
    this.#mustVerify = false;
    if (sink.position !== undefined && (compareVersions(page.resourceVersion, sink.position) ?? 0) < 0)
      throw this.#wentBack(page.resourceVersion);
  }

  #wentBack(version: string): KubeError {
    const { resource, sink } = this.#options;
    return new KubeError(
      'Expired',
      `WATCH ${resource.plural}: the server is at version ${version}, before ${String(sink.position)}: listing again`,
    );
  }

  async #watch(signal: AbortSignal): Promise<Watched> {
    const { transport, resource, selection, sink, clock, random, watchSeconds = 300, inactivityMs = 90_000 } = this.#options;
    const initial = this.#mustList ? new InitialEvents<T>(sink.beginList(), (raw) => sink.read(raw)) : undefined;
    const from = initial === undefined ? { resourceVersion: sink.position } : { sendInitialEvents: true };
    const timeoutSeconds = Math.round(watchSeconds * (1 + random()));
    const watched: Watched = { events: 0, silent: false };
    this.#watchingSince = clock.monotonic();
    const events = untilSilent({
      watch: (inner) => transport.watch(resource, { ...selection, ...from, timeoutSeconds, signal: inner }),
      clock,
      signal,
      silenceMs: () => (initial?.complete === false ? Math.min(inactivityMs, initialInactivityMs) : inactivityMs),
      silent: () => (watched.silent = true),
    });
    try {
      for await (const event of events) {
        watched.events++;
        this.#events.inc({ resource: resource.plural, type: event.type });
        this.#take(event, initial);
      }
      if (initial?.complete === false && !isAborted(signal))
        throw new KubeError('Malformed', `WATCH ${resource.plural}: the initial list did not end`);
      return watched;
    } catch (error) {
      if (initial?.complete === false && !mayStreamAgain(error)) this.#giveUpStreaming(error);
      this.#count(this.#watches, error instanceof KubeError ? error.code : 'Failed');
      throw error;
    }
  }

  #take(event: WatchEvent, initial: InitialEvents<T> | undefined): void {
    const { sink } = this.#options;
    if (initial?.complete === false) {
      const items = initial.take(event);
      if (items !== undefined && event.type === 'BOOKMARK') this.#listed(items, event.resourceVersion, initial.mark, 'streamed');
    } else if (event.type !== 'BOOKMARK') {
      sink.apply(event.type, event.object);
      this.#failures = 0;
    } else if (sink.bookmark(event.resourceVersion)) {
      this.#failures = 0;
    } else {
      throw this.#wentBack(event.resourceVersion);
    }
  }

  #giveUpStreaming(err: unknown): void {
    this.#streaming = false;
    this.#options.log.debug({ resource: this.#options.resource.plural, err }, 'No streaming list, using pages');
  }

  #count(counter: Counter, result: string): void {
    counter.inc({ resource: this.#options.resource.plural, result });
  }
}

/** A failure that says nothing about whether the server can stream a list; after any other, pages are used from now on. */
function mayStreamAgain(error: unknown): boolean {
  return (['Unreachable', 'Unauthorized', 'Forbidden', 'TooManyRequests', 'NotFound'] as const).some((code) => isKubeError(error, code));
}

/** Collects the first part of a streaming list: by uid, as an object may change or go while it is being sent. */
class InitialEvents<T> {
  readonly mark: number;
  complete = false;
  readonly #read: (raw: KubeObject) => T;
  readonly #objects = new Map<string, T>();

  constructor(mark: number, read: (raw: KubeObject) => T) {
    this.mark = mark;
    this.#read = read;
  }

  /** The complete list at its end, else undefined. */
  take(event: WatchEvent): readonly T[] | undefined {
    if (event.type === 'BOOKMARK') {
      if (!event.initialEventsEnd) return undefined;
      this.complete = true;
      return [...this.#objects.values()];
    }
    const { uid }: ObjectMeta = event.object.metadata;
    if (event.type === 'DELETED') this.#objects.delete(uid);
    else this.#objects.set(uid, this.#read(event.object));
    return undefined;
  }
}
