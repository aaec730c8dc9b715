import type { KubeObject, ObjectKey, ObjectMeta, ObjectRef } from './types.ts';

/** `namespace/name`, or `name` when there is no namespace. */
export function keyOf(object: { readonly metadata: ObjectRef }): ObjectKey {
  return keyOfRef(object.metadata);
}

export function keyOfRef(ref: ObjectRef): ObjectKey {
  return ref.namespace === undefined || ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** True for an object that a write has just finished off: the answer to removing the last finalizer of a deleting object. */
export function isGone(metadata: ObjectMeta): boolean {
  return (
    metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0 && (metadata.deletionGracePeriodSeconds ?? 0) === 0
  );
}

/** The object without managedFields, which are large and of no use to a controller. The argument is not changed. */
export function withoutManagedFields<T extends KubeObject>(object: T): T {
  if (!('managedFields' in object.metadata)) return object;
  const { managedFields: _, ...metadata } = object.metadata as ObjectMeta & { readonly managedFields?: unknown };
  return { ...object, metadata };
}

/** Freezes a value of plain objects and arrays all the way down, and returns it. */
export function deepFreeze<T>(value: T): T {
  const waiting: unknown[] = [value];
  for (let next = waiting.pop(); next !== undefined || waiting.length > 0; next = waiting.pop()) {
    if (typeof next === 'object' && next !== null && !Object.isFrozen(next)) {
      Object.freeze(next);
      for (const part of Object.values(next) as unknown[]) waiting.push(part);
    }
  }
  return value;
}
