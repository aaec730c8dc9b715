import type { Sandbox } from '../../crds/index.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { KubeTransport } from '../../kube/types.ts';
import { environmentFrom, secretReferences, type SecretEnvironment } from './secret-environment.ts';
import { secrets } from './secrets.client.ts';

/**
 * Reads the Secrets that a Sandbox names in spec.env, in its namespace, and no others. Each time anew: a start uses what a Secret says when it
 * begins. Rejects with the errors of the transport when the API server can not be asked.
 */
export async function readSecretEnvironment(
  transport: KubeTransport,
  { metadata: { namespace }, spec }: Pick<Sandbox, 'metadata' | 'spec'>,
): Promise<SecretEnvironment> {
  const references = secretReferences(spec);
  const names = [...new Set(references.map(({ secret }) => secret))];
  const found = await Promise.all(names.map(async (name) => [name, await find(transport, namespace, name)] as const));
  return environmentFrom(references, new Map(found));
}

async function find(transport: KubeTransport, namespace: string, name: string): Promise<object | undefined> {
  try {
    return await transport.get(secrets, { namespace, name });
  } catch (error) {
    if (isKubeError(error, 'NotFound') || isKubeError(error, 'Forbidden')) return undefined;
    throw error;
  }
}
