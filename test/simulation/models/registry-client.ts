import type { BackupRegistryClient } from '../../../operator/backups/controller.ts';
import { RegistryError } from '../../../registry/errors.ts';
import { formatRepository } from '../../../registry/repository.ts';
import type { ImageManifest } from '../../../registry/manifest.ts';
import type { Process } from '../engine/process.ts';
import { NoAnswer } from './registry.ts';
import type { RegistryModel } from './registry.ts';

/** The registry as an operator pod asks it. */
export function registryClientOf(registry: RegistryModel, name: string, process: Process): BackupRegistryClient {
  const who = { name, process, random: process.random.fork('registry') };
  const ask = <T>(what: string, latency: readonly [number, number], effect: () => T) =>
    registry.request(who, what, latency, effect).catch((error: unknown) => {
      throw error instanceof NoAnswer ? new RegistryError('Unavailable', error.message, { mayPass: true }) : error;
    });
  return {
    verify: (repository, digest, depth) =>
      ask(`verify ${digest}`, depth === 'Meta' ? [20, 500] : [500, 60_000], () => {
        const found = registry.verify(formatRepository(repository), digest, depth, name);
        if (found === 'Missing') throw new RegistryError('NotFound', `the registry does not have ${digest}`);
        if (found === 'Corrupt') throw new RegistryError('Corrupt', `bytes of ${digest} are not what they should be`);
        return { ...noManifest, digest };
      }),
    delete: (repository, digest) =>
      ask(`delete ${digest}`, [20, 500], () =>
        registry.delete(formatRepository(repository), digest, name) === 'Deleted' ? 'Deleted' : 'Gone',
      ),
    sweep: (repository, tagPrefix) =>
      ask(`sweep ${tagPrefix}`, [20, 500], () => registry.sweep(formatRepository(repository), tagPrefix, name)),
  };
}

/** Nobody looks into it. */
export const noManifest: ImageManifest = {
  digest: '',
  bytes: 0,
  config: { mediaType: '', digest: '', size: 0 },
  layers: [],
};
