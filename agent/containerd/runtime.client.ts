import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LABELS } from '../../crds/names.ts';
import { type Clock, sleep } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { AttemptError } from '../copies/attempt-error.ts';
import type {
  Attempt,
  BackupProgress,
  BackupRequest,
  CopyKey,
  CopyNote,
  CopyRuntime,
  ExitStatus,
  ImageCredential,
  LocalBackup,
  PreparedCopy,
  PrepareProgress,
  RuntimeCopy,
  RuntimeEvent,
  StartedCopy,
} from '../copies/runtime.ts';
import { Images } from '../images/images.client.ts';
import { failpoint } from '../failpoints.ts';
import { seccompProfile } from '../security/seccomp.ts';
import type { TaskRuntime } from '../tasks/runtime.ts';
import { Backups } from './backups.client.ts';
import { Cgroups, type CgroupOptions } from './cgroups.client.ts';
import { ContainerdConnection, openNamespace, requirePlugins } from './connection.client.ts';
import { ContainerdError, isAmbiguous, isNotFound, status } from './containerd-error.ts';
import { listContainers } from './containers.client.ts';
import { CopyCreator } from './create.client.ts';
import { type ContainerdEvent, followEvents } from './events.client.ts';
import { Container, ContainersService } from './gen/services/containers/v1/containers.ts';
import { Status } from './gen/types/task/task.ts';
import { Freezes } from './freezes.client.ts';
import { Housekeeping, type HousekeepingSettings, logDirectoryIn } from './housekeeping.client.ts';
import { copiesOf } from './inventory.ts';
import { keepFile } from './keep-file.client.ts';
import { copyID, noteLabels, parseCopyID, parseCopyLabels, shimGroupLabel } from './labels.ts';
import { chooseRuntime } from './probe.client.ts';
import { attemptedOf, runtimeError, runtimeFailed } from './runtime-errors.ts';
import { type OciRuntime, ociRuntimes } from './runtime-options.ts';
import { Semaphore } from './limits.client.ts';
import { OneShots } from './one-shots.client.ts';
import { ShimGroups } from './shim-groups.client.ts';
import { ContainerdTasks } from './task-runtime.client.ts';
import { Tasks } from './tasks.client.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { SnapshotsService } from './gen/services/snapshots/v1/snapshots.ts';

export interface ContainerdRuntimeOptions extends HousekeepingSettings {
  /** Absolute path of containerd's socket. */
  readonly address: string;
  /** The containerd namespace, for this installation alone. Default `berth`. */
  readonly namespace?: string;
  readonly installID: string;
  /** Names the disk; the namespace is labelled with it. */
  readonly storeID: string;
  readonly bootID: string;
  /** For logs and what the runtime itself needs. containerd must see it under the same path. */
  readonly stateDir: string;
  /** Where the OCI runtime keeps its state: on a tmpfs, one for each containerd. Default /run/berth/oci. */
  readonly runtimeRoot?: string;
  /** Default: crun when it passes a probe, else runc. */
  readonly ociRuntime?: OciRuntime | 'auto';
  readonly cgroups?: CgroupOptions;
  /** How many copies share one shim; 1: none do. Default 10. */
  readonly shimGroupSize?: number;
  /** How many containers are created at once. Default two per core. */
  readonly concurrentCreates?: number;
  /** A sandbox is paused for a backup no longer than this. Default 300 s. */
  readonly backupMaxPauseMs?: number;
  /** Default overlayfs. */
  readonly snapshotter?: string;
  /** Registries besides loopback that speak plain http, as `host:port`. */
  readonly plainHttpHosts?: readonly string[];
  /** Directory of `<host:port>/hosts.toml` files. */
  readonly registryConfigDir?: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The runtime over containerd, with what others in the agent need of it. */
export interface ContainerdRuntime extends CopyRuntime {
  readonly connection: ContainerdConnection;
  /** What tasks run on. */
  readonly tasks: TaskRuntime;
  readonly ociRuntime: OciRuntime;
  readonly containerdVersion: string;
  /** Who begins processes in containers beside their main programs goes through it: never while one is paused for a backup. */
  readonly freezes: Freezes;
  /** Removes images that nothing stands on if the disk is that full; returns their names. Happens by itself every minute. */
  collectImages(): Promise<readonly string[]>;
  /** Ends the connection; what runs goes on. */
  close(): Promise<void>;
}

/** How long containerd may be away before a call gives up. */
const awayMs = 30_000;
const retryMs = 200;

/**
 * Connects to containerd, checks that it can be used, takes over what is there and chooses the OCI runtime.
 * @throws BerthError `ContainerdTooOld`, `ContainerdIncomplete`, `NamespaceNotOurs`, `NoRuntime`, `UnsupportedArchitecture`, or ContainerdFailed when it does not answer.
 */
export async function createContainerdRuntime(options: ContainerdRuntimeOptions): Promise<ContainerdRuntime> {
  const { clock, logger, installID, stateDir } = options;
  const connection = new ContainerdConnection({ address: options.address, namespace: options.namespace ?? 'berth' });
  try {
    const labels = { [LABELS.installID]: installID, [LABELS.storeID]: options.storeID };
    const containerdVersion = await openNamespace(connection, labels);
    const hostsFile = join(stateDir, 'hosts');
    await mkdir(logDirectoryIn(stateDir), { recursive: true, mode: 0o700 });
    await keepFile(hostsFile, '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n');
    const cgroups = new Cgroups(options.cgroups ?? {});
    const seccomp = seccompProfile(process.arch);
    const runtimeRoot = options.runtimeRoot ?? '/run/berth/oci';
    const snapshotter = options.snapshotter ?? 'overlayfs';
    const transfer = {
      snapshotter,
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      plainHttpHosts: options.plainHttpHosts ?? [],
      registryConfigDir: options.registryConfigDir ?? '',
    };
    const images = new Images({ connection, clock, logger, transfer });
    const groups = new ShimGroups({ connection, size: options.shimGroupSize ?? 10, logger });
    const tasks = new Tasks({ connection, cgroups, groups, runtimeRoot, clock, logger });
    const housekeeping = new Housekeeping({ ...options, connection, images, tasks, cgroups, snapshotter, clock, logger });
    const { logs, disk } = housekeeping;
    const wanted = options.ociRuntime ?? 'auto';
    const probe = {
      connection,
      cgroups,
      architecture: process.arch,
      seccomp,
      directory: join(stateDir, 'probe'),
      hostsFile,
      runtimeRoot,
      logger,
    };
    await requirePlugins(connection, snapshotter);
    const freezes = new Freezes();
    const backups = new Backups({
      ...{ connection, images, tasks, cgroups, freezes, transfer, installID, snapshotter, clock, logger },
      ...(options.backupMaxPauseMs !== undefined && { maxPauseMs: options.backupMaxPauseMs }),
    });
    await backups.sweep();
    const [runtime] = await Promise.all([
      chooseRuntime(probe, wanted === 'auto' ? ociRuntimes : [wanted]),
      images.load(),
      restoreGroups(connection, groups),
    ]);
    const creator = new CopyCreator({
      ...{ connection, images, tasks, groups, cgroups, installID, snapshotter, runtime, runtimeRoot, seccomp, hostsFile, logs, disk },
      bootID: options.bootID,
      concurrentCreates: options.concurrentCreates ?? 2 * availableParallelism(),
    });
    const oneShots = new OneShots({
      ...{ connection, images, tasks, groups, cgroups, installID, snapshotter, runtime, runtimeRoot, seccomp, hostsFile },
      creating: new Semaphore(options.concurrentCreates ?? 2 * availableParallelism()),
    });
    housekeeping.start();
    return new Runtime({
      taskRuntime: new ContainerdTasks({ connection, cgroups, oneShots, freezes, clock }),
      ...{
        connection,
        images,
        tasks,
        groups,
        cgroups,
        creator,
        backups,
        freezes,
        installID,
        snapshotter,
        housekeeping,
        clock,
        logger,
        containerdVersion,
      },
      ociRuntime: runtime,
    });
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function restoreGroups(connection: ContainerdConnection, groups: ShimGroups): Promise<void> {
  const [containers, { tasks }] = await Promise.all([listContainers(connection, []), connection.call(TasksService.list, { filter: '' })]);
  const running = new Set(tasks.map((task) => task.id));
  const members = containers.filter(({ id }) => running.has(id));
  await groups.restore(members.map(({ id, labels }) => ({ id, group: labels[shimGroupLabel] ?? '' })));
}

interface RuntimeParts {
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly taskRuntime: TaskRuntime;
  readonly groups: ShimGroups;
  readonly cgroups: Cgroups;
  readonly creator: CopyCreator;
  readonly backups: Backups;
  readonly freezes: Freezes;
  readonly installID: string;
  readonly snapshotter: string;
  readonly housekeeping: Housekeeping;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly containerdVersion: string;
  readonly ociRuntime: OciRuntime;
}

class Runtime implements ContainerdRuntime {
  readonly connection: ContainerdConnection;
  readonly tasks: TaskRuntime;
  readonly ociRuntime: OciRuntime;
  readonly containerdVersion: string;
  readonly freezes: Freezes;
  readonly #parts: RuntimeParts;
  /** When the processes that are known to have been started were: whose exit is news. */
  readonly #started = new Map<string, number>();

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
    this.connection = parts.connection;
    this.tasks = parts.taskRuntime;
    this.ociRuntime = parts.ociRuntime;
    this.containerdVersion = parts.containerdVersion;
    this.freezes = parts.freezes;
  }

  async list(): Promise<readonly RuntimeCopy[]> {
    const { connection, installID, snapshotter, housekeeping } = this.#parts;
    const filters = [`labels."${LABELS.installID}"=="${installID}"`];
    // Containers first: a copy whose container is there has its snapshot, or will have it by the next answer.
    const containers = await listContainers(connection, filters);
    const [{ tasks }, snapshots] = await Promise.all([
      connection.call(TasksService.list, { filter: '' }),
      connection.collect(SnapshotsService.list, { snapshotter, filters }),
    ]);
    const stopped = tasks.filter((task) => task.status === Status.STOPPED);
    const exits = new Map(
      await Promise.all(stopped.map(async (task) => [task.id, await this.#parts.tasks.exitOf(task.id, task)] as const)),
    );
    const copies = copiesOf(installID, { containers, tasks, snapshots: snapshots.flatMap((answer) => answer.info), exits });
    for (const { labels } of containers) {
      const copy = parseCopyLabels(installID, labels);
      if (copy !== undefined) housekeeping.disk.limit(copy.key, copy.diskLimitBytes);
    }
    for (const { key, task } of copies) if (task.state === 'Running') this.#started.set(copyID(key), task.startTimeMs);
    return Promise.all(copies.map((copy) => this.#unlessLost(copy)));
  }

  /** A task that containerd does not list any more is no proof: what ran in it runs until its cgroup is empty. */
  async #unlessLost(copy: RuntimeCopy): Promise<RuntimeCopy> {
    const id = copyID(copy.key);
    const startTimeMs = this.#started.get(id);
    const hasRun = startTimeMs !== undefined || copy.note.contentVersion > 0;
    if (copy.task.state !== 'None' || !hasRun || (await this.#parts.tasks.isGone(id))) return copy;
    return { ...copy, task: { state: 'Running', startTimeMs: startTimeMs ?? 0 } };
  }

  async prepare(attempt: Attempt, progress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<PreparedCopy> {
    try {
      return await this.#untilAnswered(signal, () => this.#parts.creator.prepare(attempt, progress, signal));
    } catch (error) {
      if (!(error instanceof ContainerdError)) throw error;
      throw new AttemptError('RuntimeFailed', `containerd could not make the container: ${error.said}`, { cause: error });
    }
  }

  async start(key: CopyKey): Promise<StartedCopy> {
    const { connection, clock } = this.#parts;
    const id = copyID(key);
    // Before the call: the process may have exited before the answer is here.
    this.#started.set(id, Math.round(clock.now()));
    try {
      await connection.call(TasksService.start, { containerId: id, execId: '' });
    } catch (error) {
      if (!(error instanceof ContainerdError) || isAmbiguous(error)) throw error;
      return await this.#startFailed(id, error);
    }
    const startTimeMs = Math.round(clock.now());
    // Unless its exit was told already: that was its news, and the next task of this name has its own.
    if (this.#started.has(id)) this.#started.set(id, startTimeMs);
    return { startTimeMs };
  }

  async stop(key: CopyKey, graceSeconds: number, signal: AbortSignal): Promise<ExitStatus | undefined> {
    const id = copyID(key);
    const exit = await this.#untilAnswered(signal, () => this.#parts.tasks.end(id, graceSeconds, signal));
    this.#started.delete(id);
    return exit;
  }

  remove(key: CopyKey): Promise<void> {
    const { connection, tasks, snapshotter, housekeeping } = this.#parts;
    const id = copyID(key);
    const never = new AbortController().signal;
    this.#started.delete(id);
    housekeeping.disk.forget(key);
    return this.#untilAnswered(never, async () => {
      await tasks.end(id, 0, never);
      // The answer, or that it is not there, is the proof.
      const removals = [
        connection.call(ContainersService.delete, { id }).catch(unlessNotFound),
        connection.call(SnapshotsService.remove, { snapshotter, key: id }).catch(unlessNotFound),
        housekeeping.logs.remove(id),
      ];
      FAILPOINT: crashBetween(removals);
      await Promise.all(removals);
    });
  }

  readBackup(request: BackupRequest, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup> {
    return this.#parts.backups.read(request, progress, signal);
  }

  pushBackup(
    backup: LocalBackup,
    credentials: readonly ImageCredential[],
    progress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#parts.backups.push(backup, credentials, progress, signal);
  }

  dropBackup(backup: LocalBackup): Promise<void> {
    return this.#parts.backups.drop(backup);
  }

  resume(key: CopyKey): Promise<void> {
    return this.#parts.backups.resume(key);
  }

  async annotate(key: CopyKey, note: CopyNote): Promise<void> {
    const { connection } = this.#parts;
    const id = copyID(key);
    const labels = noteLabels(note, this.#started.get(id) ?? 0);
    await connection.call(ContainersService.update, {
      container: Container.fromPartial({ id, labels }),
      updateMask: Object.keys(labels).map((label) => `labels.${label}`),
    });
  }

  images(): Promise<readonly string[]> {
    return this.#parts.images.list();
  }

  subscribe(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void {
    const { connection, clock, logger, housekeeping } = this.#parts;
    housekeeping.subscribe(listener, signal);
    const onEvent = (event: ContainerdEvent) => {
      this.#translate(event).then(
        (translated) => {
          if (translated !== undefined && !signal.aborted) listener(translated);
        },
        // The copy is seen in the next list.
        (error: unknown) => logger.warn({ said: messageOf(error), event: event.kind }, 'An event of containerd could not be looked into'),
      );
    };
    void followEvents({ connection, clock, logger }, onEvent, signal);
  }

  collectImages(): Promise<readonly string[]> {
    return this.#parts.housekeeping.collector.collect();
  }

  async close(): Promise<void> {
    this.#parts.housekeeping.stop();
    await this.#parts.groups.settled();
    this.connection.close();
  }

  async #translate(event: ContainerdEvent): Promise<RuntimeEvent | undefined> {
    if (event.kind === 'Subscribed') return { kind: 'Resubscribed' };
    const key = parseCopyID(event.id);
    if (key === undefined) return undefined;
    if (event.kind !== 'Exited') return (await this.#isWhole(event.id)) ? undefined : { kind: 'Removed', key };
    // A task that was created and discarded exits too, and never ran.
    if (!this.#started.delete(event.id)) return undefined;
    return { kind: 'Exited', key, exit: await this.#parts.tasks.exitOf(event.id, event) };
  }

  /** Whether container and snapshot are there: a record that we replaced ourselves is no news. */
  async #isWhole(id: string): Promise<boolean> {
    const { connection, snapshotter } = this.#parts;
    const found = await Promise.all([
      connection.call(ContainersService.get, { id }).catch(unlessNotFound),
      connection.call(SnapshotsService.stat, { snapshotter, key: id }).catch(unlessNotFound),
    ]);
    return found.every((record) => record !== undefined);
  }

  /** A failed start is certain only when the task is still in its first state, or when the runtime says that it could not execute the program. */
  async #startFailed(id: string, error: ContainerdError): Promise<StartedCopy> {
    const { connection, tasks, clock } = this.#parts;
    const task = await tasks.get(id);
    if (task?.status === Status.RUNNING) return { startTimeMs: this.#started.get(id) ?? Math.round(clock.now()) };
    const { container } = await connection.call(ContainersService.get, { id });
    const known = runtimeError(error.said, attemptedOf(container?.spec?.value.toString('utf8') ?? ''), error);
    const neverRan = task?.status === Status.CREATED || (task?.status === Status.STOPPED && known !== undefined);
    if (!neverRan) throw error;
    this.#started.delete(id);
    await tasks.end(id, 0, new AbortController().signal);
    throw known ?? runtimeFailed(error.said, error);
  }

  /** Repeats work, which may be repeated, while containerd is away. */
  async #untilAnswered<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    const giveUpAt = clock.monotonic() + awayMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const isAway = error instanceof ContainerdError && error.grpcCode === status.unavailable;
        if (!isAway || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, retryMs, signal);
      }
    }
  }
}

/** For the crash tests: each of them may be the last that was done. */
function crashBetween([container, snapshot, log]: readonly Promise<unknown>[]): void {
  const ignore = () => undefined;
  container?.then(() => failpoint('copy.container-removed'), ignore);
  snapshot?.then(() => failpoint('copy.snapshot-removed'), ignore);
  log?.then(() => failpoint('copy.log-removed'), ignore);
}

function unlessNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
  return undefined;
}
