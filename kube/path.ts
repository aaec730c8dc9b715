import { KubeError } from './errors.ts';
import type { ListOptions, ObjectRef, Resource, Selection, WatchOptions } from './types.ts';

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** `/api/v1/namespaces/default/pods` */
export function collectionPath(resource: Resource, namespace: string | undefined): string {
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${scope}/${resource.plural}`;
}

/** `/api/v1/namespaces/default/pods/a/status` */
export function objectPath(resource: Resource, ref: ObjectRef, subresource?: string): string {
  const name = `/${encodeURIComponent(ref.name)}`;
  return `${collectionPath(resource, scopeOf(resource, ref))}${name}${subresource === undefined ? '' : `/${subresource}`}`;
}

/** The namespace that a request about this object names. Throws `BadRequest` when it is missing. */
export function scopeOf(
  resource: Resource,
  ref: { readonly name?: string | undefined; readonly namespace?: string | undefined },
): string | undefined {
  if (!resource.namespaced) return undefined;
  if (ref.namespace === undefined || ref.namespace === '') {
    throw new KubeError('BadRequest', `${resource.plural} ${ref.name ?? ''}: a ${resource.kind} has a namespace, name it`);
  }
  return ref.namespace;
}

export function query(parameters: Query): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([key, value]): [string, string] => [key, String(value)])).toString()}`;
}

export function listQuery(options: ListOptions): string {
  return query({
    ...selection(options),
    limit: options.limit,
    continue: options.continueToken,
    resourceVersion: options.resourceVersion,
    resourceVersionMatch: options.resourceVersionMatch,
  });
}

export function watchQuery(options: WatchOptions): string {
  return query({
    ...selection(options),
    watch: true,
    allowWatchBookmarks: true,
    resourceVersion: options.resourceVersion,
    timeoutSeconds: options.timeoutSeconds,
    ...(options.sendInitialEvents === true ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' } : {}),
  });
}

function selection({ labelSelector, fieldSelector }: Selection): Query {
  return { labelSelector, fieldSelector };
}

/** How a request is called in errors: `PATCH sandboxes/status default/a`. */
export function nameRequest(verb: string, resource: Resource, ref: Partial<ObjectRef>, subresource?: string): string {
  const object = [ref.namespace, ref.name].filter((part) => part !== undefined && part !== '').join('/');
  return `${verb} ${resource.plural}${subresource === undefined ? '' : `/${subresource}`}${object === '' ? '' : ` ${object}`}`;
}
