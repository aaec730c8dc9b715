/**
 * What each field of the API takes and refuses. The same rows are judged by zod (rows.test.ts) and by a real API server
 * (test/system/crds.system.test.ts): same verdict, and a refusal names the field.
 */

/** In place of a value: the field is left out. */
export const ABSENT: unique symbol = Symbol('absent');

export interface Row {
  /** `spec.env[].name`: `[]` stands for the first item. */
  readonly field: string;
  readonly good: readonly unknown[];
  /** Refused with a message that names the field. */
  readonly bad: readonly unknown[];
  /** A value that may not replace the one in the base. */
  readonly mayNotBecome?: unknown;
  /** Another field, which this one excludes: left out of the base while the row is tried. */
  readonly without?: string;
  /** The field works in no form yet. Its bad value then stands for every field within it, too. */
  readonly refused?: true;
}

/** A field with values that are accepted and values that are refused. */
export function row(field: string, good: readonly unknown[], bad: readonly unknown[]): Row {
  return { field, good, bad };
}

/** A field that is refused for now, with a value that will be good once it works. */
export function refusedRow(field: string, value: unknown): Row {
  return { field, good: [ABSENT], bad: [value], refused: true };
}

type Tree = Readonly<Record<string | number, unknown>>;

/** `base` with the field set to `value` or left out. Parents are made as needed; `base` is not changed. */
export function withField(base: unknown, field: string, value: unknown): unknown {
  return replaced(base, keysOf(field), value);
}

/** `base` as the row tries it with one of its values. */
export function tried(base: unknown, { field, without }: Row, value: unknown): unknown {
  return withField(without === undefined ? base : withField(base, without, ABSENT), field, value);
}

/** The field as messages name it: `spec.env[0].name`; a list by its own name, since zod and the API server blame different items of it. */
export function named(field: string): string {
  return field.replace(/\[\]$/, '').replaceAll('[]', '[0]');
}

/** The field and, when it is refused as a whole, the fields that its bad value holds. */
export function fieldsCovered({ field, bad, refused }: Row): readonly string[] {
  return refused ? [field, ...bad.flatMap((value) => fieldsWithin(value, field))] : [field];
}

function fieldsWithin(value: unknown, path: string): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item) => fieldsWithin(item, path));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const name = `${path}.${key}${Array.isArray(inner) ? '[]' : ''}`;
    return [name, ...fieldsWithin(inner, name)];
  });
}

/** `spec.env[].name` → spec, env, 0, name. A trailing `[]` names the list itself. */
function keysOf(field: string): readonly (string | number)[] {
  const keys = field.split('.').flatMap((part) => (part.endsWith('[]') ? [part.slice(0, -2), 0] : [part]));
  return field.endsWith('[]') ? keys.slice(0, -1) : keys;
}

function replaced(base: unknown, keys: readonly (string | number)[], value: unknown): unknown {
  const [key, ...rest] = keys;
  if (key === undefined) return value;
  if (typeof key === 'number') {
    const items = Array.isArray(base) ? (base as readonly unknown[]) : [];
    return [replaced(items[key], rest, value), ...items.slice(1)];
  }
  const tree = (typeof base === 'object' && base !== null ? base : {}) as Tree;
  const inner = replaced(tree[key], rest, value);
  return Object.fromEntries(Object.entries({ ...tree, [key]: inner }).filter(([, kept]) => kept !== ABSENT));
}
