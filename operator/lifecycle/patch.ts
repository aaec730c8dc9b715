/** A value of JSON. */
type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/**
 * The JSON merge patch that makes `after` of `before`; undefined when they are equal. Lists are replaced as a whole; a key that is absent
 * or undefined in `after` is removed by null.
 */
export function mergePatch(before: object, after: object): Readonly<Record<string, unknown>> | undefined {
  return changes(before as JsonObject, after as JsonObject);
}

type JsonObject = Readonly<Record<string, Json | undefined>>;

function changes(before: JsonObject, after: JsonObject): Readonly<Record<string, unknown>> | undefined {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = keys.flatMap((key) => {
    const change = changeOf(before[key], after[key]);
    return change === undefined ? [] : [[key, change.to] as const];
  });
  return changed.length === 0 ? undefined : Object.fromEntries(changed);
}

function changeOf(before: Json | undefined, after: Json | undefined): { readonly to: unknown } | undefined {
  if (after === undefined) return before === undefined ? undefined : { to: null };
  if (isObject(before) && isObject(after)) {
    const nested = changes(before, after);
    return nested === undefined ? undefined : { to: nested };
  }
  return isEqual(before, after) ? undefined : { to: withoutUndefined(after) };
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Equality of JSON: the order of keys and absent against undefined make no difference. */
export function isEqual(left: unknown, right: unknown): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, index) => isEqual(item, right[index]));
  }
  if (isObject(left as Json) && isObject(right as Json)) return changes(left as JsonObject, right as JsonObject) === undefined;
  return left === right;
}

function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
