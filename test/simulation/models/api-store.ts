import { KubeError } from '../../../kube/errors.ts';
import { deepFreeze } from '../../../kube/object.ts';
import type { DeleteResult, KubeObject, Manifest, ObjectRef, Patch, Resource } from '../../../kube/types.ts';
import { applyPatch, copyOf, isEqual, isObject, jsonPatch, mergePatch } from './json.ts';
import type { JsonObject } from './json.ts';

export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  readonly object: StoredObject;
}

export interface StoredObject extends KubeObject {
  readonly spec?: JsonObject;
  readonly status?: JsonObject;
}

/** What an installed CRD does with objects of its kind. */
export interface Schema {
  /** Fills in defaults and refuses what does not fit, by throwing an Error with the reason. */
  readonly admit: (object: StoredObject, old: StoredObject | undefined) => StoredObject;
  /** The writes to the main resource leave the status alone, and the other way round. */
  readonly hasStatus: boolean;
}

/** Told of every change before anybody else, with who made it. */
export type ChangeListener = (resource: Resource, change: Change, old: StoredObject | undefined, by: string) => void;

interface Kind {
  readonly objects: Map<string, StoredObject>;
  readonly log: Change[];
  readonly applied: Map<string, unknown>;
  compactedAt: number;
}

/** etcd and the API server's semantics, without time: one total order of acknowledged writes. Objects are never changed: who tries gets a TypeError. */
export class ApiStore {
  readonly #kinds = new Map<string, Kind>();
  readonly #schemas = new Map<string, Schema>();
  readonly #listeners: ChangeListener[] = [];
  readonly #time: () => string;
  readonly #newUid: () => string;
  #version = 100;

  constructor(time: () => string, newUid: () => string) {
    this.#time = time;
    this.#newUid = newUid;
  }

  install(resource: Resource, schema: Schema): void {
    this.#schemas.set(idOf(resource), schema);
  }

  onChange(listener: ChangeListener): void {
    this.#listeners.push(listener);
  }

  /** The version of the last write. */
  get version(): number {
    return this.#version;
  }

  get(resource: Resource, ref: ObjectRef): StoredObject {
    const object = this.#kind(resource).objects.get(keyOf(ref));
    if (object === undefined) throw new KubeError('NotFound', `${resource.plural} ${keyOf(ref)}: not found`);
    return object;
  }

  find(resource: Resource, ref: ObjectRef): StoredObject | undefined {
    return this.#kind(resource).objects.get(keyOf(ref));
  }

  list(resource: Resource): StoredObject[] {
    return [...this.#kind(resource).objects.values()];
  }

  /** The changes after `version`; throws `Expired` when they are no longer known. */
  since(resource: Resource, version: number): Change[] {
    const kind = this.#kind(resource);
    if (version < kind.compactedAt) throw new KubeError('Expired', `${resource.plural}: version ${version} is too old`);
    let first = kind.log.length;
    while (first > 0 && (kind.log[first - 1]?.version ?? 0) > version) first--;
    return kind.log.slice(first);
  }

  /** Forgets all earlier changes, as etcd does: who was not up to date must list anew. */
  compact(): void {
    for (const kind of this.#kinds.values()) {
      kind.log.length = 0;
      kind.compactedAt = this.#version;
    }
  }

  create(resource: Resource, manifest: Manifest, by: string): StoredObject {
    const kind = this.#kind(resource);
    const { generateName, ...metadata } = manifest.metadata;
    const name = metadata.name ?? `${generateName ?? ''}${this.#version.toString(36)}`;
    const key = keyOf({ ...metadata, name });
    if (kind.objects.has(key)) throw new KubeError('AlreadyExists', `${resource.plural} ${key} exists`);
    const schema = this.#schemas.get(idOf(resource));
    const { status, ...rest } = copyOf(manifest) as Manifest & { status?: JsonObject };
    const created: StoredObject = {
      ...rest,
      ...(status !== undefined && schema?.hasStatus !== true ? { status } : {}),
      metadata: { ...copyOf(metadata), name, uid: this.#newUid(), resourceVersion: '0', generation: 1, creationTimestamp: this.#time() },
    };
    return this.#write(resource, key, this.#admitted(resource, created, undefined), undefined, by);
  }

  update(resource: Resource, object: KubeObject, subresource: string | undefined, by: string): StoredObject {
    const old = this.get(resource, object.metadata);
    this.#expectVersion(resource, old, object.metadata.resourceVersion);
    this.#expectUid(resource, old, object.metadata.uid);
    return this.#replace(resource, old, copyOf(object), subresource, by);
  }

  patch(resource: Resource, ref: ObjectRef, patch: Patch, subresource: string | undefined, by: string): StoredObject {
    const old = this.find(resource, ref);
    if (old === undefined) {
      if (patch.type === 'apply' && subresource === undefined)
        return this.create(resource, { ...patch.body, metadata: { ...patch.body.metadata, ...ref } }, by);
      throw new KubeError('NotFound', `${resource.plural} ${keyOf(ref)}: not found`);
    }
    const next = this.#patched(resource, old, patch, subresource);
    this.#expectVersion(resource, old, next.metadata.resourceVersion);
    this.#expectUid(resource, old, next.metadata.uid);
    const result = this.#replace(resource, old, next, subresource, by);
    if (patch.type === 'apply')
      this.#kind(resource).applied.set(managerOf(old.metadata.uid, patch.fieldManager, subresource), copyOf(patch.body));
    return result;
  }

  delete(
    resource: Resource,
    ref: ObjectRef,
    preconditions: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined },
    by: string,
  ): DeleteResult {
    const old = this.get(resource, ref);
    if (preconditions.uid !== undefined) this.#expectUid(resource, old, preconditions.uid);
    if (preconditions.resourceVersion !== undefined) this.#expectVersion(resource, old, preconditions.resourceVersion);
    if ((old.metadata.finalizers ?? []).length === 0) {
      this.#remove(resource, old, by);
      return { kind: 'deleted' };
    }
    if (old.metadata.deletionTimestamp !== undefined) return { kind: 'deleting', object: old };
    const deleting = {
      ...old,
      metadata: {
        ...old.metadata,
        deletionTimestamp: this.#time(),
        deletionGracePeriodSeconds: 0,
        generation: (old.metadata.generation ?? 1) + 1,
      },
    };
    return { kind: 'deleting', object: this.#write(resource, keyOf(ref), deleting, old, by) };
  }

  #patched(resource: Resource, old: StoredObject, patch: Patch, subresource: string | undefined): StoredObject {
    switch (patch.type) {
      case 'merge':
        return mergePatch(old, patch.body) as StoredObject;
      case 'json':
        try {
          return jsonPatch(old, patch.body) as StoredObject;
        } catch (error) {
          throw new KubeError('Invalid', `${resource.plural} ${keyOf(old.metadata)}: ${String(error)}`);
        }
      case 'apply': {
        const { uid } = old.metadata;
        const applied = this.#kind(resource).applied.get(managerOf(uid, patch.fieldManager, subresource));
        return applyPatch(old, applied, patch.body) as StoredObject;
      }
    }
  }

  #replace(resource: Resource, old: StoredObject, next: StoredObject, subresource: string | undefined, by: string): StoredObject {
    const key = keyOf(old.metadata);
    const hasStatus = this.#schemas.get(idOf(resource))?.hasStatus === true;
    const { resourceVersion, uid, creationTimestamp, deletionTimestamp, generation } = old.metadata;
    const metadata = {
      ...(subresource === 'status' ? old.metadata : next.metadata),
      resourceVersion,
      uid,
      creationTimestamp,
      deletionTimestamp,
      generation,
    };
    const { status: oldStatus, ...oldRest } = old;
    const { status: nextStatus, ...nextRest } = next;
    const merged: StoredObject =
      subresource === 'status'
        ? { ...oldRest, ...(nextStatus === undefined ? {} : { status: nextStatus }), metadata }
        : {
            ...nextRest,
            ...((hasStatus ? oldStatus : nextStatus) === undefined ? {} : { status: hasStatus ? oldStatus : nextStatus }),
            metadata,
          };
    const admitted = this.#admitted(resource, merged, old);
    if (isEqual(admitted, old)) return old;
    const changedSpec = !isEqual(admitted.spec, old.spec);
    const result = changedSpec ? { ...admitted, metadata: { ...admitted.metadata, generation: (generation ?? 1) + 1 } } : admitted;
    if (result.metadata.deletionTimestamp !== undefined && (result.metadata.finalizers ?? []).length === 0) {
      this.#remove(resource, result, by);
      // As the API server: nothing was stored, so that the answer has the version from before.
      return { ...result, metadata: { ...result.metadata, resourceVersion: old.metadata.resourceVersion } };
    }
    return this.#write(resource, key, result, old, by);
  }

  #admitted(resource: Resource, object: StoredObject, old: StoredObject | undefined): StoredObject {
    const schema = this.#schemas.get(idOf(resource));
    if (schema === undefined) return object;
    try {
      return schema.admit(object, old);
    } catch (error) {
      throw new KubeError(
        'Invalid',
        `${resource.plural} ${keyOf(object.metadata)}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  #write(resource: Resource, key: string, object: StoredObject, old: StoredObject | undefined, by: string): StoredObject {
    const kind = this.#kind(resource);
    const version = ++this.#version;
    const stored = deepFreeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(version) } });
    kind.objects.set(key, stored);
    this.#tell(resource, { type: old === undefined ? 'ADDED' : 'MODIFIED', version, object: stored }, old, by);
    return stored;
  }

  #remove(resource: Resource, object: StoredObject, by: string): void {
    const kind = this.#kind(resource);
    const version = ++this.#version;
    const old = kind.objects.get(keyOf(object.metadata));
    kind.objects.delete(keyOf(object.metadata));
    const last = deepFreeze({ ...object, metadata: { ...object.metadata, resourceVersion: String(version) } });
    this.#tell(resource, { type: 'DELETED', version, object: last }, old, by);
  }

  #tell(resource: Resource, change: Change, old: StoredObject | undefined, by: string): void {
    this.#kind(resource).log.push(change);
    for (const listener of this.#listeners) listener(resource, change, old, by);
  }

  #expectVersion(resource: Resource, old: StoredObject, version: string): void {
    if (version !== '' && version !== old.metadata.resourceVersion) {
      throw new KubeError('Conflict', `${resource.plural} ${keyOf(old.metadata)}: the object was changed; read it again`);
    }
  }

  #expectUid(resource: Resource, old: StoredObject, uid: string): void {
    if (uid !== '' && uid !== old.metadata.uid) throw new KubeError('Conflict', `${resource.plural} ${keyOf(old.metadata)}: another uid`);
  }

  #kind(resource: Resource): Kind {
    const id = idOf(resource);
    const known = this.#kinds.get(id);
    if (known !== undefined) return known;
    const kind: Kind = { objects: new Map(), log: [], applied: new Map(), compactedAt: 0 };
    this.#kinds.set(id, kind);
    return kind;
  }
}

function managerOf(uid: string, fieldManager: string, subresource: string | undefined): string {
  return `${uid}|${fieldManager}|${subresource ?? ''}`;
}

/** No two groups here have resources of one name. */
export function idOf(resource: Resource): string {
  return resource.plural;
}

export function keyOf(ref: ObjectRef): string {
  return ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** True when the label selector (`a=b,c!=d,e`) and the field selector (metadata.name, metadata.namespace) take the object. */
export function isSelected(object: KubeObject, labelSelector: string | undefined, fieldSelector: string | undefined): boolean {
  const labels = object.metadata.labels ?? {};
  return (
    terms(labelSelector).every(({ key, op, value }) => (op === undefined ? key in labels : (labels[key] === value) === (op === '='))) &&
    terms(fieldSelector).every(({ key, op, value }) => (fieldOf(object, key) === value) === (op === '='))
  );
}

function terms(selector: string | undefined): { key: string; op: '=' | '!=' | undefined; value: string }[] {
  if (selector === undefined || selector === '') return [];
  return selector.split(',').map((term) => {
    const [, key = '', op, value = ''] = /^([^!=]+)(?:(!=|==?)(.*))?$/.exec(term.trim()) ?? [];
    return { key, op: op === undefined ? undefined : op === '!=' ? '!=' : '=', value };
  });
}

function fieldOf(object: KubeObject, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), object);
}
