import type { z } from 'zod';
import { ApiError } from './errors.ts';

/** A JSON text may be nested so deep, as an object in an object is 2. */
const deepest = 32;
/** Of what is wrong or unknown so much is named. */
const mostNamed = 8;

/**
 * The value of a JSON body. None at all stands for `{}`, so that a request whose every field is optional needs none.
 * @throws ApiError `UnsupportedMediaType`, `JsonTooDeep`, `MalformedJson`
 */
export function readJson(bytes: Uint8Array, contentType: string | undefined): unknown {
  if (bytes.length === 0) return {};
  const [type = '', ...parameters] = (contentType ?? '').split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  if (!/^application\/(json|[\w.-]+\+json)$/.test(type) || !isUtf8) {
    const sent = contentType === undefined ? 'no Content-Type' : `Content-Type: ${shown(contentType)}`;
    throw new ApiError(
      'UnsupportedMediaType',
      `The body must be JSON in UTF-8, and came with ${sent}: send Content-Type: application/json.`,
    );
  }
  const value = parsed(bytes);
  if (isDeeperThan(value, deepest)) throw new ApiError('JsonTooDeep');
  return value;
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ApiError('MalformedJson', 'The body is no JSON in UTF-8.', { cause });
  }
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((part) => isDeeperThan(part, levels - 1));
}

/** A value as a schema reads it, and the paths of what it passes over because it does not know it. */
export interface Checked<T> {
  readonly value: T;
  readonly unknown: readonly string[];
}

/** @throws ApiError `InvalidRequest` that names every field that is wrong; `where` is what the fields lie in. */
export function check<S extends z.ZodType>(schema: S, input: unknown, where: 'body' | 'query' | 'path'): Checked<z.output<S>> {
  const result = schema.safeParse(input);
  if (result.success) return { value: result.data, unknown: unknownPaths(input, result.data) };
  const issues = result.error.issues.slice(0, mostNamed).map(({ path, message }) => ({ field: path.map(String).join('.'), message }));
  const sentences = issues.map(({ field, message }) => `${field === '' ? `the ${where}` : shown(field)}: ${message}`);
  throw new ApiError('InvalidRequest', `The ${where} is not as it should be. ${sentences.join('; ')}.`, { details: { issues } });
}

/** What stands in the input and not in what was read of it: what a schema does not know it leaves out. */
function unknownPaths(input: unknown, output: unknown): readonly string[] {
  if (!isObject(input) || !isObject(output)) return [];
  return Object.entries(input).flatMap(([key, value]) =>
    Object.hasOwn(output, key) ? unknownPaths(value, output[key]).map((path) => `${key}.${path}`) : [key],
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The header Warning for fields that were passed over; undefined when there is nothing to say. */
export function warningOf(unknown: readonly string[]): string | undefined {
  if (unknown.length === 0) return undefined;
  const more = unknown.length > mostNamed ? ` and ${unknown.length - mostNamed} more` : '';
  const names = unknown.slice(0, mostNamed).map(shown).join(', ');
  return `299 berth "Unknown fields are passed over: ${names}${more}"`;
}

/** What came from outside, fit for a header and a message. */
function shown(text: string): string {
  return text.slice(0, 64).replace(/[^\x20-\x7e]|["\\]/g, '?');
}
