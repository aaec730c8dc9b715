import { messageOf } from '../process/errors.ts';
import { KubeError, errorFromStatus } from './errors.ts';
import type { KubeObject, Page, Resource, WatchEvent } from './types.ts';

interface RawObject {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly metadata?: {
    readonly name?: unknown;
    readonly uid?: unknown;
    readonly resourceVersion?: unknown;
    readonly annotations?: Readonly<Record<string, unknown>>;
  };
}

/** Parses a body. Throws `Malformed`. */
export function parseJson(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new KubeError('Malformed', `${what}: the answer is not JSON: ${messageOf(cause)}`, { cause });
  }
}

/** The object of an answer; `resource` names its kind, which items of lists of built-in resources leave out. Throws `Malformed`. */
export function decodeObject(what: string, resource: Resource, raw: unknown): KubeObject {
  const { apiVersion, kind, metadata }: RawObject = isObject(raw) ? raw : {};
  if (typeof metadata?.name !== 'string' || typeof metadata.resourceVersion !== 'string') {
    throw new KubeError('Malformed', `${what}: the answer is not a ${resource.kind} with a name and a resourceVersion`);
  }
  if (typeof apiVersion === 'string' && typeof kind === 'string') return raw as KubeObject;
  const group = resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
  return { ...(raw as KubeObject), apiVersion: group, kind: resource.kind };
}

/** A page of a list. Throws `Malformed`. */
export function decodePage(what: string, resource: Resource, raw: unknown): Page {
  const { items, metadata } = (isObject(raw) ? raw : {}) as {
    readonly items?: unknown;
    readonly metadata?: { readonly resourceVersion?: unknown; readonly continue?: unknown };
  };
  if ((items !== null && !Array.isArray(items)) || typeof metadata?.resourceVersion !== 'string') {
    throw new KubeError('Malformed', `${what}: the answer is not a list`);
  }
  return {
    items: (items ?? []).map((item: unknown) => decodeObject(what, resource, item)),
    resourceVersion: metadata.resourceVersion,
    ...(typeof metadata.continue === 'string' && metadata.continue !== '' ? { continueToken: metadata.continue } : {}),
  };
}

/** A line of a watch. Throws what an ERROR event says, or `Malformed`. */
export function decodeEvent(what: string, resource: Resource, line: string): WatchEvent {
  const raw = parseJson(what, line);
  const { type, object } = (isObject(raw) ? raw : {}) as { readonly type?: unknown; readonly object?: unknown };
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object: decodeObject(what, resource, object) };
    case 'BOOKMARK': {
      const { metadata }: RawObject = isObject(object) ? object : {};
      if (typeof metadata?.resourceVersion !== 'string') throw new KubeError('Malformed', `${what}: a bookmark has no resourceVersion`);
      return {
        type,
        resourceVersion: metadata.resourceVersion,
        initialEventsEnd: metadata.annotations?.['k8s.io/initial-events-end'] === 'true',
      };
    }
    case 'ERROR':
      throw errorFromStatus(what, 500, object);
    default:
      throw new KubeError('Malformed', `${what}: there is no event type ${String(type)}`);
  }
}

/** The lines of a stream of bytes, without the empty ones; what follows the last line break is dropped, as it is incomplete. */
export async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  let rest: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...rest, chunk.subarray(from, end)]).toString('utf8');
      rest = [];
      from = end + 1;
      if (line.trim() !== '') yield line;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
