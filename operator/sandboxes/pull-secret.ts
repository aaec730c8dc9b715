import type { RegistryCredential } from '../../process/registry-credential.ts';
import { readDockerConfig } from '../backups/docker-config.ts';
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
  const credentials = readDockerConfig(Buffer.from(encoded, 'base64').toString('utf8'));
  return credentials === undefined ? invalid(name, `has a ${key} that can not be read`) : { kind: 'Credentials', credentials };
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
