import { mergePatch } from './diff.ts';
import { KubeError, isKubeError } from './errors.ts';
import { messageOf } from '../process/errors.ts';
import { isGone } from './object.ts';
import type {
  Cache,
  DeleteOptions,
  KubeObject,
  KubeTransport,
  Manifest,
  ObjectRef,
  RequestOptions,
  Resource,
  WriteOptions,
} from './types.ts';

export interface ClientOptions<T extends KubeObject> {
  readonly transport: KubeTransport;
  readonly resource: Resource;
  /** As of the cache. */
  readonly parse: (raw: KubeObject) => T;
  /** Told of every acknowledged write, so that it never returns anything older. */
  readonly cache?: Pick<Cache<T>, 'inVersion' | 'acknowledge' | 'acknowledgeDeletion'>;
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  /** Takes fields that other managers own. Default true, as controllers should. */
  readonly force?: boolean;
}

/** An object whose status a controller writes. */
export interface WithStatus extends KubeObject {
  readonly status?: object | undefined;
}

/** Typed requests for one resource. Writes are acknowledged to the cache before they resolve. */
export interface Client<T extends KubeObject> {
  /** From the API server, not from the cache. */
  get(ref: ObjectRef, options?: RequestOptions): Promise<T>;
  create(object: Manifest, options?: WriteOptions): Promise<T>;
  /** Server-side apply. */
  apply(object: Manifest & { readonly metadata: ObjectRef }, options: ApplyOptions): Promise<T>;
  /**
   * Makes the status of `object` into `status` by one merge patch that holds only if the object has not changed since it was read:
   * else `Conflict`. Writes nothing, and returns the object itself, when they are the same. `stored` is what is stored, where the object
   * shows more because it was read with defaults; default: its status.
   */
  patchStatus(object: T & WithStatus, status: object, options?: RequestOptions & { readonly stored?: object | undefined }): Promise<T>;
  /** As `patchStatus` for `metadata.finalizers`. */
  setFinalizers(object: T, finalizers: readonly string[], options?: RequestOptions): Promise<T>;
  /** Deletes this very object, or nothing: `Conflict` when another has its name. Resolves when it is deleting, deleted or gone already. */
  delete(object: T, options?: Omit<DeleteOptions, 'preconditions'>): Promise<void>;
}

export function createClient<T extends KubeObject>(options: ClientOptions<T>): Client<T> {
  const { transport, resource, parse, cache } = options;

  const read = (raw: KubeObject): T => {
    try {
      return parse(raw);
    } catch (cause) {
      throw new KubeError(
        'Malformed',
        `The ${resource.kind} ${raw.metadata.name} that the API server answered cannot be read: ${messageOf(cause)}`,
        { cause },
      );
    }
  };
  const written = (raw: KubeObject): T => {
    // The watch is often quicker than the answer: what it has told is read once. An object that is gone is answered in its last version.
    const told = isGone(raw.metadata) ? undefined : cache?.inVersion(raw.metadata);
    if (told !== undefined) return told;
    const object = read(raw);
    cache?.acknowledge(object);
    return object;
  };
  const patch = async (object: T, body: object, patchOptions: WriteOptions): Promise<T> =>
    written(await transport.patch(resource, object.metadata, { type: 'merge', body }, patchOptions));

  return {
    get: async (ref, requestOptions) => read(await transport.get(resource, ref, requestOptions)),
    create: async (object, writeOptions) => written(await transport.create(resource, object, writeOptions)),
    apply: async (object, { fieldManager, force = true, ...writeOptions }) =>
      written(await transport.patch(resource, object.metadata, { type: 'apply', body: object, fieldManager, force }, writeOptions)),
    patchStatus: async (object, status, { stored = object.status ?? {}, ...requestOptions } = {}) => {
      const changed = mergePatch(stored, status);
      if (changed === undefined) return object;
      const { resourceVersion } = object.metadata;
      return patch(object, { metadata: { resourceVersion }, status: changed }, { ...requestOptions, subresource: 'status' });
    },
    setFinalizers: async (object, finalizers, requestOptions) => {
      const { resourceVersion, finalizers: old = [] } = object.metadata;
      if (old.length === finalizers.length && finalizers.every((finalizer) => old.includes(finalizer))) return object;
      return patch(object, { metadata: { resourceVersion, finalizers } }, { ...requestOptions });
    },
    delete: async (object, deleteOptions) => {
      const { uid } = object.metadata;
      try {
        const result = await transport.delete(resource, object.metadata, { ...deleteOptions, preconditions: { uid } });
        if (result.kind === 'deleting') written(result.object);
        else cache?.acknowledgeDeletion(object);
      } catch (error) {
        if (!isKubeError(error, 'NotFound')) throw error;
        cache?.acknowledgeDeletion(object);
      }
    },
  };
}
