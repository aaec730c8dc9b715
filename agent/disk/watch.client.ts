import { Status } from '../containerd/gen/types/task/task.ts';
import type { ContainerdConnection } from '../containerd/connection.client.ts';
import { isNotFound } from '../containerd/containerd-error.ts';
import { SnapshotsService } from '../containerd/gen/services/snapshots/v1/snapshots.ts';
import { TasksService } from '../containerd/gen/services/tasks/v1/tasks.ts';
import { copyID } from '../containerd/labels.ts';
import type { CopyKey } from '../copies/runtime.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';

/** A copy that has written more than it may. */
export interface Overrun {
  readonly key: CopyKey;
  readonly usedBytes: number;
  readonly limitBytes: number;
}

export interface DiskWatchOptions {
  readonly connection: ContainerdConnection;
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
  /** By container id. Known from what this process made and from what it found. */
  readonly #limits = new Map<string, Pick<Overrun, 'key' | 'limitBytes'>>();
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  /** The copy may write so much from now on; 0: as much as there is. */
  limit(key: CopyKey, limitBytes: number): void {
    if (limitBytes === 0) this.#limits.delete(copyID(key));
    else this.#limits.set(copyID(key), { key, limitBytes });
  }

  /** The copy is removed. */
  forget(key: CopyKey): void {
    this.#limits.delete(copyID(key));
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
    const { connection, onOverrun } = this.#options;
    if (this.#limits.size === 0) return;
    const { tasks } = await connection.call(TasksService.list, { filter: '' });
    for (const { id, status } of tasks) {
      const limit = status === Status.RUNNING ? this.#limits.get(id) : undefined;
      if (this.#hasEnded || limit === undefined) continue;
      const usedBytes = await this.#usage(id);
      if (usedBytes > limit.limitBytes) onOverrun({ ...limit, usedBytes });
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
