import { KubeError } from './errors.ts';
import { isGone, keyOfRef } from './object.ts';
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
} from './types.ts';

/** A request that reached the fake API server. */
export interface FakeRequest {
  readonly verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'post';
  readonly resource: string;
  readonly what: unknown;
}

interface Change {
  readonly revision: number;
  readonly resource: string;
  readonly event: Extract<WatchEvent, { readonly object: KubeObject }>;
}

/**
 * An API server for unit tests: objects with versions, watches with history, pages, compaction. `intercept` sees every request before
 * it is done and may wait or fail; what the server then answers is what is true at that moment.
 */
export class FakeApi implements KubeTransport {
  readonly requests: FakeRequest[] = [];
  /** What reviews and other raw posts answer. */
  answer: (path: string, body: object) => unknown = () => ({});
  intercept: (request: FakeRequest) => Promise<void> | void = () => undefined;
  /** Whether it knows the streaming list. */
  streaming = false;
  #revision = 100;
  #compacted = 0;
  #uids = 0;
  readonly #objects = new Map<string, KubeObject>();
  readonly #history: Change[] = [];
  readonly #watches = new Set<FakeWatch>();

  get revision(): number {
    return this.#revision;
  }

  /** How many watches are open. */
  get watches(): number {
    return this.#watches.size;
  }

  /** The present objects of a resource. */
  objects(resource: Resource): readonly KubeObject[] {
    return [...this.#objects].filter(([key]) => key.startsWith(`${resource.plural} `)).map(([, object]) => structuredClone(object));
  }

  /** Versions and page tokens before now are too old from now on. */
  compact(): void {
    this.#compacted = this.#revision;
  }

  /** Makes the server one that was restored from a backup: no objects, an earlier version, no watches. */
  lose(revision: number): void {
    this.#objects.clear();
    this.#history.length = 0;
    this.#revision = revision;
    this.breakWatches(new KubeError('Unreachable', 'the server went away'));
  }

  bookmark(): void {
    this.#revision++;
    for (const watch of this.#watches) watch.push({ type: 'BOOKMARK', resourceVersion: String(this.#revision), initialEventsEnd: false });
  }

  /** Ends all watches: with an error, or normally. */
  breakWatches(error?: unknown): void {
    for (const watch of [...this.#watches]) watch.end(error);
  }

  /** From now on the open watches deliver nothing, as over a connection whose other end is gone. */
  silenceWatches(): void {
    for (const watch of this.#watches) watch.silent = true;
  }

  async get(resource: Resource, ref: ObjectRef, options: RequestOptions = {}): Promise<KubeObject> {
    await this.#enter({ verb: 'get', resource: resource.plural, what: keyOfRef(ref) }, options.signal);
    return structuredClone(this.#find(resource, ref));
  }

  async list(resource: Resource, options: ListOptions = {}): Promise<Page> {
    await this.#enter({ verb: 'list', resource: resource.plural, what: options.continueToken ?? '' }, options.signal);
    const [version = this.#revision, from = 0] = options.continueToken?.split(':').map(Number) ?? [];
    if (version < this.#compacted) throw new KubeError('Expired', 'the page token is too old');
    const all = this.#at(resource, version);
    const until = from + (options.limit ?? all.length);
    return {
      items: structuredClone(all.slice(from, until)),
      resourceVersion: String(version),
      ...(until < all.length ? { continueToken: `${version}:${until}` } : {}),
    };
  }

  async *watch(resource: Resource, options: WatchOptions): AsyncGenerator<WatchEvent, void> {
    await this.#enter({ verb: 'watch', resource: resource.plural, what: options.resourceVersion ?? 'initial' }, options.signal);
    const watch = new FakeWatch(resource.plural);
    if (options.sendInitialEvents === true) {
      if (!this.streaming) throw new KubeError('Invalid', 'sendInitialEvents is forbidden');
      for (const object of this.objects(resource)) watch.push({ type: 'ADDED', object });
      watch.push({ type: 'BOOKMARK', resourceVersion: String(this.#revision), initialEventsEnd: true });
    } else {
      const from = Number(options.resourceVersion);
      if (from < this.#compacted) throw new KubeError('Expired', 'too old resource version');
      for (const change of this.#history) if (change.revision > from) watch.offer(change);
    }
    this.#watches.add(watch);
    const abort = () => watch.end();
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      yield* watch.events();
    } finally {
      options.signal?.removeEventListener('abort', abort);
      this.#watches.delete(watch);
    }
  }

  async create(resource: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    const { name = `${object.metadata.generateName ?? ''}${this.#uids}`, namespace } = object.metadata;
    await this.#enter({ verb: 'create', resource: resource.plural, what: structuredClone(object) }, options.signal);
    if (this.#objects.has(keyIn(resource, { name, namespace })))
      throw new KubeError('AlreadyExists', `${resource.plural} ${name} already exists`);
    return this.#put(resource, 'ADDED', {
      ...object,
      metadata: { ...object.metadata, name, uid: `uid-${++this.#uids}`, creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '' },
    });
  }

  async update(resource: Resource, object: KubeObject, options: WriteOptions = {}): Promise<KubeObject> {
    await this.#enter({ verb: 'update', resource: resource.plural, what: structuredClone(object) }, options.signal);
    const old = this.#find(resource, object.metadata);
    if (object.metadata.resourceVersion !== '' && object.metadata.resourceVersion !== old.metadata.resourceVersion) {
      throw new KubeError('Conflict', `${resource.plural} ${object.metadata.name} changed`);
    }
    return this.#put(resource, 'MODIFIED', { ...object, metadata: { ...object.metadata, uid: old.metadata.uid } });
  }

  async patch(resource: Resource, ref: ObjectRef, patch: Patch, options: WriteOptions = {}): Promise<KubeObject> {
    await this.#enter({ verb: 'patch', resource: resource.plural, what: structuredClone({ ...ref, ...patch }) }, options.signal);
    if (patch.type === 'json') throw new KubeError('BadRequest', 'the fake server knows no JSON patches');
    const body = patch.body as { readonly metadata?: { readonly resourceVersion?: string } };
    const exists = this.#objects.has(keyIn(resource, ref));
    if (patch.type === 'apply' && !exists) {
      return this.#put(resource, 'ADDED', {
        ...patch.body,
        metadata: {
          ...patch.body.metadata,
          ...ref,
          uid: `uid-${++this.#uids}`,
          creationTimestamp: '2026-01-01T00:00:00Z',
          resourceVersion: '',
        },
      });
    }
    const old = this.#find(resource, ref);
    const version = body.metadata?.resourceVersion;
    if (version !== undefined && version !== old.metadata.resourceVersion)
      throw new KubeError('Conflict', `${resource.plural} ${ref.name} changed`);
    return this.#put(resource, 'MODIFIED', merge(old, body) as KubeObject);
  }

  async delete(resource: Resource, ref: ObjectRef, options: DeleteOptions = {}): Promise<DeleteResult> {
    await this.#enter({ verb: 'delete', resource: resource.plural, what: keyOfRef(ref) }, options.signal);
    const old = this.#find(resource, ref);
    const uid = options.preconditions?.uid;
    if (uid !== undefined && uid !== old.metadata.uid) throw new KubeError('Conflict', `${resource.plural} ${ref.name} is another object`);
    const deleting = { ...old, metadata: { ...old.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    const object = this.#put(resource, 'MODIFIED', deleting);
    return this.#objects.has(keyIn(resource, ref)) ? { kind: 'deleting', object } : { kind: 'deleted' };
  }

  async createSubresource(resource: Resource, ref: ObjectRef, subresource: string, body: object): Promise<unknown> {
    return this.post(`/${resource.plural}/${keyOfRef(ref)}/${subresource}`, body);
  }

  async post(path: string, body: object, options: RequestOptions = {}): Promise<unknown> {
    await this.#enter({ verb: 'post', resource: path, what: body }, options.signal);
    return this.answer(path, body);
  }

  async #enter(request: FakeRequest, signal: AbortSignal | undefined): Promise<void> {
    this.requests.push(request);
    await this.intercept(request);
    signal?.throwIfAborted();
  }

  #find(resource: Resource, ref: ObjectRef): KubeObject {
    const object = this.#objects.get(keyIn(resource, ref));
    if (object === undefined) throw new KubeError('NotFound', `${resource.plural} ${ref.name} not found`);
    return object;
  }

  #put(resource: Resource, type: 'ADDED' | 'MODIFIED', next: KubeObject): KubeObject {
    const key = keyIn(resource, next.metadata);
    const object = structuredClone({ ...next, metadata: { ...next.metadata, resourceVersion: String(++this.#revision) } });
    const gone = isGone(object.metadata);
    if (gone) this.#objects.delete(key);
    else this.#objects.set(key, object);
    const change: Change = { revision: this.#revision, resource: resource.plural, event: { type: gone ? 'DELETED' : type, object } };
    this.#history.push(change);
    for (const watch of this.#watches) watch.offer(change);
    // As the API server: nothing was stored, so that the answer has the version from before.
    const { resourceVersion } = next.metadata;
    return structuredClone(gone ? { ...object, metadata: { ...object.metadata, resourceVersion } } : object);
  }

  /** The objects as they were at a version. */
  #at(resource: Resource, version: number): readonly KubeObject[] {
    const objects = new Map<string, KubeObject>();
    for (const { revision, resource: plural, event } of this.#history) {
      if (revision > version || plural !== resource.plural) continue;
      if (event.type === 'DELETED') objects.delete(keyOfRef(event.object.metadata));
      else objects.set(keyOfRef(event.object.metadata), event.object);
    }
    return [...objects.values()];
  }
}

class FakeWatch {
  silent = false;
  readonly #resource: string;
  readonly #queue: WatchEvent[] = [];
  #ended: { readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(resource: string) {
    this.#resource = resource;
  }

  offer({ resource, event }: Change): void {
    if (resource === this.#resource) this.push(structuredClone(event));
  }

  push(event: WatchEvent): void {
    if (this.silent) return;
    this.#queue.push(event);
    this.#wake();
  }

  end(error?: unknown): void {
    this.#ended = { error };
    this.#wake();
  }

  async *events(): AsyncGenerator<WatchEvent, void> {
    for (;;) {
      const event = this.#queue.shift();
      if (event !== undefined) yield event;
      else if (this.#ended === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      else if (this.#ended.error === undefined) return;
      else throw this.#ended.error as Error;
    }
  }
}

function keyIn(resource: Resource, ref: ObjectRef): string {
  return `${resource.plural} ${keyOfRef(ref)}`;
}

/** RFC 7386. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === 'object' && target !== null && !Array.isArray(target) ? (target as Record<string, unknown>) : {};
  const changed = Object.entries(patch).flatMap(([key, value]) => (value === null ? [] : [[key, merge(base[key], value)] as const]));
  const kept = Object.entries(base).filter(([key]) => !(key in patch));
  return Object.fromEntries([...kept, ...changed]);
}
