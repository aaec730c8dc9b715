import { KubeError } from '../../../kube/errors.ts';
import type { KubeErrorCode } from '../../../kube/errors.ts';
import type {
  DeleteOptions,
  DeleteResult,
  KubeObject,
  KubeTransport,
  ListOptions,
  Manifest,
  ObjectRef,
  Page,
  Patch,
  RequestOptions,
  Resource,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from '../../../kube/types.ts';
import type { Timer } from '../../../process/clock.ts';
import type { Process } from '../engine/process.ts';
import type { Random } from '../engine/random.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import { copyOf } from './json.ts';
import { idOf, isSelected } from './api-store.ts';
import type { ApiStore, Change } from './api-store.ts';
import { HeldWrites } from './held-writes.ts';

/** How the API server is just now. Faults change it. */
export interface ApiWeather {
  /** No answer at all; watches are broken. */
  isDown: boolean;
  /** Processes by name that cannot reach it. */
  readonly cutOff: Set<string>;
  /** Typical and longest latency of one way, in milliseconds. */
  latency: readonly [number, number];
  /** Probability that a request is refused with 500, 429 or 503 and did nothing. */
  refused: number;
  /** Probability that the answer to a request that was carried out is lost. */
  lostAnswer: number;
  /** Probability that a write is carried out after its sender was told that it timed out. */
  lateWrite: number;
  /** Watch events arrive up to so many milliseconds late. */
  watchDelay: number;
}

export function fairWeather(): ApiWeather {
  return { isDown: false, cutOff: new Set(), latency: [2, 40], refused: 0, lostAnswer: 0, lateWrite: 0, watchDelay: 20 };
}

/** What this API server is able to do. */
export interface ApiFeatures {
  /** Lists can be streamed by a watch. */
  readonly streams: boolean;
  /** A page of a list that is asked for in pages holds no more. */
  readonly mostPerPage: number;
}

const modern: ApiFeatures = { streams: true, mostPerPage: Infinity };

interface Watcher {
  readonly process: Process;
  end(error: KubeError | undefined): void;
}

/** Connects processes with the store: latency, errors, lost answers, late writes, watches that break and lag. */
export class ApiServer {
  readonly store: ApiStore;
  readonly weather: ApiWeather = fairWeather();
  readonly scheduler: Scheduler;
  readonly heldWrites: HeldWrites;
  readonly #watchers = new Set<Watcher>();
  readonly #wakers = new Map<string, Set<() => void>>();

  readonly features: ApiFeatures;
  /** What is left of lists of which pages were given out, by token: each as it was when its first page was asked for. */
  readonly lists = new Map<string, Page>();

  constructor(store: ApiStore, scheduler: Scheduler, features: ApiFeatures = modern) {
    this.store = store;
    this.scheduler = scheduler;
    this.features = features;
    this.heldWrites = new HeldWrites(store, scheduler);
    store.onChange((resource) => {
      for (const wake of this.#wakers.get(idOf(resource)) ?? []) wake();
    });
  }

  /** Calls `wake` after every write to an object of the resource. Returns the unsubscriber. */
  onWrite(resource: Resource, wake: () => void): () => void {
    const wakers = this.#wakers.get(idOf(resource)) ?? new Set();
    this.#wakers.set(idOf(resource), wakers);
    wakers.add(wake);
    return () => wakers.delete(wake);
  }

  /** The port of one process. */
  clientFor(process: Process, post: (path: string, body: object) => unknown = () => ({})): KubeTransport {
    return new ApiClient(this, process, post);
  }

  isReachableFrom(process: Process): boolean {
    return !this.weather.isDown && !this.weather.cutOff.has(process.name);
  }

  /** Ends watches: all, or those of processes that can no longer reach the server. */
  breakWatches(which: (process: Process) => boolean = () => true): void {
    for (const watcher of [...this.#watchers]) {
      if (which(watcher.process)) watcher.end(new KubeError('Unreachable', 'watch: the connection was reset'));
    }
  }

  /** Forgets old versions, and tells running watches so. */
  compact(): void {
    this.store.compact();
    this.lists.clear();
    for (const watcher of [...this.#watchers]) watcher.end(new KubeError('Expired', 'watch: too old resource version'));
  }

  track(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

/** Whether a write is held on its way; when it goes on, it calls what it was given. */
type Holding = (carryOut: () => void) => boolean;

class ApiClient implements KubeTransport {
  readonly #server: ApiServer;
  readonly #process: Process;
  readonly #random: Random;
  readonly #post: (path: string, body: object) => unknown;

  constructor(server: ApiServer, process: Process, post: (path: string, body: object) => unknown) {
    this.#server = server;
    this.#process = process;
    this.#random = process.random.fork('api');
    this.#post = post;
  }

  get(resource: Resource, ref: ObjectRef, options: RequestOptions = {}): Promise<KubeObject> {
    return this.#request(`GET ${resource.plural} ${ref.name}`, false, options, () => this.#server.store.get(resource, ref));
  }

  list(resource: Resource, options: ListOptions = {}): Promise<Page> {
    return this.#request(`LIST ${resource.plural}`, false, options, () => this.#page(resource, options));
  }

  create(resource: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    const sent = copyOf(object);
    return this.#request(`POST ${resource.plural}`, true, options, () => this.#server.store.create(resource, sent, this.#process.name));
  }

  update(resource: Resource, object: KubeObject, options: WriteOptions = {}): Promise<KubeObject> {
    const sent = copyOf(object);
    return this.#request(`PUT ${resource.plural} ${object.metadata.name}`, true, options, () =>
      this.#server.store.update(resource, sent, options.subresource, this.#process.name),
    );
  }

  patch(resource: Resource, ref: ObjectRef, patch: Patch, options: WriteOptions = {}): Promise<KubeObject> {
    const sent = copyOf(patch);
    const { name, namespace } = ref;
    return this.#request(
      `PATCH ${resource.plural} ${name}`,
      (carryOut) => this.#server.heldWrites.take(this.#process, resource, { name, namespace }, sent, carryOut),
      options,
      () => this.#server.store.patch(resource, { name, namespace }, sent, options.subresource, this.#process.name),
    );
  }

  delete(resource: Resource, ref: ObjectRef, options: DeleteOptions = {}): Promise<DeleteResult> {
    return this.#request(`DELETE ${resource.plural} ${ref.name}`, true, options, () =>
      this.#server.store.delete(resource, ref, options.preconditions ?? {}, this.#process.name),
    );
  }

  createSubresource(
    _resource: Resource,
    ref: ObjectRef,
    subresource: string,
    body: object,
    options: RequestOptions = {},
  ): Promise<unknown> {
    return this.#request(`POST ${ref.name}/${subresource}`, true, options, () => copyOf(body));
  }

  post(path: string, body: object, options: RequestOptions = {}): Promise<unknown> {
    return this.#request(`POST ${path}`, false, options, () => this.#post(path, body));
  }

  async *watch(resource: Resource, options: WatchOptions): AsyncGenerator<WatchEvent> {
    const feed = await this.#request(`WATCH ${resource.plural}`, false, { signal: options.signal }, () => {
      if (options.resourceVersion === undefined && options.sendInitialEvents !== true)
        throw new KubeError('BadRequest', 'watch: no version');
      if (options.sendInitialEvents === true && !this.#server.features.streams)
        throw new KubeError('Invalid', 'watch: sendInitialEvents is forbidden');
      return new WatchFeed(this.#server, this.#process, this.#random, resource, options);
    });
    try {
      for (let event = await feed.next(); event !== undefined; event = await feed.next()) yield event;
    } finally {
      feed.end(undefined);
    }
  }

  #page(resource: Resource, options: ListOptions): Page {
    const { store, lists, features } = this.#server;
    const { continueToken: token, limit = 0, namespace, labelSelector, fieldSelector } = options;
    const takes = (object: KubeObject) =>
      (namespace === undefined || object.metadata.namespace === namespace) && isSelected(object, labelSelector, fieldSelector);
    const left =
      token === undefined ? { items: store.list(resource).filter(takes), resourceVersion: String(store.version) } : lists.get(token);
    if (left === undefined) throw new KubeError('Expired', `LIST ${resource.plural}: the continue token has expired`);
    const { items, resourceVersion } = left;
    const most = limit === 0 ? items.length : Math.min(limit, features.mostPerPage);
    if (items.length <= most) return { items, resourceVersion };
    const continueToken = `${resource.plural}/${resourceVersion}/${items.length - most}`;
    lists.set(continueToken, { items: items.slice(most), resourceVersion });
    return { items: items.slice(0, most), resourceVersion, continueToken };
  }

  /** One request: there, carried out (or not), and back (or not). */
  #request<T>(what: string, write: Holding | boolean, options: RequestOptions, carryOut: () => T): Promise<T> {
    const { scheduler, weather } = this.#server;
    const random = this.#random;
    const timeoutMs = options.timeoutMs ?? 30_000;
    const [typical, longest] = weather.latency;
    const there = random.latency(typical, longest);
    const back = random.latency(typical, longest);
    const isRefused = random.chance(weather.refused);
    const isLate = write !== false && random.chance(weather.lateWrite);
    const isLost = random.chance(weather.lostAnswer);
    return untilAborted(options.signal, (resolve, reject) => {
      const fail = (ms: number, code: KubeErrorCode) => {
        this.#process.arrive(ms, () => reject(new KubeError(code, `${what}: ${code}`)));
      };
      if (isLate) fail(timeoutMs, 'Timeout');
      scheduler.after(isLate ? timeoutMs + random.between(1, 60_000) : there, () => {
        if (!this.#server.isReachableFrom(this.#process)) {
          if (!isLate) fail(back, 'Unreachable');
          return;
        }
        if (isRefused && !isLate) {
          fail(back, random.pick(['ServerError', 'TooManyRequests']));
          return;
        }
        if (typeof write === 'function' && !isLate && write(() => outcome(carryOut))) {
          fail(timeoutMs, 'Timeout');
          return;
        }
        const answer = outcome(carryOut);
        if (isLate) return;
        if (isLost) fail(random.pick([back, timeoutMs]), random.pick(['Unreachable', 'Timeout']));
        else if (answer.ok) this.#process.arrive(back, () => resolve(answer.value));
        else this.#process.arrive(back, () => reject(answer.error));
      });
    });
  }
}

/** Rejects with the signal's reason as soon as it is aborted; what is under way goes on. */
function untilAborted<T>(
  signal: AbortSignal | undefined,
  work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal === undefined) {
      work(resolve, reject);
      return;
    }
    if (signal.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const abort = () => reject(signal.reason as Error);
    const done = () => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort, { once: true });
    work(
      (value) => {
        done();
        resolve(value);
      },
      (error) => {
        done();
        reject(error);
      },
    );
  });
}

function outcome<T>(run: () => T): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: KubeError } {
  try {
    return { ok: true, value: run() };
  } catch (error) {
    if (error instanceof KubeError) return { ok: false, error };
    throw error;
  }
}

/** One watch: the changes in their order, each a little late. */
class WatchFeed {
  readonly #server: ApiServer;
  readonly #process: Process;
  readonly #random: Random;
  readonly #resource: Resource;
  readonly #options: WatchOptions;
  readonly #ready: WatchEvent[] = [];
  readonly #untrack: () => void;
  #seen: number;
  #deliverAt = 0;
  #isPumping = false;
  #ended: { readonly error: KubeError | undefined } | undefined;
  #waiter: { resolve: (event: WatchEvent | undefined) => void; reject: (error: KubeError) => void } | undefined;

  constructor(server: ApiServer, process: Process, random: Random, resource: Resource, options: WatchOptions) {
    this.#server = server;
    this.#process = process;
    this.#random = random;
    this.#resource = resource;
    this.#options = options;
    const { store } = server;
    this.#seen = options.sendInitialEvents === true ? store.version : Number(options.resourceVersion);
    if (options.sendInitialEvents === true) {
      for (const object of store.list(resource))
        if (this.#takes({ type: 'ADDED', version: 0, object })) this.#ready.push({ type: 'ADDED', object });
      this.#ready.push({ type: 'BOOKMARK', resourceVersion: String(this.#seen), initialEventsEnd: true });
    } else store.since(resource, this.#seen);
    const untrack = server.track(this);
    const unlisten = server.onWrite(resource, () => this.#wake());
    const bookmarks = this.#bookmarkLater();
    const timeout = server.scheduler.after((options.timeoutSeconds ?? 300 + random.between(0, 300)) * 1000, () => this.end(undefined));
    this.#untrack = () => {
      untrack();
      unlisten();
      bookmarks();
      timeout.cancel();
    };
    options.signal?.addEventListener('abort', () => this.end(undefined), { once: true });
    process.onEnd(() => this.end(undefined));
    this.#wake();
  }

  get process(): Process {
    return this.#process;
  }

  next(): Promise<WatchEvent | undefined> {
    return new Promise((resolve, reject) => {
      const event = this.#ready.shift();
      if (event !== undefined) resolve(event);
      else if (this.#ended === undefined) this.#waiter = { resolve, reject };
      else if (this.#ended.error === undefined) resolve(undefined);
      else reject(this.#ended.error);
    });
  }

  end(error: KubeError | undefined): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    this.#untrack();
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    this.#waiter = undefined;
    if (error === undefined) waiter.resolve(undefined);
    else this.#process.arrive(this.#random.between(1, 50), () => waiter.reject(error));
  }

  #takes({ object }: Change): boolean {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    return (namespace === undefined || object.metadata.namespace === namespace) && isSelected(object, labelSelector, fieldSelector);
  }

  /** Something was written: the changes since the last look are delivered together after a delay. */
  #wake(): void {
    if (this.#isPumping || this.#ended !== undefined) return;
    this.#isPumping = true;
    const { scheduler, weather } = this.#server;
    const delay = 1 + Math.floor(this.#random.next() * weather.watchDelay);
    this.#deliverAt = Math.max(this.#deliverAt, scheduler.now + delay);
    this.#process.arrive(this.#deliverAt - scheduler.now, () => {
      this.#isPumping = false;
      if (this.#ended !== undefined) return;
      this.#deliver();
    });
  }

  #deliver(): void {
    const changes = this.#server.store.since(this.#resource, this.#seen);
    for (const change of changes) {
      this.#seen = change.version;
      if (this.#takes(change)) this.#push({ type: change.type, object: change.object });
    }
  }

  #push(event: WatchEvent): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#ready.push(event);
    else waiter.resolve(event);
  }

  #bookmarkLater(): () => void {
    let timer: Timer = { cancel: () => undefined };
    const later = () => {
      timer = this.#process.after(60_000, () => {
        later();
        if (this.#ended !== undefined || this.#isPumping) return;
        this.#seen = Math.max(this.#seen, this.#server.store.version);
        this.#push({ type: 'BOOKMARK', resourceVersion: String(this.#seen), initialEventsEnd: false });
      });
    };
    later();
    return () => timer.cancel();
  }
}
