import { isAborted } from '../../process/abort.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { isNotFound } from './containerd-error.ts';
import { listContainers } from './containers.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { shimGroupLabel } from './labels.ts';
import { decideLeftovers, nothingLookedAt, type Shim, type ShimUser } from './leftovers.ts';
import type { ShimProcesses } from './shim-processes.client.ts';
import type { Tasks } from './tasks.client.ts';

export interface LeftoversOptions {
  readonly connection: Pick<ContainerdConnection, 'call' | 'collect'>;
  readonly cgroups: Pick<Cgroups, 'processes'>;
  readonly tasks: Pick<Tasks, 'inRuntime' | 'removeLost'>;
  readonly shims: Pick<ShimProcesses, 'end' | 'list'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

const everyMs = 15_000;

/**
 * What nobody can reach any more, found and removed: containers of the OCI runtime without a record, and shims that nothing is in. They are left
 * when the caller of containerd's Create goes away, or containerd itself: it gives the task up, and the shim, which is in the middle of it, makes
 * it nevertheless and never ends because of it.
 */
export class Leftovers {
  readonly #options: LeftoversOptions;
  readonly #ended = new AbortController();
  #before = nothingLookedAt;
  #timer: Timer | undefined;
  #isBlindTold = false;

  constructor(options: LeftoversOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, logger } = this.#options;
    const { signal } = this.#ended;
    this.#timer = clock.after(everyMs, () => {
      this.look()
        .catch((error: unknown) => {
          if (!isAborted(signal)) logger.warn({ said: messageOf(error) }, 'Could not look for what containerd has lost');
        })
        .finally(() => {
          if (!isAborted(signal)) this.start();
        });
    });
  }

  stop(): void {
    this.#ended.abort(new Error('the agent ends'));
    this.#timer?.cancel();
  }

  /** Looks once, and removes what was left at the looks before, too. */
  async look(): Promise<void> {
    const { clock, tasks, shims: processes } = this.#options;
    const before = this.#before;
    // One that fails proves nothing to the next.
    this.#before = nothingLookedAt;
    const [ids, shims] = [await tasks.inRuntime(), await processes.list()];
    const users = await this.#users(ids, shims);
    const { lost, idle, next } = decideLeftovers(before, { atMs: clock.monotonic(), ids, shims, users });
    this.#before = next;
    if (shims.length === 0 && users.some(({ isLive }) => isLive)) this.#tellBlind();
    for (const id of lost) await this.#each({ id }, () => this.#removeLost(id));
    for (const shim of idle) await this.#each({ ...shim }, () => this.#end(shim));
  }

  #tellBlind(): void {
    if (this.#isBlindTold) return;
    this.#isBlindTold = true;
    const because =
      "it needs the machine's pid namespace, CAP_SYS_PTRACE, and containerd's socket under the path that containerd calls it by";
    this.#options.logger.warn({ because }, 'The agent sees no shim although containers run: idle shims are not ended');
  }

  /** One that cannot be removed is in nobody's way. */
  async #each(about: object, remove: () => Promise<void>): Promise<void> {
    const { signal } = this.#ended;
    if (isAborted(signal)) return;
    try {
      await remove();
    } catch (error) {
      if (!isAborted(signal))
        this.#options.logger.warn({ ...about, said: messageOf(error) }, 'What containerd has lost could not be removed');
    }
  }

  async #removeLost(id: string): Promise<void> {
    const { connection, tasks, logger } = this.#options;
    const isRecorded = await connection.call(ContainersService.get, { id }).then(() => true, unlessNotFound);
    if (isRecorded) return;
    logger.warn({ id }, 'Removing a container that containerd has lost');
    await tasks.removeLost(id, this.#ended.signal);
  }

  async #end(shim: Shim): Promise<void> {
    if (await this.#options.shims.end(shim)) this.#options.logger.warn({ ...shim }, 'Ended a shim that nothing was in');
  }

  /** The records; none when there is nothing that they could tell, as each carries a whole OCI spec. */
  async #users(ids: readonly string[], shims: readonly Shim[]): Promise<readonly ShimUser[]> {
    const { connection, cgroups } = this.#options;
    const { tasks } = await connection.call(TasksService.list, { filter: '' });
    const withTask = new Set(tasks.map(({ id }) => id));
    const alive = tasks.map(({ id }) => ({ id, group: '', isLive: true }));
    if ([...ids, ...shims.map(({ founder }) => founder)].every((id) => withTask.has(id))) return alive;
    const containers = await listContainers(connection, []);
    const isLive = async (id: string) => withTask.has(id) || (await cgroups.processes(id)).length > 0;
    const users = containers.map(async ({ id, labels }) => ({ id, group: labels[shimGroupLabel] ?? '', isLive: await isLive(id) }));
    return [...alive, ...(await Promise.all(users))];
  }
}

function unlessNotFound(error: unknown): false {
  if (!isNotFound(error)) throw error;
  return false;
}
