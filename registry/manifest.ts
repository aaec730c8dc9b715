import { z } from 'zod';
import { RegistryError } from './errors.ts';

/** Types of image manifests that are asked for: a registry may answer with no other. */
export const manifestTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
] as const;

/** A manifest that is larger is not read: 4 MiB, as registries take them. */
export const maxManifestBytes = 4 * 1024 * 1024;

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const descriptorSchema = z.object({ mediaType: z.string(), digest, size: z.number().int().nonnegative() });
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.enum(manifestTypes).optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(1_000),
  annotations: z.record(z.string(), z.string()).nullish(),
});

/** What a manifest names: a blob, its size and its type. */
export type Descriptor = Readonly<z.output<typeof descriptorSchema>>;

/** An image manifest whose bytes are those of its digest. */
export interface ImageManifest {
  readonly digest: string;
  /** Of the manifest itself. */
  readonly bytes: number;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** What whoever made it says of it. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Reads the bytes of an image manifest. @throws RegistryError `Corrupt` when they are none, as those of a list of images. */
export function parseManifest(what: string, ofDigest: string, bytes: Buffer): ImageManifest {
  const parsed = manifestSchema.safeParse(jsonOf(bytes));
  if (!parsed.success) throw new RegistryError('Corrupt', `${what}: this is no image manifest: do not use it.`);
  const { config, layers, annotations } = parsed.data;
  return { digest: ofDigest, bytes: bytes.length, config, layers, annotations: annotations ?? {} };
}

/** Config and layers, each blob once. @throws RegistryError `Corrupt` when one blob is said to have two sizes. */
export function blobsOf(what: string, { config, layers }: ImageManifest): readonly Descriptor[] {
  const all = [config, ...layers];
  const known = new Map(all.map((one) => [one.digest, one]));
  const other = all.find((one) => known.get(one.digest)?.size !== one.size);
  if (other !== undefined) throw new RegistryError('Corrupt', `${what}: the manifest names ${other.digest} with two sizes: do not use it.`);
  return [...known.values()];
}

/** The bytes of all its blobs together, each counted once. */
export function sizeOfBlobs(what: string, manifest: ImageManifest): number {
  return blobsOf(what, manifest).reduce((sum, { size }) => sum + size, 0);
}

export function hasAnnotations(manifest: ImageManifest, wanted: Readonly<Record<string, string>>): boolean {
  return firstOther(manifest, wanted) === undefined;
}

/** The first annotation that it lacks or has with another value, and the value that is wanted. */
function firstOther({ annotations }: ImageManifest, wanted: Readonly<Record<string, string>>): readonly [string, string] | undefined {
  return Object.entries(wanted).find(([name, value]) => annotations[name] !== value);
}

/** @throws RegistryError `Corrupt` when it lacks one of these, or has it with another value. */
export function requireAnnotations(what: string, manifest: ImageManifest, wanted: Readonly<Record<string, string>>): void {
  const other = firstOther(manifest, wanted);
  if (other === undefined) return;
  const [name, value] = other;
  const { annotations } = manifest;
  const says = annotations[name] === undefined ? 'nothing' : JSON.stringify(annotations[name].slice(0, 100));
  throw new RegistryError(
    'Corrupt',
    `${what}: its manifest says ${says} of ${name}, and should say ${JSON.stringify(value)}: it is something else.`,
  );
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
