import type { KubeObject, KubeTransport, ListOptions, Resource } from './types.ts';
import { isKubeError } from './errors.ts';

export interface CompleteList<T = KubeObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

/** How often a list is begun again because a page token expired under it. */
const restarts = 3;

/**
 * All pages as one consistent list: every page is of the version of the first. When a page token expires on the way, the list begins
 * anew, at last without pages.
 */
export async function listAll(transport: KubeTransport, resource: Resource, options: ListOptions = {}): Promise<CompleteList> {
  return readAll(transport, resource, options, (raw) => raw);
}

/** As `listAll`, of what `read` makes of each object: of a page nothing is kept but that. */
export async function readAll<T>(
  transport: KubeTransport,
  resource: Resource,
  options: ListOptions,
  read: (raw: KubeObject) => T,
): Promise<CompleteList<T>> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readPages(
        transport,
        resource,
        attempt <= restarts ? { limit: 500, ...options } : { ...options, limit: undefined },
        read,
      );
    } catch (error) {
      if (!isKubeError(error, 'Expired') || attempt > restarts) throw error;
    }
  }
}

async function readPages<T>(
  transport: KubeTransport,
  resource: Resource,
  options: ListOptions,
  read: (raw: KubeObject) => T,
): Promise<CompleteList<T>> {
  const items: T[] = [];
  let page = await transport.list(resource, options);
  const { resourceVersion } = page;
  for (const item of page.items) items.push(read(item));
  while (page.continueToken !== undefined) {
    page = await transport.list(resource, {
      ...options,
      resourceVersion: undefined,
      resourceVersionMatch: undefined,
      continueToken: page.continueToken,
    });
    for (const item of page.items) items.push(read(item));
  }
  return { items, resourceVersion };
}
