import { Agent, request } from 'undici';
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

interface Blob {
  readonly digest: string;
}
