import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { BackupRecord, Sandbox } from '../../crds/index.ts';
import type { Cluster } from '../harness/cluster.ts';
import type { Registry } from '../harness/registry.ts';

/** What a registry of plain http answers about a backup: the status, and its blobs when it is there. */
export async function manifestIn(
  registry: Registry,
  { repository, digest }: { readonly repository: string; readonly digest: string },
): Promise<{ readonly statusCode: number; readonly blobs: readonly string[] }> {
  const dispatcher = new Agent();
  try {
    const path = repository.slice(repository.indexOf('/') + 1);
    const { statusCode, body } = await request(`${registry.url}/v2/${path}/manifests/${digest}`, {
      dispatcher,
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    if (statusCode !== 200) {
      await body.dump();
      return { statusCode, blobs: [] };
    }
    const { config, layers } = (await body.json()) as { readonly config: Blob; readonly layers: readonly Blob[] };
    return { statusCode, blobs: [config, ...layers].map((blob) => blob.digest) };
  } finally {
    await dispatcher.destroy();
  }
}

/** The newest backup that is recorded. */
export function newestBackup({ metadata, status }: Sandbox): BackupRecord {
  const record = status.backup?.history.at(-1);
  if (record === undefined) throw new Error(`${metadata.name} has no backup`);
  return record;
}

/** The digest of the blob that only this backup has: its last layer. */
export async function lastLayerOf(registry: Registry, record: Pick<BackupRecord, 'repository' | 'digest'>): Promise<string> {
  return (await manifestIn(registry, record)).blobs.at(-1) ?? '';
}

const storage = 'registry/storage/docker/registry/v2';

/** Where a blob lies on the disk of the cluster's registry. */
export function blobFile({ dataDir }: Pick<Cluster, 'dataDir'>, digest: string): string {
  return join(dataDir, storage, 'blobs/sha256', digest.slice(7, 9), digest.slice(7), 'data');
}

/** Every manifest of a backup that the cluster's registry serves, as `repository@digest`. */
export function backupsIn({ dataDir }: Pick<Cluster, 'dataDir'>): readonly string[] {
  const repositories = join(dataDir, storage, 'repositories/backups');
  return readdirSync(repositories).flatMap((name) => {
    const below = join(repositories, name, '_manifests/revisions/sha256');
    return readdirSync(below)
      .filter((digest) => readdirSync(join(below, digest)).includes('link'))
      .map((digest) => `${name}@sha256:${digest}`);
  });
}

interface Blob {
  readonly digest: string;
}
