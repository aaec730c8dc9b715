import { BerthError } from '../../process/errors.ts';
import { restoreError } from '../backup/errors.ts';
import { AttemptError } from '../copies/attempt-error.ts';
import type { Attempt, AttemptSource, ContainerConfig, PreparedCopy, PrepareProgress } from '../copies/runtime.ts';
import type { LocalImage, Images } from '../images/images.client.ts';
import { failpoint } from '../failpoints.ts';
import type { SeccompProfile } from '../security/oci.ts';
import { resolveProcess } from '../security/process.ts';
import { buildSpec } from '../security/spec.ts';
import type { ResolvedUser } from '../security/users.ts';
import { packSpec } from './any.ts';
import type { Cgroups } from './cgroups.client.ts';
import { specCgroup } from './cgroups.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isAlreadyExists, isAmbiguous, isNotFound } from './containerd-error.ts';
import { Container, ContainersService } from './gen/services/containers/v1/containers.ts';
import { CreateTaskRequest, TasksService } from './gen/services/tasks/v1/tasks.ts';
import type { Mount } from './gen/types/mount.ts';
import { Status } from './gen/types/task/task.ts';
import { type KeptImage, keepImage, keptImage } from './kept-image.ts';
import { copyID, type CopyLabels, copyLabels, parseCopyLabels, snapshotLabels } from './labels.ts';
import { Semaphore } from './limits.client.ts';
import { isShimGone, runtimeError, runtimeFailed } from './runtime-errors.ts';
import { type OciRuntime, runtimeOptions } from './runtime-options.ts';
import { type ShimGroups, type ShimPlace, shimRuntime } from './shim-groups.client.ts';
import type { Tasks } from './tasks.client.ts';
import type { DiskWatch } from '../disk/watch.client.ts';
import type { LogFiles } from '../logs/files.client.ts';
import { SnapshotsService } from './gen/services/snapshots/v1/snapshots.ts';
import { settle } from './settle.ts';
import { userIn } from './user.client.ts';

/** Paths are absolute. */
export interface CreatorOptions {
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly groups: ShimGroups;
  readonly cgroups: Cgroups;
  readonly installID: string;
  readonly bootID: string;
  readonly snapshotter: string;
  readonly runtime: OciRuntime;
  /** Where the OCI runtime keeps its state: on a tmpfs. */
  readonly runtimeRoot: string;
  readonly seccomp: SeccompProfile;
  readonly hostsFile: string;
  readonly logs: LogFiles;
  readonly disk: DiskWatch;
  /** How many tasks are created at once. */
  readonly concurrentCreates: number;
}

/** What a copy is made of, besides the attempt itself. */
interface Base extends KeptImage {
  /** The image's name in containerd; for people. */
  readonly image: string;
}

type OnProgress = (progress: PrepareProgress) => void;
const noBytes = { bytes: 0, totalBytes: 0 };

/** Makes copies ready to start: snapshot, container, created task. */
export class CopyCreator {
  readonly #options: CreatorOptions;
  readonly #creating: Semaphore;
  /** Who a process is in a fresh copy, by image and request: the same for every copy, so that only the first has to look. */
  readonly #users = new Map<string, ResolvedUser>();

  constructor(options: CreatorOptions) {
    this.#options = options;
    this.#creating = new Semaphore(options.concurrentCreates);
  }

  /** `prepare` of CopyRuntime. Waits its turn when more than `concurrentCreates` tasks are being created. */
  async prepare(attempt: Attempt, progress: OnProgress, signal: AbortSignal): Promise<PreparedCopy> {
    const onProgress = creatingTaskOnce(progress);
    switch (attempt.source.kind) {
      case 'Image':
        return this.#fromImage(attempt, attempt.source.digest, onProgress, signal);
      case 'Local':
        return this.#inPlace(attempt, onProgress, signal);
      case 'Backup':
        return this.#fromBackup(attempt, attempt.source, onProgress, signal);
    }
  }

  /** The copy stands on the backup and has the base that the backup has. Named by its digest, it is pulled when it is not here. */
  async #fromBackup(
    attempt: Attempt,
    { repository, digest }: AttemptSource & { readonly kind: 'Backup' },
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<PreparedCopy> {
    const { images } = this.#options;
    const image = `${repository}@${digest}`;
    const { namespace, credentials } = attempt;
    const pull = (policy: 'IfNotPresent' | 'Always') =>
      images.using({ image, digest: '', policy, namespace, credentials }, onProgress, signal, (local) => {
        if (local.backup === undefined) throw new AttemptError('BackupCorrupt', `${image} is no backup of a sandbox.`);
        return this.#onImage(attempt, { ...local, digest: local.backup.baseDigest }, onProgress, signal);
      });
    try {
      return await pull('IfNotPresent').catch((error: unknown) => {
        // The image's record is here and its snapshots are not.
        if (!isNotFound(error)) throw error;
        images.forget(image);
        return pull('Always');
      });
    } catch (error) {
      throw restoreError(image, error);
    }
  }

  async #fromImage(attempt: Attempt, digest: string, onProgress: OnProgress, signal: AbortSignal): Promise<PreparedCopy> {
    const { images } = this.#options;
    const { image, imagePullPolicy: policy } = attempt.config;
    const request = { image, digest, policy, namespace: attempt.namespace, credentials: attempt.credentials };
    return images.using(request, onProgress, signal, async (local) => {
      try {
        return await this.#onImage(attempt, local, onProgress, signal);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        // The image's record is here and its snapshots are not.
        images.forget(local.name);
        const again = { ...request, policy: policy === 'Never' ? 'Never' : 'Always' } as const;
        return await images.using(again, onProgress, signal, (pulled) =>
          this.#onImage(attempt, pulled, onProgress, signal).catch(refuseUnpacked(image)),
        );
      }
    });
  }

  async #onImage(attempt: Attempt, local: LocalImage, onProgress: OnProgress, signal: AbortSignal): Promise<PreparedCopy> {
    onProgress({ phase: 'Creating', ...noBytes });
    try {
      await this.#fresh(attempt, local, onProgress, signal);
    } catch (error) {
      if (isAlreadyExists(error)) return this.#inPlace(attempt, onProgress, signal, local);
      throw error;
    }
    return { baseDigest: local.digest };
  }

  /** The quick way, which asks for nothing first: it fails with "already exists" when something of the copy is there. */
  #fresh(attempt: Attempt, local: LocalImage, onProgress: OnProgress, signal: AbortSignal): Promise<void> {
    const id = copyID(attempt.key);
    const userKey = JSON.stringify([local.chainID, attempt.config.runAsUser, attempt.config.runAsGroup, local.defaults.user]);
    return this.#creating.run(signal, () =>
      this.#options.groups.join(id, async (place) => {
        const prepared = this.#prepareSnapshot(attempt, local);
        const base = baseOn(local);
        const user = this.#users.get(userKey) ?? (await this.#lookUpUser(attempt.config, base, await prepared));
        this.#users.set(userKey, user);
        const [mounts] = await settle(prepared, this.#createContainer(attempt, base, user, place));
        signal.throwIfAborted();
        await this.#createTask(attempt, base, mounts, onProgress);
      }),
    );
  }

  /**
   * A new task on the snapshot that is there. It must be there, but for a `local` image to make it from. One that is there keeps its own
   * base, whatever the image's name means by now: what is recorded of a copy is what it stands on.
   */
  async #inPlace(attempt: Attempt, onProgress: OnProgress, signal: AbortSignal, local?: LocalImage): Promise<PreparedCopy> {
    const { tasks, bootID } = this.#options;
    const id = copyID(attempt.key);
    onProgress({ phase: 'Creating', ...noBytes });
    const { record, labels, mounts, madeFrom, task } = await this.#leftOf(attempt);
    if (mounts === undefined && local === undefined)
      throw new AttemptError('ContentMissing', `The files of ${attempt.namespace}/${attempt.name} are not on this runner any more.`);
    const digest = mounts === undefined ? (local?.digest ?? '') : madeFrom;
    const base = knownBase(digest, record, local) ?? (await this.#findBase(attempt, digest, onProgress, signal));
    const current = currentPlace({ record, labels }, { configHash: attempt.config.hash, bootID, baseDigest: base.digest });
    if (task?.status === Status.CREATED && current !== undefined) {
      onProgress({ phase: 'CreatingTask', ...noBytes });
      return { baseDigest: base.digest };
    }
    if (task?.status === Status.RUNNING || task?.status === Status.PAUSED)
      throw new BerthError('CopyRunning', `${attempt.namespace}/${attempt.name} runs on this runner: stop it before it is prepared again.`);
    await tasks.end(id, 0, signal);
    // What comes from Secrets may have changed under the same hash.
    const recorded = attempt.secretEnv.length === 0 ? current : undefined;
    await this.#creating.run(signal, async () => {
      const content = mounts ?? (local === undefined ? [] : await this.#prepareSnapshot(attempt, local));
      await this.#onSnapshot(attempt, base, content, recorded, onProgress, signal);
    });
    return { baseDigest: base.digest };
  }

  /** A new task on these files. `recorded`: where the container's record goes that is there and can be taken. */
  async #onSnapshot(
    attempt: Attempt,
    base: Base,
    content: readonly Mount[],
    recorded: ShimPlace | undefined,
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<void> {
    let current = recorded;
    await this.#options.groups.join(copyID(attempt.key), async (place) => {
      // A place that turns out to be gone is left for another: then the record is not the one that was there.
      if (current?.group !== place.group || current.sandbox !== place.sandbox) {
        await this.#replaceContainer(attempt, base, content, place);
        current = place;
      }
      signal.throwIfAborted();
      await this.#createTask(attempt, base, content, onProgress);
    });
  }

  /** What is there of the copy. `madeFrom`: the digest of what its snapshot stands on, empty when nobody noted it. */
  async #leftOf({ key }: Attempt) {
    const { connection, snapshotter, tasks, installID } = this.#options;
    const id = copyID(key);
    const [record, mounts, snapshot, task] = await Promise.all([
      connection.call(ContainersService.get, { id }).then(({ container }) => container, unlessNotFound),
      connection.call(SnapshotsService.mounts, { snapshotter, key: id }).then((answer) => answer.mounts, unlessNotFound),
      connection.call(SnapshotsService.stat, { snapshotter, key: id }).then(({ info }) => info, unlessNotFound),
      tasks.get(id),
    ]);
    const labels = parseCopyLabels(installID, record?.labels ?? {});
    return { record, labels, mounts, madeFrom: parseCopyLabels(installID, snapshot?.labels ?? {})?.baseDigest ?? '', task };
  }

  async #findBase(attempt: Attempt, digest: string, onProgress: OnProgress, signal: AbortSignal): Promise<Base> {
    const { image, imagePullPolicy } = attempt.config;
    const policy = imagePullPolicy === 'Never' ? 'Never' : 'IfNotPresent';
    const request = { image, digest, policy, namespace: attempt.namespace, credentials: attempt.credentials } as const;
    return baseOn(await this.#options.images.ensure(request, onProgress, signal));
  }

  async #prepareSnapshot(attempt: Attempt, local: LocalImage): Promise<readonly Mount[]> {
    const { connection, snapshotter, installID } = this.#options;
    const { key, namespace, name, config } = attempt;
    const labels = snapshotLabels(installID, { key, namespace, name, requests: config.requests, baseDigest: local.digest, ...unset });
    const request = { snapshotter, key: copyID(key), parent: local.chainID, labels };
    const { mounts } = await connection.call(SnapshotsService.prepare, request);
    FAILPOINT: failpoint('snapshot.prepared');
    return mounts;
  }

  async #replaceContainer(attempt: Attempt, base: Base, mounts: readonly Mount[], place: ShimPlace): Promise<void> {
    const { connection } = this.#options;
    const user = await this.#lookUpUser(attempt.config, base, mounts);
    // The place in a shim group cannot be updated, and the snapshot stays by a label of its own.
    await connection.call(ContainersService.delete, { id: copyID(attempt.key) }).catch(unlessNotFound);
    FAILPOINT: failpoint('container.deleted');
    await this.#createContainer(attempt, base, user, place);
  }

  async #createContainer(attempt: Attempt, base: Base, user: ResolvedUser, place: ShimPlace): Promise<void> {
    const { connection, installID, bootID, snapshotter } = this.#options;
    const { key, namespace, name, config } = attempt;
    const id = copyID(key);
    const labels = copyLabels(installID, {
      ...unset,
      key,
      namespace,
      name,
      configHash: config.hash,
      baseDigest: base.digest,
      requests: config.requests,
      diskLimitBytes: config.limits.diskBytes,
      bootID,
      shimGroup: place.group,
    });
    const container = Container.fromPartial({
      id,
      labels,
      image: base.image,
      snapshotter,
      snapshotKey: id,
      sandbox: place.sandbox,
      runtime: { name: shimRuntime, options: this.#runtimeOptions() },
      spec: packSpec(this.#spec(attempt, base, user)),
      extensions: keepImage(base),
    });
    await connection.call(ContainersService.create, { container });
    this.#options.disk.limit(key, config.limits.diskBytes);
    FAILPOINT: failpoint('container.created');
  }

  #spec({ key, name, config, secretEnv }: Attempt, base: Base, { user, home }: ResolvedUser) {
    const { cgroups, seccomp, hostsFile } = this.#options;
    const env = [...config.env, ...secretEnv];
    return buildSpec({
      ...resolveProcess({ ...config, env }, base.defaults, { hostname: name, home }),
      hostname: name,
      user,
      requests: config.requests,
      limits: config.limits,
      pidsLimit: config.pidsLimit,
      cgroupsPath: specCgroup(cgroups.layout, copyID(key)),
      swapAccounting: cgroups.swapAccounting,
      hostsFile,
      seccomp,
    });
  }

  async #createTask({ key, config }: Attempt, base: Base, mounts: readonly Mount[], onProgress: OnProgress): Promise<void> {
    const { connection, logs } = this.#options;
    onProgress({ phase: 'CreatingTask', ...noBytes });
    const log = `file://${logs.pathOf(copyID(key))}`;
    const request = CreateTaskRequest.fromPartial({
      containerId: copyID(key),
      rootfs: [...mounts],
      stdout: log,
      stderr: log,
      options: this.#runtimeOptions(),
    });
    try {
      await connection.call(TasksService.create, request);
      FAILPOINT: failpoint('task.created');
    } catch (error) {
      throw createError(error, config, base);
    }
  }

  #lookUpUser(config: ContainerConfig, base: Base, mounts: readonly Mount[]): Promise<ResolvedUser> {
    const { runAsUser, runAsGroup } = config;
    return userIn(mounts, { imageUser: base.defaults.user, runAsUser, runAsGroup });
  }

  #runtimeOptions() {
    const { runtime, runtimeRoot, cgroups } = this.#options;
    return runtimeOptions(runtime, runtimeRoot, cgroups.layout.driver);
  }
}

/** Where the container's record goes, if it is what is asked for. */
function currentPlace(
  { record, labels }: { readonly record: Container | undefined; readonly labels: CopyLabels | undefined },
  asked: Pick<CopyLabels, 'configHash' | 'bootID' | 'baseDigest'>,
): ShimPlace | undefined {
  if (record === undefined || labels === undefined) return undefined;
  const isCurrent = labels.configHash === asked.configHash && labels.bootID === asked.bootID && labels.baseDigest === asked.baseDigest;
  return isCurrent ? { group: labels.shimGroup, sandbox: record.sandbox } : undefined;
}

function baseOn({ name, digest, defaults }: LocalImage): Base {
  return { image: name, digest, defaults };
}

/** The base with this digest, from the container's record or from the image at hand. Empty: nobody noted the digest. */
function knownBase(digest: string, record: Container | undefined, local: LocalImage | undefined): Base | undefined {
  const kept = keptImage(record?.extensions ?? {});
  const known: readonly Base[] = [
    ...(record === undefined || kept === undefined ? [] : [{ image: record.image, ...kept }]),
    ...(local === undefined ? [] : [baseOn(local)]),
  ];
  return known.find((base) => digest === '' || base.digest === digest);
}

/** Labels that are not known while a copy is made. */
const unset = {
  note: { order: 0, contentVersion: 0 },
  configHash: '',
  diskLimitBytes: 0,
  bootID: '',
  startTimeMs: 0,
  shimGroup: '',
} as const;

/** A task that was not created never ran; only a broken connection leaves that open, and a shim that is gone is tried elsewhere. */
function createError(error: unknown, config: ContainerConfig, base: Base): unknown {
  if (!(error instanceof ContainerdError) || isAmbiguous(error) || isAlreadyExists(error) || isShimGone(error.said)) return error;
  const { args, cwd } = resolveProcess(config, base.defaults, { hostname: '', home: '' });
  const attempted = { command: args[0] ?? '', workingDir: cwd, memoryBytes: config.limits.memoryBytes };
  return runtimeError(error.said, attempted, error) ?? runtimeFailed(error.said, error);
}

/** Whatever is repeated inside, the caller hears once that only the task is missing. */
function creatingTaskOnce(progress: OnProgress): OnProgress {
  let told = false;
  return (step) => {
    if (step.phase === 'CreatingTask' && told) return;
    told ||= step.phase === 'CreatingTask';
    progress(step);
  };
}

function refuseUnpacked(image: string): (error: unknown) => never {
  return (error) => {
    if (isNotFound(error)) throw new AttemptError('ImageUnsuitable', `The image ${image} has no files for this machine.`, { cause: error });
    throw error;
  };
}

function unlessNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
  return undefined;
}
