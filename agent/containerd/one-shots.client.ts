import { chown, copyFile, stat } from 'node:fs/promises';
import { AttemptError } from '../copies/attempt-error.ts';
import type { Images, LocalImage } from '../images/images.client.ts';
import type { SeccompProfile } from '../security/oci.ts';
import { resolveProcess } from '../security/process.ts';
import { buildSpec } from '../security/spec.ts';
import type { ResolvedUser } from '../security/users.ts';
import type { OutputFile } from '../tasks/record.ts';
import type { Measures, OneShot, TaskIO, WantedFile } from '../tasks/runtime.ts';
import { startErrorOf, TaskStartError } from '../tasks/start-error.ts';
import { packSpec } from './any.ts';
import type { Cgroups } from './cgroups.client.ts';
import { specCgroup } from './cgroups.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isAlreadyExists, isAmbiguous, isNotFound } from './containerd-error.ts';
import { listContainers } from './containers.client.ts';
import { shimGroupLabel } from './labels.ts';
import { Container, ContainersService } from './gen/services/containers/v1/containers.ts';
import { SnapshotsService } from './gen/services/snapshots/v1/snapshots.ts';
import { CreateTaskRequest, TasksService } from './gen/services/tasks/v1/tasks.ts';
import type { Mount } from './gen/types/mount.ts';
import { findInRoot } from './layers.client.ts';
import type { Semaphore } from './limits.client.ts';
import { oneShotFilter, oneShotID, oneShotLabel, oneShotLabels, oneShotSnapshotLabels } from './one-shot.ts';
import { isShimGone, runtimeError, runtimeFailed } from './runtime-errors.ts';
import { type OciRuntime, runtimeOptions } from './runtime-options.ts';
import { type ShimGroups, type ShimPlace, shimRuntime } from './shim-groups.client.ts';
import type { Tasks } from './tasks.client.ts';
import { userIn } from './user.client.ts';

/** Paths are absolute. */
export interface OneShotsOptions {
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly groups: ShimGroups;
  readonly cgroups: Cgroups;
  readonly installID: string;
  readonly snapshotter: string;
  readonly runtime: OciRuntime;
  readonly runtimeRoot: string;
  readonly seccomp: SeccompProfile;
  readonly hostsFile: string;
  /** How many containers are created at once. */
  readonly creating: Semaphore;
}

const never = new AbortController().signal;
const ignore = () => undefined;

/** Containers that are made for one task and removed after it. */
export class OneShots {
  readonly #options: OneShotsOptions;

  constructor(options: OneShotsOptions) {
    this.#options = options;
  }

  /** Image, snapshot, container and created task. What is left of an attempt before this one is removed first. */
  async create(taskID: string, oneShot: OneShot, io: TaskIO, signal: AbortSignal): Promise<void> {
    const { images } = this.#options;
    const { image, imagePullPolicy: policy, namespace, credentials } = oneShot;
    try {
      await images.using({ image, digest: '', policy, namespace, credentials }, ignore, signal, async (local) => {
        try {
          await this.#make(taskID, oneShot, local, io, signal);
        } catch (error) {
          if (!isAlreadyExists(error)) throw error;
          await this.remove(taskID);
          await this.#make(taskID, oneShot, local, io, signal);
        }
      });
    } catch (error) {
      throw error instanceof AttemptError ? startErrorOf(error) : error;
    }
  }

  async measure(taskID: string): Promise<Measures> {
    const { cgroups } = this.#options;
    const id = oneShotID(taskID);
    const [cpuTimeUs, memoryPeakBytes, oomKills, refused] = await Promise.all([
      cgroups.cpuTimeUs(id),
      cgroups.memoryPeakBytes(id),
      cgroups.oomKills(id),
      cgroups.pidsRefused(id),
    ]);
    return { cpuTimeUs, memoryPeakBytes, oomKills, pidsRefused: refused > 0 };
  }

  /** Ends what runs of it and removes its task: its output is complete then. */
  async end(taskID: string): Promise<void> {
    await this.#options.tasks.end(oneShotID(taskID), 0, never);
  }

  async collect(taskID: string, files: readonly WantedFile[], mostBytes: number): Promise<readonly OutputFile[]> {
    const { connection, snapshotter } = this.#options;
    const { mounts } = await connection.call(SnapshotsService.mounts, { snapshotter, key: oneShotID(taskID) });
    const kept: OutputFile[] = [];
    for (const file of files) {
      const taken = kept.reduce((sum, { size, problem }) => sum + (problem === '' ? size : 0), 0);
      kept.push(await keepFile(mounts, file, mostBytes - taken));
    }
    return kept;
  }

  async remove(taskID: string): Promise<void> {
    const { connection, snapshotter } = this.#options;
    const id = oneShotID(taskID);
    await this.end(taskID);
    await connection.call(ContainersService.delete, { id }).catch(unlessNotFound);
    await connection.call(SnapshotsService.remove, { snapshotter, key: id }).catch(unlessNotFound);
  }

  /** The tasks of which a container or a snapshot is there. */
  async list(): Promise<readonly string[]> {
    const { connection, snapshotter, installID } = this.#options;
    const filters = [oneShotFilter(installID)];
    const [containers, snapshots] = await Promise.all([
      listContainers(connection, filters),
      connection.collect(SnapshotsService.list, { snapshotter, filters }),
    ]);
    const labels = [...containers, ...snapshots.flatMap(({ info }) => info)].map((one) => one.labels[oneShotLabel]);
    return [...new Set(labels.filter((id) => id !== undefined))];
  }

  async #make(taskID: string, oneShot: OneShot, local: LocalImage, io: TaskIO, signal: AbortSignal): Promise<void> {
    const { connection, groups, creating, snapshotter, installID } = this.#options;
    const id = oneShotID(taskID);
    await creating.run(signal, () =>
      groups.join(id, async (place) => {
        const labels = oneShotSnapshotLabels(installID, taskID);
        const { mounts } = await connection.call(SnapshotsService.prepare, { snapshotter, key: id, parent: local.chainID, labels });
        const user = await userIn(mounts, { imageUser: local.defaults.user, ...oneShot });
        await Promise.all(oneShot.files.map(({ source }) => chown(source, user.user.uid, user.user.gid)));
        await this.#createContainer(taskID, oneShot, local, user, place);
        signal.throwIfAborted();
        await this.#createTask(id, oneShot, mounts, io);
      }),
    );
  }

  async #createContainer(taskID: string, oneShot: OneShot, local: LocalImage, user: ResolvedUser, place: ShimPlace): Promise<void> {
    const { connection, installID, snapshotter } = this.#options;
    const id = oneShotID(taskID);
    const container = Container.fromPartial({
      id,
      labels: { ...oneShotLabels(installID, taskID), [shimGroupLabel]: place.group },
      image: local.name,
      snapshotter,
      snapshotKey: id,
      sandbox: place.sandbox,
      runtime: { name: shimRuntime, options: this.#runtimeOptions() },
      spec: packSpec(this.#spec(id, oneShot, local, user)),
    });
    await connection.call(ContainersService.create, { container });
  }

  #spec(id: string, oneShot: OneShot, local: LocalImage, { user, home }: ResolvedUser) {
    const { cgroups, seccomp, hostsFile } = this.#options;
    const { shareCpuMillis, cpuMillis, cpuTimeMs, memoryBytes, pids, files } = oneShot;
    return buildSpec({
      ...resolveProcess(oneShot, local.defaults, { hostname: 'task', home }),
      hostname: 'task',
      user,
      requests: { cpuMillis: shareCpuMillis, memoryBytes: 0, diskBytes: 0 },
      limits: { cpuMillis, memoryBytes, diskBytes: 0 },
      pidsLimit: pids,
      cgroupsPath: specCgroup(cgroups.layout, id),
      swapAccounting: cgroups.swapAccounting,
      hostsFile,
      seccomp,
      files,
      // Behind what the agent watches: for when it is away.
      ...(cpuTimeMs === 0 ? {} : { cpuSeconds: Math.ceil(cpuTimeMs / 1000) + 1 }),
    });
  }

  async #createTask(id: string, { command, args, workingDir, memoryBytes }: OneShot, mounts: readonly Mount[], io: TaskIO): Promise<void> {
    const { connection } = this.#options;
    const request = CreateTaskRequest.fromPartial({ containerId: id, rootfs: [...mounts], ...io, options: this.#runtimeOptions() });
    try {
      await connection.call(TasksService.create, request);
    } catch (error) {
      if (!(error instanceof ContainerdError) || isAmbiguous(error) || isAlreadyExists(error) || isShimGone(error.said)) throw error;
      const attempted = { command: command[0] ?? args[0] ?? 'of the image', workingDir, memoryBytes };
      throw runtimeError(error.said, attempted, error) ?? runtimeFailed(error.said, error);
    }
  }

  #runtimeOptions() {
    const { runtime, runtimeRoot, cgroups } = this.#options;
    return runtimeOptions(runtime, runtimeRoot, cgroups.layout.driver);
  }
}

async function keepFile(mounts: readonly Mount[], { path, to, source }: WantedFile, mostBytes: number): Promise<OutputFile> {
  const found = source === undefined ? await findInRoot(mounts, path) : { kind: 'File' as const, path: source };
  if (found.kind !== 'File') return { path, size: 0, problem: found.kind };
  const { size } = await stat(found.path);
  if (size > mostBytes) return { path, size, problem: 'TooLarge' };
  await copyFile(found.path, to);
  return { path, size, problem: '' };
}

function unlessNotFound(error: unknown): void {
  if (!isNotFound(error)) throw error;
}

/** Why a created one-shot could not be started. */
export function startFailure(error: ContainerdError, attempted: { readonly command: string; readonly workingDir: string }): TaskStartError {
  const known = runtimeError(error.said, { ...attempted, memoryBytes: 0 }, error) ?? runtimeFailed(error.said, error);
  return startErrorOf(known);
}
