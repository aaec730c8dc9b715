import type { RegistryCredential } from '../../process/registry-credential.ts';
import { readDockerConfig } from '../backups/docker-config.ts';
import type { MissingCredentials } from '../lifecycle/snapshot.ts';

/** What a Secret named in spec.imagePullSecrets gives. */
export type PullSecret = { readonly kind: 'Credentials'; readonly credentials: readonly RegistryCredential[] } | MissingCredentials;

const type = 'kubernetes.io/dockerconfigjson';
const key = '.dockerconfigjson';
const ofSandboxes = 'spec.imagePullSecrets';

/** Reads a Secret of type kubernetes.io/dockerconfigjson, which was named in `field`. Nothing of its content is in any message. */
export function readPullSecret(name: string, secret: object, field = ofSandboxes): PullSecret {
  const { type: actual, data } = secret as { readonly type?: unknown; readonly data?: unknown };
  if (actual !== type) return invalid(name, field, `is not of type ${type}`);
  const encoded = (data as Readonly<Record<string, unknown>> | undefined)?.[key];
  if (typeof encoded !== 'string') return invalid(name, field, `has no ${key}`);
  const credentials = readDockerConfig(Buffer.from(encoded, 'base64').toString('utf8'));
  return credentials === undefined ? invalid(name, field, `has a ${key} that can not be read`) : { kind: 'Credentials', credentials };
}

export function secretNotFound(name: string, field = ofSandboxes): PullSecret {
  return {
    kind: 'Missing',
    reason: 'ImagePullSecretNotFound',
    message: `The Secret "${name}", named in ${field}, does not exist or can not be read.`,
  };
}

function invalid(name: string, field: string, what: string): PullSecret {
  return { kind: 'Missing', reason: 'ImagePullSecretInvalid', message: `The Secret "${name}", named in ${field}, ${what}.` };
}
