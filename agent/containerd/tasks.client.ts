import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, messageOf } from '../../process/errors.ts';
import { type Clock, sleep } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { ExitStatus } from '../copies/runtime.ts';
import { failpoint } from '../failpoints.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isNotFound, status } from './containerd-error.ts';
import { exitStatus, lostExit } from './exit-status.ts';
import { type Process, Status } from './gen/types/task/task.ts';
import { isShimGone } from './runtime-errors.ts';
import type { ShimGroups } from './shim-groups.client.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';

export interface TasksOptions {
  readonly connection: ContainerdConnection;
  readonly cgroups: Cgroups;
  readonly groups: ShimGroups;
  /** Where the OCI runtime keeps its state. */
  readonly runtimeRoot: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const [sigkill, sigterm] = [9, 15];
/** How long a process may take to die of SIGKILL, and a lost task's processes to be ended by containerd. */
const killMs = 30_000;
const lostShimMs = 2_000;
const pollMs = 20;

/** The main processes of containers, and the proof that they ended. */
export class Tasks {
  readonly #options: TasksOptions;
  /** The containers whose main process was sent SIGKILL by `end` and is not yet removed. */
  readonly #killed = new Set<string>();

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  /** Undefined when containerd knows no task; that is no proof that nothing runs. */
  async get(id: string): Promise<Process | undefined> {
    const { connection } = this.#options;
    try {
      return (await connection.call(TasksService.get, { containerId: id, execId: '' })).process;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** How a stopped task ended. Call it while its cgroup is there. */
  async exitOf(id: string, exited: { readonly exitStatus: number; readonly exitedAt: Date | undefined }): Promise<ExitStatus> {
    const { cgroups, clock } = this.#options;
    const finishTimeMs = exited.exitedAt?.getTime() ?? Math.round(clock.now());
    return exitStatus({ status: exited.exitStatus, finishTimeMs, oomKills: await cgroups.oomKills(id), killed: this.#killed.has(id) });
  }

  /**
   * Ends the task and removes it: SIGTERM, after the grace SIGKILL. Resolves when it is proven that no process is left, with how it ended;
   * undefined when nothing was started or nothing is known of it.
   */
  async end(id: string, graceSeconds: number, signal: AbortSignal): Promise<ExitStatus | undefined> {
    const { clock } = this.#options;
    const killAt = clock.monotonic() + graceSeconds * 1000;
    let ran = false;
    for (;;) {
      signal.throwIfAborted();
      const process = await this.get(id);
      switch (process?.status) {
        case undefined:
          await this.#options.groups.leave(id, () => this.removeLost(id, signal));
          this.#killed.delete(id);
          return ran ? lostExit(Math.round(clock.now())) : undefined;
        case Status.STOPPED: {
          const exit = await this.exitOf(id, process);
          FAILPOINT: failpoint('task.exited');
          await this.delete(id, signal);
          this.#killed.delete(id);
          return exit;
        }
        case Status.CREATED:
          await this.#kill(id, sigkill);
          await this.delete(id, signal);
          return undefined;
        case Status.PAUSED:
          await this.#resume(id);
          break;
        default:
          ran = true;
          await this.#signalUntilExit(id, killAt, signal);
      }
    }
  }

  /**
   * Whether nothing is left of a container that ran and whose task containerd has lost. Waits a moment for what containerd ends itself.
   * True also when it has a task again, which then tells.
   */
  async isGone(id: string): Promise<boolean> {
    const { cgroups, clock } = this.#options;
    for (const giveUpAt = clock.monotonic() + lostShimMs; ;) {
      if ((await cgroups.processes(id)).length === 0 || (await this.get(id)) !== undefined) return true;
      if (clock.monotonic() >= giveUpAt) return false;
      await sleep(clock, pollMs);
    }
  }

  /** Removes a stopped task; what containerd has lost already counts as removed once no process is left. */
  async delete(id: string, signal: AbortSignal): Promise<void> {
    await this.#options.groups.leave(id, () => this.#delete(id, signal));
    FAILPOINT: failpoint('task.deleted');
    await this.#ended(id, signal);
  }

  async #delete(id: string, signal: AbortSignal): Promise<void> {
    const { connection, clock } = this.#options;
    for (const giveUpAt = clock.monotonic() + lostShimMs; ;) {
      try {
        await connection.call(TasksService.delete, { containerId: id });
        return;
      } catch (error) {
        if (isNotFound(error)) {
          await this.removeLost(id, signal);
          return;
        }
        // A shim that lost its last two tasks at once ends before it has answered for both. Asked again, containerd knows what is true.
        if (!hasShimGone(error) || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, pollMs, signal);
      }
    }
  }

  /** What the OCI runtime has, containers and whatever it keeps besides, and the containers of which only an empty cgroup is there. */
  async inRuntime(): Promise<readonly string[]> {
    const { cgroups } = this.#options;
    const ofRuntime = await readdir(this.#runtimeDirectory()).catch((error: unknown): readonly string[] => {
      // It has run nothing yet.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    });
    // What runs in a cgroup of which the runtime knows nothing may be somebody else's.
    const others = (await cgroups.containers()).filter((id) => !ofRuntime.includes(id));
    const processes = await Promise.all(others.map((id) => cgroups.processes(id)));
    return [...ofRuntime, ...others.filter((_, index) => processes[index]?.length === 0)];
  }

  /**
   * Ends what runs of a task that containerd does not have, and removes what the OCI runtime and the kernel keep of it: while that is there, no
   * task of this name can be made. Resolves when it is proven that no process is left.
   */
  async removeLost(id: string, signal: AbortSignal): Promise<void> {
    const { cgroups, clock, logger } = this.#options;
    for (let busySince: number | undefined; ;) {
      await this.#ended(id, signal);
      try {
        await cgroups.remove(id);
        await rm(this.#runtimeDirectory(id), { recursive: true, force: true });
        return;
      } catch (error) {
        // A process that was about to be made has come into it.
        busySince ??= clock.monotonic();
        if (isBusy(error) && clock.monotonic() < busySince + lostShimMs) await sleep(clock, pollMs, signal);
        else {
          logger.warn({ id, said: messageOf(error) }, 'What is left of a container cannot be removed');
          return;
        }
      }
    }
  }

  #runtimeDirectory(id = ''): string {
    const { runtimeRoot, connection } = this.#options;
    return join(runtimeRoot, connection.namespace, id);
  }

  /** Polite until `killAt`, then not. Returns when the task has exited or when it must be looked at anew. */
  async #signalUntilExit(id: string, killAt: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const exited = this.#exited(id, killAt - clock.monotonic() + killMs, signal);
    // It is awaited below; until then its failure is nobody's.
    exited.catch(() => undefined);
    const grace = killAt - clock.monotonic();
    if (grace > 0) {
      await this.#kill(id, sigterm);
      FAILPOINT: failpoint('task.terminated');
      const waited = new AbortController();
      const timeout = sleep(clock, grace, AbortSignal.any([signal, waited.signal])).then(
        () => 'grace over',
        () => 'exited',
      );
      await Promise.race([exited, timeout]);
      waited.abort();
      signal.throwIfAborted();
      if ((await timeout) === 'exited') return;
    }
    this.#killed.add(id);
    await this.#kill(id, sigkill);
    FAILPOINT: failpoint('task.killed');
    await exited;
  }

  /** Resolves when the task exits, and also when the answer is lost: the caller looks again. */
  async #exited(id: string, deadlineMs: number, signal: AbortSignal): Promise<void> {
    const { connection } = this.#options;
    try {
      await connection.call(TasksService.wait, { containerId: id, execId: '' }, { deadlineMs, signal });
    } catch (error) {
      if (error instanceof ContainerdError && error.grpcCode === status.deadlineExceeded)
        throw new BerthError('StopFailed', `The processes of ${id} did not end after SIGKILL.`, { cause: error });
      if (!(error instanceof ContainerdError)) throw error;
      // Not found, or the connection to containerd or to the shim broke: `end` finds out what is true now.
      await sleep(this.#options.clock, pollMs);
    }
  }

  async #kill(id: string, signalNumber: number): Promise<void> {
    const { connection } = this.#options;
    try {
      await connection.call(TasksService.kill, {
        containerId: id,
        execId: '',
        signal: signalNumber,
        all: signalNumber === sigkill,
      });
    } catch (error) {
      // It has exited in the meantime, or its shim has: who kills looks again, or deletes.
      if (!isNotFound(error) && !hasShimGone(error)) throw error;
    }
  }

  async #resume(id: string): Promise<void> {
    const { connection } = this.#options;
    await connection.call(TasksService.resume, { containerId: id });
  }

  /** The proof where containerd cannot give it: no process in the cgroup. A shim that died leaves processes for a moment; containerd ends them, else we do. */
  async #ended(id: string, signal: AbortSignal): Promise<void> {
    const { cgroups, clock } = this.#options;
    const begin = clock.monotonic();
    for (;;) {
      const processes = await cgroups.processes(id);
      if (processes.length === 0) return;
      const waited = clock.monotonic() - begin;
      if (waited > killMs)
        throw new BerthError('StopFailed', `${processes.length} processes of ${id} are left and containerd has lost its task.`);
      if (waited > lostShimMs) await cgroups.kill(id);
      await sleep(clock, pollMs, signal);
    }
  }
}

function hasShimGone(error: unknown): boolean {
  return error instanceof ContainerdError && isShimGone(error.said);
}

function isBusy(error: unknown): boolean {
  return ['EBUSY', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '');
}
