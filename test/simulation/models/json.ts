/** JSON values as the API server keeps them: never changed in place, always replaced. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A deep copy. What JSON leaves out (undefined) is left out. */
export function copyOf<T>(value: T): T {
  return copy(value) as T;
}

function copy(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copy);
  const result: Record<string, unknown> = {};
  for (const key in value) {
    const member = (value as Record<string, unknown>)[key];
    if (member !== undefined) result[key] = copy(member);
  }
  return result;
}

/** Equality of JSON: undefined is as absent. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => isEqual(item, b[i]));
  }
  return isEqualObject(a as JsonObject, b as JsonObject);
}

function isEqualObject(a: JsonObject, b: JsonObject): boolean {
  for (const key in a) if (!isEqual(a[key], b[key])) return false;
  for (const key in b) if (b[key] !== undefined && a[key] === undefined) return false;
  return true;
}

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return copyOf(patch);
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined) continue;
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/**
 * Server-side apply of `next` over what the same manager applied before: what it no longer names goes, what it names is set. Lists of objects that
 * have a `type` are maps by it (conditions); other lists are one value. Owners are not told apart: every manager here owns fields of its own.
 */
export function applyPatch(target: unknown, before: unknown, next: unknown): unknown {
  if (isTypedList(next) && (target === undefined || isTypedList(target)))
    return applyList(target ?? [], isTypedList(before) ? before : [], next);
  if (!isObject(next)) return copyOf(next);
  const result: Record<string, unknown> = isObject(target) ? { ...target } : {};
  const earlier = isObject(before) ? before : {};
  for (const key of Object.keys(earlier)) if (next[key] === undefined) Reflect.deleteProperty(result, key);
  for (const [key, value] of Object.entries(next)) if (value !== undefined) result[key] = applyPatch(result[key], earlier[key], value);
  return result;
}

interface Typed extends JsonObject {
  readonly type: string;
}

function isTypedList(value: unknown): value is readonly Typed[] {
  return Array.isArray(value) && value.every((item) => isObject(item) && typeof item.type === 'string');
}

function applyList(target: readonly Typed[], before: readonly Typed[], next: readonly Typed[]): unknown {
  const gone = new Set(before.map(({ type }) => type));
  const named = new Map(next.map((item) => [item.type, item]));
  const kept = target.filter(({ type }) => named.has(type) || !gone.has(type));
  const present = new Set(kept.map(({ type }) => type));
  return [
    ...kept.map((item) => {
      const update = named.get(item.type);
      return update === undefined
        ? item
        : applyPatch(
            item,
            before.find(({ type }) => type === item.type),
            update,
          );
    }),
    ...next.filter(({ type }) => !present.has(type)).map(copyOf),
  ];
}

/** RFC 6902, the operations that controllers use. Throws a RangeError for a path that does not exist and a failed test. */
export function jsonPatch(
  target: unknown,
  operations: readonly { readonly op: string; readonly path: string; readonly value?: unknown }[],
): unknown {
  return operations.reduce((value, { op, path, value: operand }) => change(value, pointer(path), op, operand), copyOf(target));
}

function pointer(path: string): string[] {
  return path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function change(target: unknown, path: readonly string[], op: string, operand: unknown): unknown {
  const [head, ...rest] = path;
  if (head === undefined) {
    if (op === 'test' && !isEqual(target, operand)) throw new RangeError('test failed');
    return op === 'test' ? target : copyOf(operand);
  }
  if (Array.isArray(target)) return changeItem(target, head, rest, op, operand);
  if (!isObject(target)) throw new RangeError(`nothing at ${head}`);
  if (!Object.hasOwn(target, head) && (rest.length > 0 || op !== 'add')) throw new RangeError(`no member ${head}`);
  if (rest.length === 0 && op === 'remove') return Object.fromEntries(Object.entries(target).filter(([key]) => key !== head));
  return { ...target, [head]: change(target[head], rest, op, operand) };
}

function changeItem(items: readonly unknown[], head: string, rest: readonly string[], op: string, operand: unknown): unknown {
  const index = head === '-' ? items.length : Number(head);
  const isInsert = op === 'add' && rest.length === 0;
  if (index > items.length || (!isInsert && index === items.length)) throw new RangeError(`no item ${head}`);
  if (isInsert) return [...items.slice(0, index), copyOf(operand), ...items.slice(index)];
  if (op === 'remove' && rest.length === 0) return items.filter((_, i) => i !== index);
  return items.map((item, i) => (i === index ? change(item, rest, op, operand) : item));
}
