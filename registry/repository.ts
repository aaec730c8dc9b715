import type { RepositoryName } from '../process/registry-credential.ts';
import { canonicalHost } from '../process/registry-credential.ts';

const host = /^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/;
const part = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const path = new RegExp(`^${part}(?:/${part})*$`);

/** Reads `host[:port]/path`; undefined for anything else, a tag or a digest included. The longest path that registries take has 255 characters. */
export function parseRepository(text: string): RepositoryName | undefined {
  const [first = '', ...rest] = text.split('/');
  const repository = rest.join('/');
  if (!host.test(first) || !path.test(repository) || repository.length > 255) return undefined;
  return { host: canonicalHost(first), repository };
}

export function formatRepository({ host: where, repository }: RepositoryName): string {
  return `${where}/${repository}`;
}

/** Where the registry answers: Docker Hub does so under another name. */
export function apiHost({ host: where }: RepositoryName): string {
  return where === 'docker.io' ? 'registry-1.docker.io' : where;
}
