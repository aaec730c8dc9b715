import type { Clock, Random } from '../process/clock.ts';
import { messageOf } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Gauge, Metrics } from '../process/metrics.ts';
import { deepFreeze, keyOfRef, withoutManagedFields } from './object.ts';
import { Reflector } from './reflector.ts';
import type { ReflectorSettings } from './reflector.ts';
import { Store } from './store.ts';
import type { Arrival, Change } from './store.ts';
import type { Cache, CacheHandlers, KubeObject, KubeTransport, ObjectKey, ObjectMeta, Resource, Selection } from './types.ts';

export interface CacheOptions<T extends KubeObject> extends Selection, ReflectorSettings {
  readonly transport: KubeTransport;
  readonly resource: Resource;
  /**
   * What an object of the server is in this program; throws for one that it cannot read. Must be lenient: older and newer versions
   * lie in etcd. The argument carries no managedFields.
   */
  readonly parse: (raw: KubeObject) => T;
  /** The values under which `byIndex` finds an object, by the name of the index. */
  readonly indexes?: Readonly<Record<string, (object: T) => readonly string[]>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

/** A cache that has to be run. */
export interface RunnableCache<T extends KubeObject> extends Cache<T> {
  /** Lists and watches until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export function createCache<T extends KubeObject>(options: CacheOptions<T>): RunnableCache<T> {
  return new WatchCache(options);
}

interface Subscriber<T> {
  readonly handlers: CacheHandlers<T>;
  /** Changes before this one were part of what it was told at first. */
  readonly from: number;
}

class WatchCache<T extends KubeObject> implements RunnableCache<T> {
  readonly #options: CacheOptions<T>;
  readonly #log: Logger;
  readonly #store = new Store<T>();
  readonly #indexes: ReadonlyMap<string, Index<T>>;
  readonly #subscribers = new Set<Subscriber<T>>();
  readonly #untold: Change<T>[] = [];
  readonly #objects: Gauge;
  #telling = false;
  #changes = 0;
  #synced = false;
  #whenSynced: (() => void)[] = [];

  constructor(options: CacheOptions<T>) {
    this.#options = options;
    this.#log = options.log.child({ resource: options.resource.plural });
    this.#indexes = new Map(
      Object.entries(options.indexes ?? {}).map(([name, values]) => [name, new Index(values, (err) => this.#handlerFailed(name, err))]),
    );
    this.#objects = (options.metrics ?? noMetrics).gauge({
      name: 'kube_cache_objects',
      help: 'Objects in the cache.',
      labels: ['resource'],
    });
  }

  get(key: ObjectKey): T | undefined {
    return this.#store.get(key);
  }

  list(): readonly T[] {
    return this.#store.objects();
  }

  byIndex(index: string, value: string): readonly T[] {
    const found = this.#indexes.get(index);
    if (found === undefined) throw new Error(`The cache of ${this.#options.resource.plural} has no index ${index}.`);
    return found.get(value);
  }

  inVersion(metadata: Pick<ObjectMeta, 'name' | 'namespace' | 'uid' | 'resourceVersion'>): T | undefined {
    return this.#store.inVersion(metadata);
  }

  isUnreadable(key: ObjectKey): boolean {
    return this.#store.isUnreadable(key);
  }

  hasSynced(): boolean {
    return this.#synced;
  }

  whenSynced(signal?: AbortSignal): Promise<void> {
    if (this.#synced) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal?.reason as Error);
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.#whenSynced.push(() => {
        signal?.removeEventListener('abort', abort);
        resolve();
      });
    });
  }

  subscribe(handlers: CacheHandlers<T>): () => void {
    const subscriber = { handlers, from: this.#changes };
    for (const object of this.list()) this.#call('added', () => handlers.added?.(object));
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }

  acknowledge(object: T): void {
    this.#tell(this.#store.acknowledge(deepFreeze(withoutManagedFields(object))));
  }

  acknowledgeDeletion(object: { readonly metadata: Pick<ObjectMeta, 'name' | 'namespace' | 'uid' | 'resourceVersion'> }): void {
    this.#tell(this.#store.acknowledgeDeletion(object.metadata));
  }

  run(signal: AbortSignal): Promise<void> {
    const { namespace, labelSelector, fieldSelector, metrics = noMetrics } = this.#options;
    const store = this.#store;
    return new Reflector({
      ...this.#options,
      metrics,
      log: this.#log,
      selection: { namespace, labelSelector, fieldSelector },
      sink: {
        get position() {
          return store.position;
        },
        beginList: () => store.beginList(),
        read: (raw) => this.#read(withoutManagedFields(raw)),
        replace: (arrivals, version, mark) => {
          this.#tell(store.replace(arrivals, version, mark));
          this.#becomeSynced();
        },
        apply: (type, raw) => this.#tell(store.apply(type, type === 'DELETED' ? { metadata: raw.metadata } : this.#read(raw))),
        bookmark: (version) => store.bookmark(version),
      },
    }).run(signal);
  }

  #becomeSynced(): void {
    if (this.#synced) return;
    this.#synced = true;
    for (const resolve of this.#whenSynced.splice(0)) resolve();
  }

  #read(raw: KubeObject): Arrival<T> {
    const { metadata } = raw;
    // The answer to an own write comes again as an event: it is read once.
    const known = this.#store.inVersion(metadata);
    if (known !== undefined) return { metadata, object: known };
    try {
      return { metadata, object: deepFreeze(this.#options.parse(withoutManagedFields(raw))) };
    } catch (err) {
      this.#log.error({ key: keyOfRef(metadata), uid: metadata.uid, err }, 'Object cannot be read, left alone');
      return { metadata };
    }
  }

  /** Indexes first, so that every handler finds them complete; then handlers, in the order of the changes also when a handler makes more. */
  #tell(changes: readonly Change<T>[]): void {
    for (const change of changes) {
      for (const index of this.#indexes.values()) index.update(change);
      this.#untold.push(change);
    }
    if (changes.length > 0) this.#objects.set(this.#store.size, { resource: this.#options.resource.plural });
    if (this.#telling) {
      this.#changes += changes.length;
      return;
    }
    this.#telling = true;
    this.#changes += changes.length;
    for (let number = this.#changes - this.#untold.length; ; number++) {
      const change = this.#untold.shift();
      if (change === undefined) break;
      for (const subscriber of [...this.#subscribers]) if (subscriber.from <= number) this.#notify(subscriber.handlers, change);
    }
    this.#telling = false;
  }

  #notify(handlers: CacheHandlers<T>, change: Change<T>): void {
    this.#call(change.kind, () => {
      if (change.kind === 'added') handlers.added?.(change.object);
      else if (change.kind === 'updated') handlers.updated?.(change.object, change.old);
      else handlers.deleted?.(change.object);
    });
  }

  #call(handler: string, call: () => void): void {
    try {
      call();
    } catch (err) {
      this.#handlerFailed(handler, err);
    }
  }

  #handlerFailed(handler: string, err: unknown): void {
    this.#log.error({ handler, err, reason: messageOf(err) }, 'Cache handler failed');
  }
}

/** Objects by the values of one function of them. */
class Index<T> {
  readonly #values: (object: T) => readonly string[];
  readonly #failed: (error: unknown) => void;
  readonly #byValue = new Map<string, Map<ObjectKey, T>>();
  readonly #byKey = new Map<ObjectKey, readonly string[]>();

  constructor(values: (object: T) => readonly string[], failed: (error: unknown) => void) {
    this.#values = values;
    this.#failed = failed;
  }

  get(value: string): readonly T[] {
    return [...(this.#byValue.get(value)?.values() ?? [])];
  }

  update({ kind, key, object }: Change<T>): void {
    for (const value of this.#byKey.get(key) ?? []) {
      const objects = this.#byValue.get(value);
      objects?.delete(key);
      if (objects?.size === 0) this.#byValue.delete(value);
    }
    this.#byKey.delete(key);
    if (kind === 'deleted') return;
    const values = this.#valuesOf(object);
    this.#byKey.set(key, values);
    for (const value of values) {
      const objects = this.#byValue.get(value) ?? new Map<ObjectKey, T>();
      this.#byValue.set(value, objects.set(key, object));
    }
  }

  #valuesOf(object: T): readonly string[] {
    try {
      return this.#values(object);
    } catch (error) {
      this.#failed(error);
      return [];
    }
  }
}
