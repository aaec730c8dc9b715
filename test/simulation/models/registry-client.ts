import { LABELS } from '../../../crds/names.ts';
import type { BackupRegistryClient } from '../../../operator/backups/controller.ts';
import { RegistryError } from '../../../registry/errors.ts';
import { formatRepository } from '../../../registry/repository.ts';
import { requireAnnotations, type ImageManifest } from '../../../registry/manifest.ts';
import type { Process } from '../engine/process.ts';
import { NoAnswer } from './registry.ts';
import type { PushedBackup, RegistryModel } from './registry.ts';

/** The registry as an operator pod asks it. */
export function registryClientOf(registry: RegistryModel, name: string, process: Process): BackupRegistryClient {
  const who = { name, process, random: process.random.fork('registry') };
  const ask = <T>(what: string, latency: readonly [number, number], effect: () => T) =>
    registry.request(who, what, latency, effect).catch((error: unknown) => {
      throw error instanceof NoAnswer ? new RegistryError('Unavailable', error.message, { mayPass: true }) : error;
    });
  return {
    verify: (repository, digest, depth, { annotations = {} } = {}) =>
      ask(`verify ${digest}`, depth === 'Meta' ? [20, 500] : [500, 60_000], () => {
        const pushed = registry.find(formatRepository(repository), digest);
        if (pushed !== undefined) requireAnnotations(digest, { ...noManifest, annotations: annotationsOf(pushed) }, annotations);
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
  annotations: {},
};

/** As the agent puts them there. */
function annotationsOf({ uid, contentVersion }: PushedBackup): Readonly<Record<string, string>> {
  return { [LABELS.uid]: uid, [LABELS.contentVersion]: String(contentVersion) };
}
