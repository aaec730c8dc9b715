import { Status } from '../containerd/gen/types/task/task.ts';
import type { ContainerdConnection } from '../containerd/connection.client.ts';
import { isNotFound } from '../containerd/containerd-error.ts';
import { ContainersService } from '../containerd/gen/services/containers/v1/containers.ts';
import { SnapshotsService } from '../containerd/gen/services/snapshots/v1/snapshots.ts';
import { TasksService } from '../containerd/gen/services/tasks/v1/tasks.ts';
import { copyID, parseCopyLabels } from '../containerd/labels.ts';
import type { CopyKey } from '../copies/runtime.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { LABELS } from '../../crds/names.ts';

/** A copy that has written more than it may. */
export interface Overrun {
  readonly key: CopyKey;
  readonly usedBytes: number;
  readonly limitBytes: number;
}

export interface DiskWatchOptions {
  readonly connection: ContainerdConnection;
  readonly installID: string;
  readonly snapshotter: string;
  readonly onOverrun: (overrun: Overrun) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long it waits between two looks at least, in milliseconds. */
  readonly everyMs: number;
}

/** At most a tenth of the time is spent on looking: one copy after the other, and many files take long. */
const restFactor = 9;

/** Measures what running copies have written, again and again, by what the snapshotter says of their own layer. */
export class DiskWatch {
  readonly #options: DiskWatchOptions;
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  start(afterMs = this.#options.everyMs): void {
    const { clock, logger, everyMs } = this.#options;
    this.#timer = clock.after(afterMs, () => {
      const begin = clock.monotonic();
      this.look()
        .catch((error: unknown) => logger.warn({ said: messageOf(error) }, 'The disk usage of sandboxes could not be measured'))
        .finally(() => {
          if (!this.#hasEnded) this.start(Math.max(everyMs, restFactor * (clock.monotonic() - begin)));
        });
    });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  /** Measures every running copy that has a limit once. */
  async look(): Promise<void> {
    const { connection, installID, onOverrun } = this.#options;
    const { tasks } = await connection.call(TasksService.list, { filter: '' });
    const running = new Set(tasks.filter((task) => task.status === Status.RUNNING).map(({ id }) => id));
    if (running.size === 0) return;
    const filters = [`labels."${LABELS.installID}"=="${installID}"`];
    const { containers } = await connection.call(ContainersService.list, { filters });
    for (const { id, labels } of containers) {
      const copy = parseCopyLabels(installID, labels);
      if (this.#hasEnded || copy === undefined || copyID(copy.key) !== id || copy.diskLimitBytes === 0 || !running.has(id)) continue;
      const usedBytes = await this.#usage(id);
      if (usedBytes > copy.diskLimitBytes) onOverrun({ key: copy.key, usedBytes, limitBytes: copy.diskLimitBytes });
    }
  }

  async #usage(key: string): Promise<number> {
    const { connection, snapshotter } = this.#options;
    try {
      return (await connection.call(SnapshotsService.usage, { snapshotter, key }, { deadlineMs: 300_000 })).size;
    } catch (error) {
      // It has gone in the meantime.
      if (isNotFound(error)) return 0;
      throw error;
    }
  }
}
