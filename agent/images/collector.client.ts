import type { ContainerdConnection } from '../containerd/connection.client.ts';
import { isNotFound } from '../containerd/containerd-error.ts';
import { listContainers } from '../containerd/containers.client.ts';
import { LeasesService } from '../containerd/gen/services/leases/v1/leases.ts';
import { Kind, SnapshotsService } from '../containerd/gen/services/snapshots/v1/snapshots.ts';
import { LABELS } from '../../crds/names.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { CollectableImage, ImageUses } from './collect.ts';
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
 * Removes images that nothing stands on: those of backups soon, the others when the disk runs full, the longest unused first, until there is room
 * again. What is removed is pulled again when it is needed. Nothing else removes images: neither kubelet nor containerd looks into this namespace.
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

  /** Removes what has to go; returns the names of what went. */
  async collect(): Promise<readonly string[]> {
    const removed: string[] = [];
    try {
      await this.#collectBackups(removed);
      await this.#makeRoom(removed);
    } finally {
      if (removed.length > 0) this.#options.onRemoved();
    }
    return removed;
  }

  /** The image of a backup holds the files of a sandbox: it goes when nothing stands on it any more, however much room there is. */
  async #collectBackups(removed: string[]): Promise<void> {
    const { images, logger } = this.#options;
    for (let name = await this.#removable('backups'); name !== undefined; name = await this.#removable('backups')) {
      if (!(await images.remove(name))) continue;
      removed.push(name);
      logger.info({ image: name }, 'Removed the image of a backup on which nothing stands any more');
    }
  }

  /** Removes unused images until there is as much room as there should be. */
  async #makeRoom(removed: string[]): Promise<void> {
    const { images, collection, usedPercent, logger } = this.#options;
    const { highPercent, lowPercent } = collection;
    if ((await usedPercent()) <= highPercent) return;
    for (let used = await usedPercent(); used > lowPercent; used = await usedPercent()) {
      const name = await this.#removable('all');
      if (name === undefined) {
        logger.warn({ used: Math.round(used), lowPercent }, 'The disk is full, and every image that is left is in use or was a moment ago');
        return;
      }
      if (!(await images.remove(name))) continue;
      removed.push(name);
      logger.info({ image: name, used: Math.round(used) }, 'Removed unused image');
    }
  }

  /** The unused image that goes next. Each time anew: what was unused a moment ago may be in use now. */
  async #removable(which: 'all' | 'backups'): Promise<string | undefined> {
    const { images, collection, clock } = this.#options;
    // What it is used by first: who begins to use an image after that is seen at it.
    const isWanted = ({ isBackup }: CollectableImage) => which === 'all' || isBackup;
    if (!(await images.collectable()).some(isWanted)) return undefined;
    const uses = await this.#uses();
    const candidates = (await images.collectable()).filter(isWanted);
    return removableImages(candidates, uses, { now: clock.monotonic(), minimumAgeMs: collection.minimumAgeMs })[0];
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
