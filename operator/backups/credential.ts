import { credentialFor, type RegistryCredential } from '../../process/registry-credential.ts';
import { parseRepository } from '../../registry/repository.ts';

/** The credential for a repository of backups: of the Secrets that the sandbox names, else of the operator's own. */
export function backupCredential(
  repository: string,
  ofSandbox: readonly RegistryCredential[],
  own: readonly RegistryCredential[],
): RegistryCredential | undefined {
  const name = parseRepository(repository);
  return name && (credentialFor(name, ofSandbox) ?? credentialFor(name, own));
}

/**
 * What an agent is given for a sandbox: what its Secrets hold, and for its backups a credential of the operator when no Secret has one. That one is given
 * under the sandbox's own repository alone: no other image can be pulled with it.
 */
export function credentialsForAgent(
  repository: string | undefined,
  ofSandbox: readonly RegistryCredential[],
  own: readonly RegistryCredential[],
): readonly RegistryCredential[] {
  const credential = repository === undefined ? undefined : backupCredential(repository, ofSandbox, own);
  if (repository === undefined || credential === undefined || ofSandbox.includes(credential)) return ofSandbox;
  const { username, password } = credential;
  return [...ofSandbox, { host: repository, username, password }];
}
