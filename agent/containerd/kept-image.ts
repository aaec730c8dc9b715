import { z } from 'zod';
import type { ImageDefaults } from '../images/image-content.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import { parseJSON } from './json.ts';

/** What a container's record keeps of its image, so that a start in place needs neither image nor registry. */
export interface KeptImage {
  /** Digest of the manifest that the snapshot stands on. */
  readonly digest: string;
  readonly defaults: ImageDefaults;
}

const extension = 'berth.dev/image';
const strings = z.array(z.string());
const schema = z.object({
  digest: z.string(),
  defaults: z.object({ entrypoint: strings, cmd: strings, env: strings, workingDir: z.string(), user: z.string() }),
});

export function keepImage(image: KeptImage): Record<string, Any> {
  const { digest, defaults } = image;
  return { [extension]: { typeUrl: extension, value: Buffer.from(JSON.stringify({ digest, defaults })) } };
}

/** Undefined when the record has none, or one that cannot be read. */
export function keptImage(extensions: Readonly<Record<string, Any>>): KeptImage | undefined {
  const kept = extensions[extension];
  if (kept === undefined) return undefined;
  const result = schema.safeParse(parseJSON(kept.value.toString('utf8')));
  return result.success ? result.data : undefined;
}
