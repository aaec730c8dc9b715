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
  const upper = optionOf(mount, 'upperdir');
  return [...(upper === undefined ? [] : [upper]), ...lowerOf(mount)];
}

/**
 * What an overlay snapshot stands on, read-only, as containerd would mount a view of it, without one being made: it is there as long as the
 * snapshot is. Undefined for mounts of another kind.
 */
export function belowOf(mounts: readonly Mount[]): readonly Mount[] | undefined {
  const [mount] = mounts;
  if (mount?.type !== 'overlay' || mounts.length > 1 || optionOf(mount, 'uidmap') !== undefined) return undefined;
  const [first, ...others] = lowerOf(mount);
  if (first === undefined) return undefined;
  // The kernel makes no overlay of one directory that nothing is written to.
  if (others.length === 0) return [{ type: 'bind', source: first, target: '', options: ['ro', 'rbind'] }];
  return [{ ...mount, options: mount.options.filter((option) => !/^(upper|work)dir=/.test(option)) }];
}

type OverlayMount = Pick<Mount, 'options'>;

function lowerOf(mount: OverlayMount): readonly string[] {
  return (optionOf(mount, 'lowerdir') ?? '').split(':').filter((path) => path !== '');
}

function optionOf({ options }: OverlayMount, name: string): string | undefined {
  return options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
}
