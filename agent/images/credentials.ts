import type { ImageCredential } from '../copies/runtime.ts';
import { canonicalHost, type ImageReference } from './reference.ts';

/**
 * The credential for an image: the one with the longest matching address. An address is a host with its port, with a path in front of
 * the repository or without, in the forms that docker configuration files have (`https://index.docker.io/v1/`, `*.example.com`).
 */
export function credentialFor(
  image: Pick<ImageReference, 'host' | 'repository'>,
  credentials: readonly ImageCredential[],
): ImageCredential | undefined {
  return credentials
    .map((credential) => ({ credential, address: parseAddress(credential.host) }))
    .filter(({ address }) => hostMatches(address.host, image.host) && pathMatches(address.path, image.repository))
    .sort((a, b) => b.address.path.length - a.address.path.length)
    .at(0)?.credential;
}

function parseAddress(text: string): { readonly host: string; readonly path: string } {
  const [host = '', ...path] = text
    .replace(/^https?:\/\//, '')
    .split('/')
    .filter((part) => part !== '');
  // What Docker writes for its Hub, and old registries wrote for themselves, is the version of the API and no repository.
  const repository = /^v[12]$/.test(path[0] ?? '') ? [] : path;
  return { host: canonicalHost(host), path: repository.join('/') };
}

function hostMatches(pattern: string, host: string): boolean {
  const [wanted, given] = [pattern.split('.'), host.split('.')];
  return wanted.length === given.length && wanted.every((label, index) => label === '*' || label === given[index]);
}

function pathMatches(prefix: string, repository: string): boolean {
  return prefix === '' || repository === prefix || repository.startsWith(`${prefix}/`);
}
