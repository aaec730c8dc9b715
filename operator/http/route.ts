import type { z } from 'zod';
import type { HttpErrorCode } from './error-table.ts';

/** What a caller must be permitted to do with sandboxes, as RBAC says it: resource `sandboxes/<subresource>` of berth.dev. */
export interface Permission {
  readonly verb: 'get' | 'create' | 'update' | 'delete';
  readonly subresource: string;
}

/** One success of a route. */
export interface Answer {
  readonly description: string;
  /** Of the JSON in it; undefined: it has none. */
  readonly schema?: z.ZodType;
  /** Of what is not JSON. */
  readonly contentType?: string;
}

type Shape = z.ZodObject;

/**
 * A method of a path. A value that says everything about it but what is done: requests are read and checked by it, and the OpenAPI document is written
 * from it.
 */
export interface Route<P extends Shape = Shape, Q extends Shape = Shape, B extends Shape = Shape> {
  /** Its name, and that of what it does: the operationId of the OpenAPI document. */
  readonly id: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** As OpenAPI writes it: `/sandbox/tasks/{id}`. */
  readonly path: string;
  readonly summary: string;
  /** It may be sent again with the same Idempotency-Key. */
  readonly takesKey?: boolean;
  readonly description?: string;
  /** Undefined: anyone may. */
  readonly permission?: Permission;
  readonly params?: P;
  readonly query?: Q;
  /** `Bytes`: it is read as it comes. Undefined: whatever comes is passed over. */
  readonly body?: B | 'Bytes';
  /** Of `Bytes`, where it is more than usual. */
  readonly mostBytes?: number;
  /** By status. */
  readonly answers: Readonly<Record<number, Answer>>;
  /** Beside those that every route may have. */
  readonly errors: readonly HttpErrorCode[];
}

export type Match<R> =
  | { readonly kind: 'Found'; readonly route: R; readonly params: Readonly<Record<string, string>> }
  | { readonly kind: 'OtherMethod'; readonly allowed: readonly string[] }
  | { readonly kind: 'NotFound' };

/** The route for a request. A path without a query, as it came. */
export function matchRoute<R extends Pick<Route, 'method' | 'path'>>(routes: readonly R[], method: string, path: string): Match<R> {
  const matches = routes.flatMap((route) => {
    const params = matchPath(route.path, path);
    return params === undefined ? [] : [{ route, params }];
  });
  const wanted = method === 'HEAD' ? 'GET' : method;
  const found = matches.find(({ route }) => route.method === wanted);
  if (found !== undefined) return { kind: 'Found', ...found };
  if (matches.length === 0) return { kind: 'NotFound' };
  const methods = [...new Set(matches.map(({ route }) => route.method))];
  return { kind: 'OtherMethod', allowed: methods.flatMap((one) => (one === 'GET' ? ['GET', 'HEAD'] : [one])) };
}

/** The values of `{…}` in a template; undefined when the path is another one. */
function matchPath(template: string, path: string): Readonly<Record<string, string>> | undefined {
  const [wanted, given] = [template.split('/'), path.split('/')];
  if (wanted.length !== given.length) return undefined;
  const pairs = wanted.map((part, index) => [part, given[index] ?? ''] as const);
  const fits = pairs.every(([part, value]) => (part.startsWith('{') ? decoded(value) !== undefined && value !== '' : part === value));
  if (!fits) return undefined;
  return Object.fromEntries(
    pairs.filter(([part]) => part.startsWith('{')).map(([part, value]) => [part.slice(1, -1), decoded(value) ?? '']),
  );
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}
