import { readdir, readFile } from 'node:fs/promises';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { listContainers } from './containers.client.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { founderIn, idleShims, type Shim } from './leftovers.ts';
import { shimGroupLabel } from './labels.ts';
import { sendSignal } from './signal.client.ts';
import type { Tasks } from './tasks.client.ts';

export interface LeftoversOptions {
  readonly connection: ContainerdConnection;
  readonly cgroups: Cgroups;
  readonly tasks: Tasks;
  readonly clock: Clock;
  readonly logger: Logger;
}

const everyMs = 15_000;
const never = new AbortController().signal;

/**
 * What containerd has lost while it was made. When the caller of containerd's Create goes away, containerd gives the task up at once, and the
 * shim, which is in the middle of it, makes it nevertheless: a container of the OCI runtime that no call can reach any more, in a shim that
 * never ends because of it. Both are found here and removed.
 */
export class Leftovers {
  readonly #options: LeftoversOptions;
  /** Pids of those that had nothing in them at the last look. */
  #idle: ReadonlySet<number> = new Set();
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, logger } = this.#options;
    this.#timer = clock.after(everyMs, () => {
      this.look()
        .catch((error: unknown) => logger.warn({ said: messageOf(error) }, 'Could not look for what containerd has lost'))
        .finally(() => {
          if (!this.#hasEnded) this.start();
        });
    });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
  }

  /** Removes containers of the OCI runtime without a record, and ends shims that had nothing in them at the look before, too. */
  async look(): Promise<void> {
    const { tasks, logger } = this.#options;
    // Before the records: a record is there before its container is made, and until that is gone.
    const [ids, shims] = await Promise.all([tasks.known(), this.#shims()]);
    const users = await this.#users();
    const recorded = new Set(users.map(({ id }) => id));
    for (const id of ids.filter((known) => !recorded.has(known))) {
      logger.warn({ id }, 'Removing a container that containerd has lost');
      await tasks.clear(id, never);
    }
    const idle = idleShims(shims, users);
    for (const { pid, founder } of idle.filter((shim) => this.#idle.has(shim.pid))) {
      logger.warn({ pid, founder }, 'Ending a shim that nothing is in');
      // Asked to end, it removes its socket too.
      sendSignal(pid, 'SIGTERM');
    }
    this.#idle = new Set(idle.map(({ pid }) => pid));
  }

  async #users() {
    const { connection, cgroups } = this.#options;
    const containers = await listContainers(connection, []);
    const { tasks } = await connection.call(TasksService.list, { filter: '' });
    const withTask = new Set(tasks.map(({ id }) => id));
    const isLive = async (id: string) => withTask.has(id) || (await cgroups.processes(id)).length > 0;
    return Promise.all(containers.map(async ({ id, labels }) => ({ id, group: labels[shimGroupLabel] ?? '', isLive: await isLive(id) })));
  }

  /** Needs to see the machine's processes. */
  async #shims(): Promise<readonly Shim[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
    const found = await Promise.all(pids.map((pid) => this.#shimIn(pid)));
    return found.filter((shim) => shim !== undefined);
  }

  async #shimIn(pid: number): Promise<Shim | undefined> {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const founder = founderIn(line.split('\0').slice(0, -1), this.#options.connection);
    return founder === undefined ? undefined : { pid, founder };
  }
}
