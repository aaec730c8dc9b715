/**
 * The vocabulary of kube/: what an object is, how the API server is reached (`KubeTransport`), how it is watched (`Cache`),
 * how work is queued (`WorkQueue`), told (`EventRecorder`) and owned (`Elector`). Everything else in kube/ implements these ports;
 * operator/ and agent/ depend on nothing more, and the simulation gives them a modelled API server.
 */

/** Metadata as the API server serves it. */
export interface ObjectMeta {
  readonly name: string;
  /** Absent for cluster-scoped objects. */
  readonly namespace?: string | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number | undefined;
  readonly creationTimestamp?: string | undefined;
  readonly deletionTimestamp?: string | undefined;
  readonly deletionGracePeriodSeconds?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly finalizers?: readonly string[] | undefined;
  readonly ownerReferences?: readonly OwnerReference[] | undefined;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean | undefined;
  readonly blockOwnerDeletion?: boolean | undefined;
}

/** An object as the API server serves it. Concrete kinds add spec, status and so on. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** What is sent to create or apply an object: the server fills in the rest. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Partial<ObjectMeta> & { readonly generateName?: string | undefined };
}

/** A condition of `status.conditions` (list-type map, key `type`). */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** CamelCase, from a closed list. */
  readonly reason: string;
  readonly message: string;
  /** RFC 3339 with whole seconds. Changes only when `status` does. */
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number | undefined;
}

/** One kind of object and where it is served. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** Names an object; `namespace` is required for namespaced resources. An object's `metadata` is one. */
export interface ObjectRef {
  readonly name: string;
  readonly namespace?: string | undefined;
}

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Deadline of the whole request with its retries, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number | undefined;
}

export interface Selection {
  /** Only this namespace; default all. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions extends Selection, RequestOptions {
  /** At most so many objects in a page; default no limit. */
  readonly limit?: number | undefined;
  /** The token of the page before. */
  readonly continueToken?: string | undefined;
  /** Absent: the newest (a consistent read). */
  readonly resourceVersion?: string | undefined;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan' | undefined;
}

export interface Page {
  readonly items: readonly KubeObject[];
  /** The version of the list: a watch from here misses nothing. */
  readonly resourceVersion: string;
  /** Present when there are more pages. */
  readonly continueToken?: string | undefined;
}

export interface WatchOptions extends Selection {
  /** Events after this version; absent only with `sendInitialEvents`. */
  readonly resourceVersion?: string | undefined;
  /**
   * Streaming list: the present objects come first as ADDED, then a BOOKMARK with `initialEventsEnd`. A server that cannot do it
   * answers `Invalid` or `BadRequest`.
   */
  readonly sendInitialEvents?: boolean | undefined;
  /** The server ends the watch after so many seconds. */
  readonly timeoutSeconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: KubeObject }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string; readonly initialEventsEnd: boolean };

/** A patch always says what it is: the server's default would be the wrong one. Custom resources have no strategic merge. */
export type Patch =
  | { readonly type: 'merge'; readonly body: object }
  | { readonly type: 'json'; readonly body: readonly JsonPatchOperation[] }
  | {
      readonly type: 'apply';
      readonly body: Manifest;
      readonly fieldManager: string;
      /** Takes fields that other managers own. Controllers say true. */
      readonly force: boolean;
    };

export type JsonPatchOperation =
  | { readonly op: 'add' | 'replace' | 'test'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string }
  | { readonly op: 'move' | 'copy'; readonly from: string; readonly path: string };

export interface WriteOptions extends RequestOptions {
  /** For example `status`. */
  readonly subresource?: string | undefined;
}

export interface DeleteOptions extends RequestOptions {
  /** Delete only this very object: else `Conflict`. */
  readonly preconditions?: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined } | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly gracePeriodSeconds?: number | undefined;
}

/** `deleting`: the object still exists (finalizers, grace) with a deletionTimestamp; `deleted`: it is gone. */
export type DeleteResult = { readonly kind: 'deleting'; readonly object: KubeObject } | { readonly kind: 'deleted' };

/**
 * The API server. Every method rejects with a `BerthError` whose code is one of `KubeErrorCode` (kube/errors.ts).
 * What a method returns belongs to the caller: implementations keep no reference to it.
 */
export interface KubeTransport {
  get(resource: Resource, ref: ObjectRef, options?: RequestOptions): Promise<KubeObject>;
  /** One page. `listAll` of kube/list.ts walks all of them. */
  list(resource: Resource, options?: ListOptions): Promise<Page>;
  /**
   * The events in order, with bookmarks. Ends normally when the server ends the watch or `signal` is aborted; throws `Expired` when
   * `resourceVersion` is too old, `Unreachable` when the connection breaks. Leaving the loop ends the watch.
   */
  watch(resource: Resource, options: WatchOptions): AsyncIterable<WatchEvent>;
  create(resource: Resource, object: Manifest, options?: WriteOptions): Promise<KubeObject>;
  /** Replaces the whole object; `metadata.resourceVersion` makes it a compare-and-swap. */
  update(resource: Resource, object: KubeObject, options?: WriteOptions): Promise<KubeObject>;
  patch(resource: Resource, ref: ObjectRef, patch: Patch, options?: WriteOptions): Promise<KubeObject>;
  delete(resource: Resource, ref: ObjectRef, options?: DeleteOptions): Promise<DeleteResult>;
  /** POST to a subresource of an object, for example `token` of a service account. Returns the answered body. */
  createSubresource(resource: Resource, ref: ObjectRef, subresource: string, body: object, options?: RequestOptions): Promise<unknown>;
  /** POST to any path, for reviews: `/apis/authentication.k8s.io/v1/tokenreviews`. Returns the answered body. */
  post(path: string, body: object, options?: RequestOptions): Promise<unknown>;
}

/** `namespace/name`, or `name` of a cluster-scoped object: the key of caches and queues. */
export type ObjectKey = string;

export interface CacheHandlers<T> {
  readonly added?: (object: T) => void;
  readonly updated?: (object: T, old: T) => void;
  /** With the last object that was known. An object that was deleted and created again is told as deleted, then added. */
  readonly deleted?: (object: T) => void;
}

/**
 * A local copy of the objects of one resource, kept by list and watch. Objects are deeply frozen and carry no managedFields.
 * Never returns an object older than a write that was acknowledged to it.
 */
export interface Cache<T extends KubeObject> {
  get(key: ObjectKey): T | undefined;
  list(): readonly T[];
  /** The objects for which the index function named `index` returned `value`. Throws for an index that was not declared. */
  byIndex(index: string, value: string): readonly T[];
  /** The object, if it is here in this very version. */
  inVersion(metadata: Pick<ObjectMeta, 'name' | 'namespace' | 'uid' | 'resourceVersion'>): T | undefined;
  /** True when an object exists under this key that could not be parsed: `get` then returns the last one that could, or undefined. */
  isUnreadable(key: ObjectKey): boolean;
  /** True once the first list is complete, and from then on. */
  hasSynced(): boolean;
  /** Resolves when `hasSynced`; rejects with the reason of the signal. */
  whenSynced(signal?: AbortSignal): Promise<void>;
  /** Tells of every change from now on, after `added` for each present object. Exceptions of handlers are logged. Returns the unsubscriber. */
  subscribe(handlers: CacheHandlers<T>): () => void;
  /** Our own write, as the API server answered it: from now on nothing older is returned. */
  acknowledge(object: T): void;
  /** The API server answered that this very object (uid) is gone. */
  acknowledgeDeletion(object: { readonly metadata: Pick<ObjectMeta, 'name' | 'namespace' | 'uid' | 'resourceVersion'> }): void;
}

/**
 * Keys to work on: a key added many times is worked on once; a key added while it is worked on is worked on again afterwards;
 * never two workers on one key.
 */
export interface WorkQueue {
  add(key: string): void;
  /** Adds after `ms` milliseconds; of several, the earliest counts. */
  addAfter(key: string, ms: number): void;
  /** Adds after this key's back-off, which grows with every call until `forget`. */
  addRateLimited(key: string): void;
  /** Resets the back-off of the key. */
  forget(key: string): void;
  /** How often `addRateLimited` was called since `forget`. */
  retries(key: string): number;
  /** Waits for the next key to work on; undefined once the queue is shut down. The caller must call `done` with the key. */
  next(): Promise<string | undefined>;
  done(key: string): void;
  /** Keys waiting, without delayed ones. */
  readonly depth: number;
  /** Takes no more keys, drops those that wait and resolves when the keys that are worked on are done. */
  shutdown(): Promise<void>;
}

/** An Event for `kubectl describe`. */
export interface EventNote {
  readonly regarding: KubeObject;
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, at most 128 characters. */
  readonly reason: string;
  /** What was being done, CamelCase, at most 128 characters. */
  readonly action: string;
  /** For people; cut to 1,024 bytes. */
  readonly note: string;
  readonly related?: KubeObject | undefined;
}

export interface EventRecorder {
  /** Never blocks, never throws; equal events become one series; too many are dropped and counted. */
  record(event: EventNote): void;
}

export interface Elector {
  /** True only while this process may act: false at the renew deadline by its own monotonic clock, whatever the API server says. */
  isLeader(): boolean;
  /** The identity that holds the lease as last seen. */
  readonly holder: string | undefined;
  /** Stands for election until the signal is aborted, then releases the lease. */
  run(signal: AbortSignal): Promise<void>;
}
