import { z } from 'zod';

/**
 * What the schemas are made of. zod is the single source; what JSON schema cannot say is said twice, in TypeScript for zod and in CEL
 * for the API server, side by side in one `Rule`, and the rows in crds/rows/ prove that both give the same verdict.
 */

export type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** One check, made by zod (`check`) and by the API server (`rule`, in CEL, where `self` is the value). */
export interface Rule<T> {
  readonly rule: string;
  readonly check: (value: T) => boolean;
  /** Names the field, says what is wrong and what to do. */
  readonly message: string;
  /** The field to blame, relative to the value; default the value itself. */
  readonly at?: readonly string[];
}

export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
}

const VALIDATIONS = 'x-kubernetes-validations';

function withRules<Schema extends z.ZodType>(schema: Schema, rules: readonly CelRule[]): Schema {
  const earlier = (schema.meta()?.[VALIDATIONS] ?? []) as readonly CelRule[];
  return schema.meta({ ...schema.meta(), [VALIDATIONS]: [...earlier, ...rules] });
}

/** `schema` with checks that both zod and the API server make. */
export function ruled<Schema extends z.ZodType>(schema: Schema, ...rules: readonly Rule<z.output<Schema>>[]): Schema {
  const refined = rules.reduce<Schema>(
    (sum, { check, message, at }) => sum.refine((value) => check(value), { message, path: [...(at ?? [])] }),
    schema,
  );
  const cel = rules.map(({ rule, message, at }) => ({ rule, message, ...(at && { fieldPath: `.${at.join('.')}` }) }));
  return withRules(refined, cel);
}

/** A field whose value may not change once set. Only the API server, which knows the old value, can check it. */
export function immutable<Schema extends z.ZodType>(schema: Schema, message: string): Schema {
  return withRules(schema, [{ rule: 'self == oldSelf', message }]);
}

/** The message about a field that this version knows but does not do yet. */
export function notSupported(field: string): string {
  return `${field} is not supported by this version of Berth: remove it.`;
}

/** A field that is part of the API but refused until it works. */
export function refused<Schema extends z.ZodType>(field: string, schema: Schema): z.ZodOptional<Schema> {
  return ruled(schema, { rule: 'false', check: () => false, message: notSupported(field) }).optional();
}

/** A field of which only one value works in this version. */
export function onlyValue<Schema extends z.ZodType<string>>(field: string, schema: Schema, value: z.output<Schema>): Schema {
  return ruled(schema, {
    rule: `self == '${value}'`,
    check: (actual) => actual === value,
    message: `${field} is not supported by this version of Berth with any value but ${value}: remove it.`,
  });
}

/** A list that is one value: replaced as a whole. */
export function atomicList<Item extends z.ZodType>(item: Item, maxItems: number): z.ZodArray<Item> {
  return z.array(item).max(maxItems).meta({ 'x-kubernetes-list-type': 'atomic' });
}

/** A list whose items are told apart by `keys`, so that several writers can own different items. Two items with the same keys are refused. */
export function mapList<Item extends z.ZodType<object>>(
  item: Item,
  keys: readonly (keyof z.output<Item> & string)[],
  maxItems: number,
): z.ZodArray<Item> {
  const keyOf = (value: z.output<Item>) => JSON.stringify(keys.map((key) => value[key]));
  return z
    .array(item)
    .max(maxItems)
    .refine((items) => new Set(items.map(keyOf)).size === items.length, { message: `two items have the same ${keys.join(' and ')}` })
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [...keys] });
}

/** A string of at most `max` characters, counted as the API server does: by code point, where JavaScript counts UTF-16 units. */
export function text(max: number): z.ZodString {
  return z
    .string()
    .refine((value) => value.length <= max || Array.from(value).length <= max, { message: `must have at most ${max} characters` })
    .meta({ maxLength: max });
}

/** A string that must match `pattern`, which JavaScript and RE2 must read alike: no look-around, no single quote. */
export function matching(pattern: RegExp, maxLength: number, message: string): z.ZodString {
  return ruled(text(maxLength), { rule: `self.matches(r'${pattern.source}')`, check: (value) => pattern.test(value), message });
}

export function wholeNumber(min: number, max: number): z.ZodInt {
  return z.int().min(min).max(max);
}

/** A number that only rises: epochs, orders, versions. */
export function counter(): z.ZodInt {
  return z.int().min(0);
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/** A point in time as Kubernetes writes it: RFC 3339, `2026-01-31T12:00:00Z`. */
export function time(): z.ZodString {
  return z
    .string()
    .refine((value) => RFC3339.test(value) && !Number.isNaN(Date.parse(value)), { message: 'must be a time such as 2026-01-31T12:00:00Z' })
    .meta({ format: 'date-time', maxLength: 64 });
}
