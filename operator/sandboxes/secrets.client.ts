import type { Sandbox } from '../../crds/index.ts';
import { isKubeError } from '../../kube/errors.ts';
import { TtlCache } from '../../kube/ttl-cache.ts';
import type { KubeTransport, Resource } from '../../kube/types.ts';
import type { Clock } from '../../process/clock.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import type { MissingCredentials } from '../lifecycle/snapshot.ts';
import { readPullSecret, secretNotFound, type PullSecret } from './pull-secret.ts';

/** The Secrets of the core API: only ever read by name. */
export const secrets: Resource = { group: '', version: 'v1', plural: 'secrets', kind: 'Secret', namespaced: true };

/** How long a Secret is remembered: short, so that a corrected one counts soon. */
const rememberedMs = 5_000;
const rememberedSecrets = 256;

/** Credentials of a sandbox for its image and its backups, or why there are none. */
export type PullCredentials = { readonly kind: 'Ready'; readonly credentials: readonly RegistryCredential[] } | MissingCredentials;

/**
 * Reads the Secrets that a Sandbox or a task names in imagePullSecrets, in its namespace, and no others. Rejects with the errors of the transport
 * when the API server can not be asked.
 */
export class PullSecrets {
  readonly #transport: KubeTransport;
  readonly #known: TtlCache<PullSecret>;

  constructor(transport: KubeTransport, clock: Clock) {
    this.#transport = transport;
    this.#known = new TtlCache(clock, rememberedSecrets);
  }

  async credentialsOf({ metadata, spec }: Pick<Sandbox, 'metadata' | 'spec'>): Promise<PullCredentials> {
    return this.credentialsIn(metadata.namespace, spec.imagePullSecrets ?? []);
  }

  /** `field` is where they were named, for the message. */
  async credentialsIn(namespace: string, named: readonly { readonly name: string }[], field?: string): Promise<PullCredentials> {
    const read = await Promise.all(named.map(({ name }) => this.#read(namespace, name, field)));
    const missing = read.find((secret) => secret.kind === 'Missing');
    if (missing !== undefined) return missing;
    return { kind: 'Ready', credentials: read.flatMap((secret) => (secret.kind === 'Credentials' ? secret.credentials : [])) };
  }

  async #read(namespace: string, name: string, field: string | undefined): Promise<PullSecret> {
    const key = `${namespace}/${name}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const secret = await this.#get(namespace, name, field);
    if (secret.kind === 'Credentials') this.#known.set(key, secret, rememberedMs);
    return secret;
  }

  async #get(namespace: string, name: string, field: string | undefined): Promise<PullSecret> {
    try {
      return readPullSecret(name, await this.#transport.get(secrets, { namespace, name }), field);
    } catch (error) {
      if (isKubeError(error, 'NotFound') || isKubeError(error, 'Forbidden')) return secretNotFound(name, field);
      throw error;
    }
  }
}
