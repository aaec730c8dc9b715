import type { Mount } from './gen/types/mount.ts';

/**
 * The directories that a snapshot consists of, uppermost first. Empty for mounts that are no directories of this machine (or of a kind that is
 * not known): whoever asks then does without.
 */
export function layersOf(mounts: readonly Pick<Mount, 'type' | 'source' | 'options'>[]): readonly string[] {
  const [mount] = mounts;
  if (mount === undefined || mounts.length > 1) return [];
  if (mount.type === 'bind') return [mount.source];
  if (mount.type !== 'overlay') return [];
  const option = (name: string) => mount.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
  const upper = option('upperdir');
  return [...(upper === undefined ? [] : [upper]), ...(option('lowerdir') ?? '').split(':').filter((path) => path !== '')];
}
