import type { RegistryCredential } from '../../process/registry-credential.ts';

type Auths = Readonly<Record<string, unknown>>;

/** The credentials in a docker configuration file; undefined when it can not be read. Nothing of its content is in any message. */
export function readDockerConfig(text: string): readonly RegistryCredential[] | undefined {
  const auths = authsOf(text);
  return auths && Object.entries(auths).flatMap(([address, auth]) => credentialOf(address, auth));
}

function authsOf(text: string): Auths | undefined {
  try {
    const { auths } = JSON.parse(text) as { readonly auths?: unknown };
    return typeof auths === 'object' && auths !== null && !Array.isArray(auths) ? (auths as Auths) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/**
 * `auth` is base64 of `username:password`, beside or instead of both fields. The key goes on as it is: it may be a URL, and its path tells
 * the credentials of two owners on one host apart.
 */
function credentialOf(address: string, value: unknown): readonly RegistryCredential[] {
  if (typeof value !== 'object' || value === null) return [];
  const { username, password, auth } = value as Readonly<Record<string, unknown>>;
  const [user = '', ...rest] = typeof auth === 'string' ? Buffer.from(auth, 'base64').toString('utf8').split(':') : [];
  const found = {
    host: address,
    username: typeof username === 'string' && username !== '' ? username : user,
    password: typeof password === 'string' && password !== '' ? password : rest.join(':'),
  };
  return found.username === '' && found.password === '' ? [] : [found];
}
