/** A name and a password for a registry, or for the part of it that a path names. */
export interface RegistryCredential {
  /** Host and port, with a path or without, or a URL: the forms that docker configuration files have (`https://index.docker.io/v1/`, `*.example.com`). */
  readonly host: string;
  readonly username: string;
  readonly password: string;
}

/** A repository without its tag: where the registry answers, with its port, and the name there. */
export interface RepositoryName {
  readonly host: string;
  readonly repository: string;
}

/** The credential for a repository: the one with the longest matching address, of several the first. */
export function credentialFor<C extends RegistryCredential>(image: RepositoryName, credentials: readonly C[]): C | undefined {
  return credentials
    .map((credential) => ({ credential, address: parseAddress(credential.host) }))
    .filter(({ address }) => hostMatches(address.host, image.host) && pathMatches(address.path, image.repository))
    .sort((a, b) => b.address.path.length - a.address.path.length)
    .at(0)?.credential;
}

/** Docker Hub answers to several names. */
export function canonicalHost(host: string): string {
  return ['index.docker.io', 'registry-1.docker.io', 'docker.io'].includes(host) ? 'docker.io' : host;
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
