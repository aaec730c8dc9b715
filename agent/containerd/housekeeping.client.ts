import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { RuntimeEvent } from '../copies/runtime.ts';
import { DiskWatch } from '../disk/watch.client.ts';
import { type ImageCollection, ImageCollector } from '../images/collector.client.ts';
import type { Images } from '../images/images.client.ts';
import { LogFiles } from '../logs/files.client.ts';
import type { LogLimits } from '../logs/rotation.ts';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { Leftovers } from './leftovers.client.ts';
import { ShimProcesses } from './shim-processes.client.ts';
import type { Tasks } from './tasks.client.ts';

/** How an agent keeps its runner in order by itself. */
export interface HousekeepingSettings {
  /** How much of a sandbox's log is kept. Default 5 files of 10 MiB. */
  readonly logLimits?: LogLimits;
  /** When unused images are removed. Default above 85 percent of the disk of `stateDir`, down to 80, two minutes after their last use. */
  readonly imageCollection?: ImageCollection;
  /** How often it is measured what sandboxes have written, in milliseconds. Default 10,000; less often where that takes long. */
  readonly diskWatchMs?: number;
}

export interface HousekeepingOptions extends HousekeepingSettings {
  readonly stateDir: string;
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly cgroups: Cgroups;
  readonly snapshotter: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const defaults = {
  logLimits: { maxBytes: 10 * 2 ** 20, maxFiles: 5 },
  imageCollection: { highPercent: 85, lowPercent: 80, minimumAgeMs: 120_000 },
  diskWatchMs: 10_000,
} as const satisfies HousekeepingSettings;

/** Logs, images, disk limits and leftovers: what has to be looked at again and again, whatever is ordered. */
export class Housekeeping {
  readonly logs: LogFiles;
  readonly disk: DiskWatch;
  readonly collector: ImageCollector;
  readonly #leftovers: Leftovers;
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();

  constructor(options: HousekeepingOptions) {
    const { connection, images, tasks, cgroups, snapshotter, clock, logger, stateDir } = options;
    const { logLimits, imageCollection, diskWatchMs } = { ...defaults, ...options };
    this.logs = new LogFiles({ directory: logDirectoryIn(stateDir), limits: logLimits, clock, logger });
    this.disk = new DiskWatch({
      ...{ connection, snapshotter, clock, logger },
      onOverrun: (overrun) => this.#emit({ kind: 'DiskLimitExceeded', ...overrun }),
      everyMs: diskWatchMs,
    });
    this.collector = new ImageCollector({
      ...{ connection, images, snapshotter, clock, logger },
      collection: imageCollection,
      usedPercent: () => usedPercent(stateDir),
      onRemoved: () => this.#emit({ kind: 'ImagesChanged' }),
    });
    this.#leftovers = new Leftovers({ connection, tasks, cgroups, shims: new ShimProcesses(connection), clock, logger });
  }

  start(): void {
    this.logs.start();
    this.disk.start();
    this.collector.start();
    this.#leftovers.start();
  }

  stop(): void {
    this.logs.stop();
    this.disk.stop();
    this.collector.stop();
    this.#leftovers.stop();
  }

  /** Calls `listener` for what is found until the signal aborts. */
  subscribe(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }

  #emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** Where the logs of sandboxes are. */
export function logDirectoryIn(stateDir: string): string {
  return join(stateDir, 'logs');
}

/** How much of the file system is used, as `df` counts: what only root may use counts as used. */
async function usedPercent(path: string): Promise<number> {
  const { blocks, bfree, bavail } = await statfs(path);
  const used = blocks - bfree;
  return (used * 100) / Math.max(1, used + bavail);
}
