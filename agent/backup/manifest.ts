import { z } from 'zod';
import { backupTagPrefix, LABELS } from '../../crds/names.ts';
import type { BackupRequest } from '../copies/runtime.ts';
import { parseJSON } from '../containerd/json.ts';
import type { BlobDescriptor } from '../images/image-content.ts';

/**
 * A backup is an image: the layers of the base image and above them one layer with everything that is different in the copy. So each backup
 * stands for itself, and a copy that was restored from one has the same base again.
 */

const annotation = {
  backupID: 'berth.dev/backup-id',
  baseLayers: 'berth.dev/base-layers',
} as const;
const madeBy = 'berth backup';
const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
export const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const configType = 'application/vnd.oci.image.config.v1+json';

/** What a backup stands on. */
export interface BackupBase {
  /** Digest of the base image's manifest. */
  readonly digest: string;
  readonly layers: readonly BlobDescriptor[];
  /** Of the layers, lowest first. */
  readonly diffIDs: readonly string[];
  /** The image's configuration, read. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** What an image's annotations say of a backup; undefined: it is none. */
export interface BackupAnnotations {
  readonly baseDigest: string;
  /** How many of its layers are those of the base image. */
  readonly baseLayers: number;
}

const manifestSchema = z.object({
  annotations: z.record(z.string(), z.string()).nullish(),
  layers: z.array(z.object({ mediaType: z.string(), digest: z.string(), size: z.number() })),
});
const configSchema = z.looseObject({ rootfs: z.looseObject({ diff_ids: z.array(z.string()) }), history: z.array(z.unknown()).nullish() });

export function backupAnnotations(manifest: string): BackupAnnotations | undefined {
  const read = manifestSchema.safeParse(parseJSON(manifest));
  const annotations = read.success ? (read.data.annotations ?? {}) : {};
  const [baseDigest, layers] = [annotations[LABELS.baseDigest], annotations[annotation.baseLayers]];
  if (baseDigest === undefined || layers === undefined || !/^[1-9]\d{0,3}$/.test(layers)) return undefined;
  return { baseDigest, baseLayers: Number(layers) };
}

/**
 * The base of what stands on an image: the image itself, or the one below it when it is a backup. Undefined when `baseDigest` is neither, or when the
 * image's parts do not fit each other.
 */
export function backupBase(
  { manifest, config }: { readonly manifest: string; readonly config: string },
  manifestDigest: string,
  baseDigest: string,
): BackupBase | undefined {
  const [layers, whole] = [manifestSchema.safeParse(parseJSON(manifest)), configSchema.safeParse(parseJSON(config))];
  if (!layers.success || !whole.success) return undefined;
  const backup = backupAnnotations(manifest);
  const count =
    manifestDigest === baseDigest ? layers.data.layers.length : backup?.baseDigest === baseDigest ? backup.baseLayers : undefined;
  const diffIDs = whole.data.rootfs.diff_ids;
  if (count === undefined || diffIDs.length !== layers.data.layers.length || count > diffIDs.length) return undefined;
  const history = whole.data.history?.filter((entry) => !isOurs(entry));
  return {
    digest: baseDigest,
    layers: layers.data.layers.slice(0, count).map((layer) => ({ ...layer, mediaType: ociTypeOf(layer.mediaType) })),
    diffIDs: diffIDs.slice(0, count),
    config: { ...whole.data, ...(history === undefined ? {} : { history }) },
  };
}

/** The configuration of the backup: that of the base image with one layer more. Nothing of the sandbox's own configuration is in it. */
export function backupConfig({ config, diffIDs }: BackupBase, diffID: string): string {
  const history = Array.isArray(config.history) ? { history: [...(config.history as readonly unknown[]), { created_by: madeBy }] } : {};
  return JSON.stringify({ ...config, ...history, rootfs: { type: 'layers', diff_ids: [...diffIDs, diffID] } });
}

/** The manifest. No two backups have the same, since each says which one it is. */
export function backupManifest(
  base: BackupBase,
  { key, id, contentVersion }: BackupRequest,
  { config, layer }: { readonly config: Omit<BlobDescriptor, 'mediaType'>; readonly layer: BlobDescriptor },
): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: configType, digest: config.digest, size: config.size },
    layers: [...base.layers, layer].map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    annotations: {
      [LABELS.uid]: key.uid,
      [annotation.backupID]: String(id),
      [LABELS.contentVersion]: String(contentVersion),
      [LABELS.baseDigest]: base.digest,
      [annotation.baseLayers]: String(base.layers.length),
    },
  });
}

/** The tag under which it is sent away. It is found by its digest; the tag is for people, and for what a deletion has to look for. */
export function backupTag({ key, id }: Pick<BackupRequest, 'key' | 'id'>): string {
  return `${backupTagPrefix(key.uid)}${id}`;
}

function isOurs(entry: unknown): boolean {
  return typeof entry === 'object' && entry !== null && (entry as { created_by?: unknown }).created_by === madeBy;
}

/** Docker's types for the same layers: an OCI manifest names them as OCI does. */
function ociTypeOf(mediaType: string): string {
  if (mediaType === 'application/vnd.docker.image.rootfs.diff.tar.gzip') return `${ociLayer}+gzip`;
  return mediaType === 'application/vnd.docker.image.rootfs.diff.tar' ? ociLayer : mediaType;
}
