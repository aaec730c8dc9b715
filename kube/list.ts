import type { KubeObject, KubeTransport, ListOptions, Resource } from './types.ts';
import { isKubeError } from './errors.ts';

export interface CompleteList {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
}

/** How often a list is begun again because a page token expired under it. */
const restarts = 3;

/**
 * All pages as one consistent list: every page is of the version of the first. When a page token expires on the way, the list begins
 * anew, at last without pages.
 */
export async function listAll(transport: KubeTransport, resource: Resource, options: ListOptions = {}): Promise<CompleteList> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await listPages(transport, resource, attempt <= restarts ? { limit: 500, ...options } : { ...options, limit: undefined });
    } catch (error) {
      if (!isKubeError(error, 'Expired') || attempt > restarts) throw error;
    }
  }
}

async function listPages(transport: KubeTransport, resource: Resource, options: ListOptions): Promise<CompleteList> {
  const items: KubeObject[] = [];
  let page = await transport.list(resource, options);
  const { resourceVersion } = page;
  for (const item of page.items) items.push(item);
  while (page.continueToken !== undefined) {
    page = await transport.list(resource, {
      ...options,
      resourceVersion: undefined,
      resourceVersionMatch: undefined,
      continueToken: page.continueToken,
    });
    for (const item of page.items) items.push(item);
  }
  return { items, resourceVersion };
}
