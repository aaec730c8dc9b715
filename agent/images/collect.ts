/** An image as the collection of unused ones sees it. */
export interface CollectableImage {
  readonly name: string;
  /** Digest of the manifest that copies stand on; undefined when it cannot be read. */
  readonly digest: string | undefined;
  /** Name of the snapshot that copies stand on; undefined when it cannot be read. */
  readonly chainID: string | undefined;
  /** Digests of the record's own content and of what is known to belong to it. */
  readonly content: readonly string[];
  /** It is a backup of a sandbox, pulled to restore it. */
  readonly isBackup: boolean;
  /** An administrator loaded it by hand: nobody could bring it back. */
  readonly isPreloaded: boolean;
  /** It is being pulled, or something is being made from it. */
  readonly isHeld: boolean;
  /** Monotonic, in milliseconds. */
  readonly lastUsed: number;
}

/** What of containerd's namespace stands on images, whoever made it. */
export interface ImageUses {
  readonly snapshots: readonly { readonly name: string; readonly parent: string; readonly isCommitted: boolean }[];
  /** Names and digests that containers and snapshots name. */
  readonly named: ReadonlySet<string>;
  /** Ids of what leases hold: digests and names of snapshots. */
  readonly leased: ReadonlySet<string>;
}

/** The images that may be removed, the longest unused first. What cannot be read, and so cannot be told, stays. */
export function removableImages(
  images: readonly CollectableImage[],
  uses: ImageUses,
  { now, minimumAgeMs }: { readonly now: number; readonly minimumAgeMs: number },
): readonly string[] {
  const standing = basesInUse(uses.snapshots);
  return images
    .filter((image) => !image.isHeld && !image.isPreloaded && now - image.lastUsed >= minimumAgeMs)
    .filter(({ name, digest, chainID, content }) => {
      if (digest === undefined || chainID === undefined) return false;
      const isNamed = uses.named.has(name) || [digest, ...content].some((one) => uses.named.has(one));
      const isLeased = uses.leased.has(chainID) || [digest, ...content].some((one) => uses.leased.has(one));
      return !isNamed && !isLeased && !standing.has(chainID);
    })
    .toSorted((a, b) => a.lastUsed - b.lastUsed || a.name.localeCompare(b.name))
    .map(({ name }) => name);
}

/** Every snapshot below one that can be written or looked at. */
function basesInUse(snapshots: ImageUses['snapshots']): ReadonlySet<string> {
  const parents = new Map(snapshots.map(({ name, parent }) => [name, parent]));
  const below = (name: string): readonly string[] => {
    const parent = parents.get(name) ?? '';
    return parent === '' ? [] : [parent, ...below(parent)];
  };
  return new Set(snapshots.filter(({ isCommitted }) => !isCommitted).flatMap(({ name }) => below(name)));
}
