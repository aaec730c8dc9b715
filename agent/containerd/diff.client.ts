import { isAborted } from '../../process/abort.ts';
import { type Clock, sleep } from '../../process/clock.ts';
import type { BlobDescriptor } from '../images/image-content.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { endWrite } from './content.client.ts';
import { ContentService } from './gen/services/content/v1/content.ts';
import { DiffRequest, DiffService } from './gen/services/diff/v1/diff.ts';
import type { Mount } from './gen/types/mount.ts';

export interface Difference {
  readonly left: readonly Mount[];
  readonly right: readonly Mount[];
  /** Names what is being written. */
  readonly ref: string;
  readonly lease: string;
}

const layer = 'application/vnd.oci.image.layer.v1.tar';
const deadlineMs = 3_600_000;
const [firstLookMs, lookMs] = [25, 250];
/** A comparison that has written nothing so long after it was to be cancelled is given up as it is: it may hang before its first byte. */
const writerMs = 10_000;

/** containerd's comparison of two trees of files. */
export class Differ {
  readonly #connection: ContainerdConnection;
  readonly #clock: Clock;
  /** zstd is four times as fast as gzip, and not in every containerd. */
  #compression: 'zstd' | 'gzip' = 'zstd';

  constructor(connection: ContainerdConnection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  /**
   * What is in `right` and not in `left`, as a layer. Settles only when containerd reads no more; nothing of what was not finished is left.
   * Rejects with a ContainerdError, or with the signal's reason when aborted.
   */
  async compare(difference: Difference, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<BlobDescriptor> {
    const type = this.#compression;
    try {
      return await this.#compare(`${layer}+${type}`, difference, onBytes, signal);
    } catch (error) {
      const isUnknown = error instanceof ContainerdError && error.grpcCode === status.unimplemented;
      if (!isUnknown || type === 'gzip') throw error;
      this.#compression = 'gzip';
      return this.compare(difference, onBytes, signal);
    }
  }

  /** A cancelled call is not over before its writer is gone: it is waited for, and for the writer to come before that. */
  async #compare(
    mediaType: string,
    { left, right, ref, lease }: Difference,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<BlobDescriptor> {
    signal.throwIfAborted();
    const [cancel, ended] = [new AbortController(), new AbortController()];
    const request = DiffRequest.fromPartial({ left: [...left], right: [...right], mediaType, ref });
    const call = this.#connection.call(DiffService.diff, request, { deadlineMs, lease, signal: cancel.signal });
    void this.#watch(ref, onBytes, () => cancel.abort(signal.reason), signal, ended.signal);
    try {
      const { diff } = await call;
      if (diff === undefined) throw new ContainerdError(DiffService.diff.path, status.unknown, 'no layer');
      return { mediaType: diff.mediaType, digest: diff.digest, size: diff.size };
    } catch (error) {
      // Why it failed is what counts: a write that can not be ended now is when the agent starts next.
      await endWrite(this.#connection, this.#clock, ref).catch(() => undefined);
      throw signal.aborted ? (signal.reason as Error) : error;
    } finally {
      ended.abort(new Error('the comparison has ended'));
    }
  }

  /** Tells how much is written, and cancels when that is wanted: as soon as the writer is there, or does not come. Never rejects. */
  async #watch(ref: string, onBytes: (bytes: number) => void, cancel: () => void, wanted: AbortSignal, ended: AbortSignal): Promise<void> {
    let [isSeen, wantedSince]: [boolean, number | undefined] = [false, undefined];
    while (!ended.aborted) {
      const written = await this.#written(ref);
      isSeen ||= written !== undefined;
      const now = this.#clock.monotonic();
      if (wanted.aborted) wantedSince ??= now;
      if (wantedSince !== undefined && (isSeen || now - wantedSince >= writerMs)) {
        cancel();
        return;
      }
      if (written !== undefined && !isAborted(ended)) onBytes(written);
      const pause = isSeen ? lookMs : firstLookMs;
      await sleep(this.#clock, pause, isSeen && !wanted.aborted ? AbortSignal.any([wanted, ended]) : ended).catch(() => undefined);
    }
  }

  async #written(ref: string): Promise<number | undefined> {
    try {
      return (await this.#connection.call(ContentService.status, { ref })).status?.offset;
    } catch {
      // Not there yet, or containerd is away: the call itself tells.
      return undefined;
    }
  }
}
