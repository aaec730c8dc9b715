import type { PrepareProgress } from '../copies/runtime.ts';

/** One message of containerd's progress stream, as far as it counts. */
export interface ProgressEvent {
  readonly event: string;
  readonly name: string;
  readonly progress: number;
  readonly total: number;
}

/** Bytes of every blob seen so far, by its name. */
export type BlobProgress = ReadonlyMap<string, { readonly bytes: number; readonly total: number }>;

export function withEvent(blobs: BlobProgress, { name, progress, total }: ProgressEvent): BlobProgress {
  if (name === '' || total <= 0) return blobs;
  const before = blobs.get(name);
  return new Map(blobs).set(name, {
    bytes: Math.max(before?.bytes ?? 0, Math.min(progress, total)),
    total: Math.max(before?.total ?? 0, total),
  });
}

/** The sum of it. Once every byte is here, what remains is unpacking. */
export function progressOf(blobs: BlobProgress): PrepareProgress {
  const all = [...blobs.values()];
  const bytes = all.reduce((sum, blob) => sum + blob.bytes, 0);
  const totalBytes = all.reduce((sum, blob) => sum + blob.total, 0);
  return { phase: totalBytes > 0 && bytes === totalBytes ? 'Unpacking' : 'Pulling', bytes, totalBytes };
}
