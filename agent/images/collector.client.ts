import type { ContainerdConnection } from '../containerd/connection.client.ts';
import { isNotFound } from '../containerd/containerd-error.ts';
import { listContainers } from '../containerd/containers.client.ts';
import { LeasesService } from '../containerd/gen/services/leases/v1/leases.ts';
import { Kind, SnapshotsService } from '../containerd/gen/services/snapshots/v1/snapshots.ts';
import { LABELS } from '../../crds/names.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { ImageUses } from './collect.ts';
import { removableImages } from './collect.ts';
import type { Images } from './images.client.ts';

/** When images that nothing stands on are removed. */
export interface ImageCollection {
  /** Above this share of the disk, in percent, unused images are removed. */
  readonly highPercent: number;
  /** Until no more than this share is used. */
  readonly lowPercent: number;
  /** An image is kept so long after it was last used. */
  readonly minimumAgeMs: number;
}

export interface ImageCollectorOptions {
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly snapshotter: string;
  readonly collection: ImageCollection;
  /** How much of the disk with the images is used, in percent. */
  readonly usedPercent: () => Promise<number>;
  /** Images have gone. */
  readonly onRemoved: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How often it is looked, in milliseconds. Default 60,000. */
  readonly everyMs?: number;
}

/**
 * Removes images that nothing stands on when the disk runs full, the longest unused first, until there is room again. What is removed is
 * pulled again when it is needed. Nothing else removes images: neither kubelet nor containerd looks into this namespace.
 */
export class ImageCollector {
  readonly #options: ImageCollectorOptions;
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: ImageCollectorOptions) {
    this.#options = options;
  }

  /** Looks again and again. */
  start(): void {
    const { clock, logger, everyMs = 60_000 } = this.#options;
    this.#timer = clock.after(everyMs, () => {
      this.collect()
        .catch((error: unknown) => logger.warn({ said: messageOf(error) }, 'Unused images could not be removed'))
        .finally(() => {
          if (!this.#hasEnded) this.start();
        });
    });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  /** Removes as much as is needed; returns the names of what went. */
  async collect(): Promise<readonly string[]> {
    const { images, collection, usedPercent, clock, logger, onRemoved } = this.#options;
    const { highPercent, lowPercent, minimumAgeMs } = collection;
    if ((await usedPercent()) <= highPercent) return [];
    const removed: string[] = [];
    try {
      // Each time anew: what was unused a moment ago may be in use now.
      for (;;) {
        const used = await usedPercent();
        if (used <= lowPercent) break;
        const uses = await this.#uses();
        const [name] = removableImages(await images.collectable(), uses, { now: clock.monotonic(), minimumAgeMs });
        if (name === undefined) {
          logger.warn(
            { used: Math.round(used), lowPercent },
            'The disk is full, and every image that is left is in use or was a moment ago',
          );
          break;
        }
        if (!(await images.remove(name))) continue;
        removed.push(name);
        logger.info({ image: name, used: Math.round(used) }, 'Removed unused image');
      }
    } finally {
      if (removed.length > 0) onRemoved();
    }
    return removed;
  }

  /** Leases first, snapshots last: what is being made is leased before it has a snapshot. */
  async #uses(): Promise<ImageUses> {
    const { connection, snapshotter } = this.#options;
    const { leases } = await connection.call(LeasesService.list, { filters: [] });
    const leased = await Promise.all(leases.map((lease) => this.#resourcesOf(lease.id)));
    const containers = await listContainers(connection, []);
    const snapshots = (await connection.collect(SnapshotsService.list, { snapshotter, filters: [] })).flatMap(({ info }) => info);
    const labelled = [...containers, ...snapshots].map(({ labels }) => labels[LABELS.baseDigest] ?? '');
    return {
      snapshots: snapshots.map(({ name, parent, kind }) => ({ name, parent, isCommitted: kind === Kind.COMMITTED })),
      named: new Set([...containers.map(({ image }) => image), ...labelled].filter((name) => name !== '')),
      leased: new Set(leased.flat()),
    };
  }

  async #resourcesOf(id: string): Promise<readonly string[]> {
    try {
      const { resources } = await this.#options.connection.call(LeasesService.listResources, { id });
      return resources.map((resource) => resource.id);
    } catch (error) {
      // It has ended in the meantime.
      if (isNotFound(error)) return [];
      throw error;
    }
  }
}
