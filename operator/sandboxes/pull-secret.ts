import type { RegistryCredential } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { MissingCredentials } from '../lifecycle/snapshot.ts';

/** What a Secret named in spec.imagePullSecrets gives. */
export type PullSecret = { readonly kind: 'Credentials'; readonly credentials: readonly RegistryCredential[] } | MissingCredentials;

const type = 'kubernetes.io/dockerconfigjson';
const key = '.dockerconfigjson';

/** Reads a Secret of type kubernetes.io/dockerconfigjson. Nothing of its content is in any message. */
export function readPullSecret(name: string, secret: object): PullSecret {
  const { type: actual, data } = secret as { readonly type?: unknown; readonly data?: unknown };
  if (actual !== type) return invalid(name, `is not of type ${type}`);
  const encoded = (data as Readonly<Record<string, unknown>> | undefined)?.[key];
  if (typeof encoded !== 'string') return invalid(name, `has no ${key}`);
  const auths = authsOf(Buffer.from(encoded, 'base64').toString('utf8'));
  if (auths === undefined) return invalid(name, `has a ${key} that can not be read`);
  return { kind: 'Credentials', credentials: Object.entries(auths).flatMap(([address, auth]) => credentialOf(address, auth)) };
}

export function secretNotFound(name: string): PullSecret {
  return {
    kind: 'Missing',
    reason: 'ImagePullSecretNotFound',
    message: `The Secret "${name}", named in spec.imagePullSecrets, does not exist or can not be read.`,
  };
}

function invalid(name: string, what: string): PullSecret {
  return { kind: 'Missing', reason: 'ImagePullSecretInvalid', message: `The Secret "${name}", named in spec.imagePullSecrets, ${what}.` };
}

type Auths = Readonly<Record<string, unknown>>;

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
 * the credentials of two owners on one host apart. The agent reads it.
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
