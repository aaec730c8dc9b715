import { isGone, keyOf, keyOfRef } from './object.ts';
import { compareVersions, isOpaque } from './resource-version.ts';
import type { KubeObject, ObjectKey, ObjectMeta } from './types.ts';

/** What happened to an object, as subscribers of a cache are told. */
export type Change<T> =
  | { readonly kind: 'added'; readonly key: ObjectKey; readonly object: T }
  | { readonly kind: 'updated'; readonly key: ObjectKey; readonly object: T; readonly old: T }
  | { readonly kind: 'deleted'; readonly key: ObjectKey; readonly object: T };

/** An object as it came: `object` is absent when it could not be parsed. */
export interface Arrival<T> {
  readonly metadata: ObjectMeta;
  readonly object?: T | undefined;
}

/** Marks the moment at which a list began: a consistent list is at least as new as every write acknowledged before it. */
export type ListMark = number;

interface Entry<T> {
  readonly uid: string;
  readonly resourceVersion: string;
  /** The last object that could be parsed. */
  readonly object: T | undefined;
  readonly unreadable: boolean;
  /** Set when it came from an acknowledgement that the watch has not reached: which one. */
  readonly acknowledged?: number;
}

/** The object with this uid, and whatever was under its key before this version, is gone. */
interface Tombstone {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Which acknowledgement said so. */
  readonly number: number;
}

type Identity = Pick<ObjectMeta, 'name' | 'namespace' | 'uid' | 'resourceVersion'>;

/** How many versions and deletions are remembered, where a bound is needed. */
const memory = 10_000;

/**
 * The objects of one resource, fed by lists, by watch events and by acknowledgements of own writes in whatever order these arrive.
 * Holds the rule "never older than an acknowledged write":
 * - An acknowledged object is taken when it is newer than where the watch has got to; the watch has told everything else already.
 * - Until the watch reaches it, older events for its key are passed over.
 * - A list that began before the acknowledgement does not undo it; one that began afterwards contains it.
 * - A uid that is gone never returns.
 * Where versions are opaque, "newer" is decided by remembering the versions that the watch has told; an error of that is mended by a list.
 * No clock, no I/O: every method returns the changes to tell.
 */
export class Store<T extends KubeObject> {
  readonly #entries = new Map<ObjectKey, Entry<T>>();
  /** Acknowledged deletions that the watch has not told yet: the last of each key. */
  readonly #gone = new Map<ObjectKey, Tombstone>();
  /** `uid@version` and `uid@` (deleted) of what the watch told, kept only while versions are opaque. */
  readonly #told = new Set<string>();
  #acknowledgements = 0;
  #position: string | undefined;

  /** The version up to which everything was told: a watch may begin here. Undefined before the first list. */
  get position(): string | undefined {
    return this.#position;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: ObjectKey): T | undefined {
    return this.#entries.get(key)?.object;
  }

  /** The object, if it is there in this very version. */
  inVersion(metadata: Identity): T | undefined {
    const entry = this.#entries.get(keyOfRef(metadata));
    const isSame = entry?.uid === metadata.uid && entry.resourceVersion === metadata.resourceVersion && !entry.unreadable;
    return isSame ? entry.object : undefined;
  }

  isUnreadable(key: ObjectKey): boolean {
    return this.#entries.get(key)?.unreadable ?? false;
  }

  objects(): readonly T[] {
    return Array.from(this.#entries.values(), ({ object }) => object).filter((object) => object !== undefined);
  }

  /** To be called before the first page of a list is asked for. */
  beginList(): ListMark {
    return this.#acknowledgements;
  }

  /** Takes a complete list of version `position` that began at `mark`. */
  replace(listed: readonly Arrival<T>[], position: string, mark: ListMark): readonly Change<T>[] {
    for (const [key, { number }] of this.#gone) if (number <= mark) this.#gone.delete(key);
    const present = new Map(
      listed.filter(({ metadata }) => !this.#isGone(metadata)).map((arrival) => [keyOfRef(arrival.metadata), arrival]),
    );
    const changes: Change<T>[] = [];
    for (const [key, entry] of [...this.#entries]) {
      const found = present.get(key);
      if (isAhead(entry, found?.metadata.resourceVersion ?? position, mark)) present.delete(key);
      else if (found === undefined) changes.push(...this.#remove(key, entry));
    }
    this.#told.clear();
    for (const [key, arrival] of present) {
      changes.push(...this.#put(key, arrival));
      this.#remember(arrival.metadata.resourceVersion, `${arrival.metadata.uid}@${arrival.metadata.resourceVersion}`);
    }
    this.#position = position;
    return changes;
  }

  /** Takes an event of the watch. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', arrival: Arrival<T>): readonly Change<T>[] {
    const { uid, resourceVersion } = arrival.metadata;
    const key = keyOfRef(arrival.metadata);
    const entry = this.#entries.get(key);
    this.#remember(resourceVersion, type === 'DELETED' ? `${uid}@` : `${uid}@${resourceVersion}`);
    this.#position = resourceVersion;
    if (type === 'DELETED') {
      if (this.#gone.get(key)?.uid === uid) this.#gone.delete(key);
      return entry?.uid === uid ? this.#remove(key, entry) : [];
    }
    if (this.#isGone(arrival.metadata)) return [];
    if (entry?.acknowledged !== undefined && isBehind(entry, arrival.metadata)) return [];
    return this.#put(key, arrival);
  }

  /**
   * Takes a bookmark. False when only a new list tells what is: the bookmark lies before what was told (the server lost its past), or
   * versions are opaque and an acknowledged write was not met on the way here.
   */
  bookmark(position: string): boolean {
    if (isOpaque(position)) {
      if (this.#isUnsettled()) return false;
    } else if (this.#position !== undefined && (compareVersions(position, this.#position) ?? 0) < 0) return false;
    this.#position = position;
    return true;
  }

  /** Takes the answer to an own write. */
  acknowledge(object: T): readonly Change<T>[] {
    const { metadata } = object;
    if (isGone(metadata)) return this.acknowledgeDeletion(metadata);
    const key = keyOf(object);
    const entry = this.#entries.get(key);
    if (this.#isGone(metadata) || this.#wasTold(metadata)) return [];
    if (entry !== undefined && (compareVersions(metadata.resourceVersion, entry.resourceVersion) ?? 1) <= 0) return [];
    return this.#put(key, { metadata, object }, ++this.#acknowledgements);
  }

  /** Takes the answer that the object with this uid is gone. */
  acknowledgeDeletion(metadata: Identity): readonly Change<T>[] {
    const key = keyOfRef(metadata);
    const entry = this.#entries.get(key);
    const others = entry !== undefined && entry.uid !== metadata.uid;
    if (entry?.uid !== metadata.uid && this.#wasTold(metadata)) return [];
    if (this.#isGone(metadata)) return [];
    if (others && (compareVersions(entry.resourceVersion, metadata.resourceVersion) ?? -1) > 0) return [];
    this.#gone.set(key, { uid: metadata.uid, resourceVersion: metadata.resourceVersion, number: ++this.#acknowledgements });
    evict(this.#gone);
    if (entry === undefined || (others && isOpaque(entry.resourceVersion))) return [];
    return this.#remove(key, entry);
  }

  /** True for an object whose end was acknowledged, or that was under its key before such an object. */
  #isGone(metadata: Identity): boolean {
    const tombstone = this.#gone.get(keyOfRef(metadata));
    if (tombstone === undefined) return false;
    return tombstone.uid === metadata.uid || (compareVersions(metadata.resourceVersion, tombstone.resourceVersion) ?? 1) < 0;
  }

  /** True when the watch or the list has told this version, or a later one, of the object. */
  #wasTold({ uid, resourceVersion }: Identity): boolean {
    if (this.#position === undefined) return false;
    const order = compareVersions(resourceVersion, this.#position);
    if (order !== undefined) return order <= 0;
    return this.#told.has(`${uid}@${resourceVersion}`) || this.#told.has(`${uid}@`);
  }

  #isUnsettled(): boolean {
    return this.#gone.size > 0 || [...this.#entries.values()].some(({ acknowledged }) => acknowledged !== undefined);
  }

  #remember(version: string, what: string): void {
    if (!isOpaque(version)) return;
    this.#told.add(what);
    evict(this.#told);
  }

  #put(key: ObjectKey, arrival: Arrival<T>, acknowledged?: number): readonly Change<T>[] {
    const { uid, resourceVersion } = arrival.metadata;
    const before = this.#entries.get(key);
    const old = before?.uid === uid ? before : undefined;
    const object = arrival.object ?? old?.object;
    this.#entries.set(key, {
      uid,
      resourceVersion,
      object,
      unreadable: arrival.object === undefined,
      ...(acknowledged === undefined ? {} : { acknowledged }),
    });
    const replaced: readonly Change<T>[] =
      before?.object !== undefined && old === undefined ? [{ kind: 'deleted', key, object: before.object }] : [];
    if (arrival.object === undefined) return replaced;
    if (old?.object === undefined) return [...replaced, { kind: 'added', key, object: arrival.object }];
    if (old.resourceVersion === resourceVersion && !old.unreadable) {
      this.#entries.set(key, { uid, resourceVersion, object: old.object, unreadable: false });
      return [];
    }
    return [{ kind: 'updated', key, object: arrival.object, old: old.object }];
  }

  #remove(key: ObjectKey, entry: Entry<T>): readonly Change<T>[] {
    this.#entries.delete(key);
    return entry.object === undefined ? [] : [{ kind: 'deleted', key, object: entry.object }];
  }
}

/** An acknowledged entry that a watch event for its key does not reach. */
function isBehind(entry: Entry<unknown>, event: Identity): boolean {
  const order = compareVersions(event.resourceVersion, entry.resourceVersion);
  return order === undefined || order < 0;
}

/** An acknowledged entry that is newer than the list that began at `mark`: `listed` is its version there, or the list's own. */
function isAhead(entry: Entry<unknown>, listed: string, mark: ListMark): boolean {
  if (entry.acknowledged === undefined || entry.acknowledged <= mark) return false;
  const order = compareVersions(listed, entry.resourceVersion);
  return order === undefined || order < 0;
}

/** Forgets the oldest beyond the bound. */
function evict(set: Set<string> | Map<string, unknown>): void {
  if (set.size <= memory) return;
  for (const oldest of set.keys()) {
    set.delete(oldest);
    return;
  }
}
