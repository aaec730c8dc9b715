import { z } from 'zod';
import { AttemptError } from '../copies/attempt-error.ts';
import { parseJSON } from '../containerd/json.ts';
import type { ImageProcess } from '../security/process.ts';

export interface BlobDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const descriptor = z.object({
  mediaType: z.string(),
  digest: z.string(),
  size: z.number(),
  platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
});
const indexSchema = z.object({ manifests: z.array(descriptor) });
const manifestSchema = z.object({ config: descriptor, layers: z.array(descriptor) });
const strings = z.array(z.string()).nullish();
const configSchema = z.object({
  config: z
    .object({
      Entrypoint: strings,
      Cmd: strings,
      Env: strings,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(z.string()).min(1) }),
});

/** What an image says about its process and user. Kept with a container, so that a start in place needs no image. */
export interface ImageDefaults extends ImageProcess {
  readonly user: string;
}

/** The image's configuration as far as a container needs it. */
export interface ImageConfig {
  readonly defaults: ImageDefaults;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIDs: readonly string[];
}

export function isIndex(mediaType: string): boolean {
  return (
    mediaType === 'application/vnd.oci.image.index.v1+json' || mediaType === 'application/vnd.docker.distribution.manifest.list.v2+json'
  );
}

/**
 * The manifest of an index for this machine.
 * @throws AttemptError `ImageUnsuitable` when it has none.
 */
export function chooseManifest(image: string, index: string, architecture: string): BlobDescriptor {
  const { manifests } = parse(image, 'index', indexSchema, index);
  const chosen = manifests.find(({ platform }) => platform?.os === 'linux' && platform.architecture === architecture);
  if (chosen === undefined) throw new AttemptError('ImageUnsuitable', `The image ${image} is not made for linux/${architecture}.`);
  return chosen;
}

/** The manifest's configuration blob. */
export function configOf(image: string, manifest: string): BlobDescriptor {
  return parse(image, 'manifest', manifestSchema, manifest).config;
}

export function parseImageConfig(image: string, content: string): ImageConfig {
  const { config, rootfs } = parse(image, 'configuration', configSchema, content);
  return {
    defaults: {
      entrypoint: config?.Entrypoint ?? [],
      cmd: config?.Cmd ?? [],
      env: config?.Env ?? [],
      workingDir: config?.WorkingDir ?? '',
      user: config?.User ?? '',
    },
    diffIDs: rootfs.diff_ids,
  };
}

/** Name of the snapshot of the topmost layer: each chain id is the hash of the one below and the layer's own digest. */
export function chainID(diffIDs: readonly string[], sha256: (text: string) => string): string {
  return diffIDs.reduce((chain, diffID) => (chain === '' ? diffID : sha256(`${chain} ${diffID}`)), '');
}

function parse<T>(image: string, what: string, schema: z.ZodType<T>, content: string): T {
  const result = schema.safeParse(parseJSON(content));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new AttemptError(
    'ImageUnsuitable',
    `The ${what} of the image ${image} is not one of an OCI image: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`,
  );
}
