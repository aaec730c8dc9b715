import type { PrepareProgress } from '../copies/runtime.ts';

/** One message of containerd's progress stream, as far as it counts. `name` begins with the kind of the blob. */
export interface ProgressEvent {
  readonly event: string;
  readonly name: string;
  readonly progress: number;
  readonly total: number;
}

interface Blob {
  readonly downloaded: number;
  /** In bytes of the compressed layer. */
  readonly unpacked: number;
  readonly total: number;
}

/** How far every blob seen so far is, by its name. */
export type BlobProgress = ReadonlyMap<string, Blob>;

export function withEvent(blobs: BlobProgress, { event, name, progress, total }: ProgressEvent): BlobProgress {
  if (name === '' || total <= 0) return blobs;
  const before = blobs.get(name) ?? { downloaded: 0, unpacked: 0, total };
  const done = Math.min(progress, total);
  const isUnpacking = event === 'extracting' || event === 'extracted';
  const after = isUnpacking
    ? { downloaded: total, unpacked: Math.max(before.unpacked, done), total }
    : { ...before, downloaded: Math.max(before.downloaded, done), total };
  return new Map(blobs).set(name, after);
}

/** The sum of it: a layer counts twice, once for coming here and once for being unpacked, so that the number only ever rises. */
export function progressOf(blobs: BlobProgress): PrepareProgress {
  const all = [...blobs];
  const sum = (of: (blob: Blob, name: string) => number) => all.reduce((total, [name, blob]) => total + of(blob, name), 0);
  const isHere = all.length > 0 && all.every(([, blob]) => blob.downloaded === blob.total);
  return {
    phase: isHere ? 'Unpacking' : 'Pulling',
    bytes: sum((blob) => blob.downloaded + blob.unpacked),
    totalBytes: sum((blob, name) => (name.startsWith('layer-') ? 2 * blob.total : blob.total)),
  };
}

/** How much of an image has been sent: each blob counts once. */
export function sentOf(blobs: BlobProgress): { readonly bytes: number; readonly totalBytes: number } {
  const all = [...blobs.values()];
  return { bytes: all.reduce((sum, blob) => sum + blob.downloaded, 0), totalBytes: all.reduce((sum, blob) => sum + blob.total, 0) };
}
