import { randomUUID } from 'node:crypto';
import { type Clock, sleep } from '../../process/clock.ts';
import { sha256Hex } from '../../process/digest.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { BackupError } from '../backup/backup-error.ts';
import { pushError, readError } from '../backup/errors.ts';
import { type BackupBase, backupBase, backupConfig, backupManifest, backupTag, manifestType } from '../backup/manifest.ts';
import { failpoint } from '../failpoints.ts';
import { AttemptError } from '../copies/attempt-error.ts';
import type { BackupProgress, BackupRequest, CopyKey, ImageCredential, LocalBackup } from '../copies/runtime.ts';
import { type BlobDescriptor, chainID } from '../images/image-content.ts';
import type { Images, LocalImage } from '../images/images.client.ts';
import { type BlobProgress, sentOf, withEvent } from '../images/pull-progress.ts';
import { parseReference, storeName } from '../images/reference.ts';
import { pushImage, type TransferSettings } from '../images/transfer.client.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isAmbiguous, isNotFound } from './containerd-error.ts';
import { descriptorOf, endWrite, writeBlob } from './content.client.ts';
import { Differ } from './diff.client.ts';
import type { Freezes } from './freezes.client.ts';
import { ContentService } from './gen/services/content/v1/content.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { Image, ImagesService } from './gen/services/images/v1/images.ts';
import { LeasesService } from './gen/services/leases/v1/leases.ts';
import { SnapshotsService } from './gen/services/snapshots/v1/snapshots.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import type { Mount } from './gen/types/mount.ts';
import { Status } from './gen/types/task/task.ts';
import { belowOf } from './layers.ts';
import { backupLabel, copyID, parseCopyLabels } from './labels.ts';
import { settle } from './settle.ts';
import type { Tasks } from './tasks.client.ts';

export interface BackupsOptions {
  readonly connection: ContainerdConnection;
  readonly images: Images;
  readonly tasks: Tasks;
  readonly cgroups: Cgroups;
  readonly freezes: Freezes;
  readonly transfer: TransferSettings;
  readonly installID: string;
  readonly snapshotter: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A push that moves no byte for so long is given up. Default 300 s. */
  readonly stallMs?: number;
  /** A sandbox is paused for a backup no longer than this. Default 300 s. */
  readonly maxPauseMs?: number;
}

/** What is made for one backup while it is read, by name. */
const prefix = 'berth-backup-';
/** Before that name in the record that keeps a backup until it is dropped, as its lease does. */
const imagePrefix = 'backup.berth.dev/';
const retryMs = 200;
const awayMs = 30_000;
const mostBases = 64;
/** In characters. Somebody's image may have a configuration of megabytes, which is read anew each time. */
const mostKeptConfig = 64 * 1024;
const pushDeadlineMs = 3_600_000;
/** Only for what nobody removes: whoever made it is gone, and no agent ever starts here again. */
const leaseMs = 24 * 3_600_000;

/** What a copy stands on, and whose it is. */
interface CopyContent {
  /** The snapshot that its own stands on: of the base image, or of a backup. */
  readonly parent: string;
  readonly baseDigest: string;
  readonly namespace: string;
}

/** Backups of copies: read with containerd's Diff service, sent away with its Transfer service. */
export class Backups {
  readonly #options: Required<BackupsOptions>;
  readonly #differ: Differ;
  /** What was found of images that copies stand on, which is named by digests and never changes. Whether their layers are here still is asked each time. */
  readonly #bases = new Map<string, BackupBase>();

  constructor(options: BackupsOptions) {
    this.#options = { stallMs: 300_000, maxPauseMs: 300_000, ...options };
    this.#differ = new Differ(options.connection, options.clock);
  }

  /** `readBackup` of CopyRuntime. */
  async read(request: BackupRequest, onProgress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup> {
    const attempt = `${prefix}${copyID(request.key)}-${request.id}-${randomUUID().slice(0, 8)}`;
    try {
      return await this.#read(attempt, request, onProgress, signal);
    } catch (error) {
      await this.#forget(attempt);
      if (signal.aborted) throw signal.reason as Error;
      if (!(error instanceof ContainerdError) || isAmbiguous(error)) throw error;
      throw readError(error.said, error);
    }
  }

  /** `pushBackup` of CopyRuntime. */
  async push(
    { name, request }: LocalBackup,
    credentials: readonly ImageCredential[],
    onProgress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { connection, transfer, clock, stallMs } = this.#options;
    const reference = referenceOf(request);
    const stalled = new AbortController();
    const late = () => stalled.abort(pushError(storeName(reference), reference.host, 'context deadline exceeded'));
    let timer = clock.after(stallMs, late);
    let [blobs, told]: [BlobProgress, number] = [new Map(), -1];
    try {
      FAILPOINT: failpoint('backup.pushing');
      await pushImage(connection, transfer, name, {
        ...{ reference, credentials, deadlineMs: pushDeadlineMs },
        signal: AbortSignal.any([signal, stalled.signal]),
        onProgress: (event) => {
          blobs = withEvent(blobs, event);
          const progress = sentOf(blobs);
          if (progress.bytes === told) return;
          told = progress.bytes;
          timer.cancel();
          timer = clock.after(stallMs, late);
          onProgress(progress);
        },
      });
      FAILPOINT: failpoint('backup.pushed');
    } catch (error) {
      if (!(error instanceof ContainerdError) || isAmbiguous(error)) throw error;
      throw pushError(storeName(reference), reference.host, error.said, error);
    } finally {
      timer.cancel();
    }
  }

  /** `dropBackup` of CopyRuntime. */
  async drop({ name }: LocalBackup): Promise<void> {
    const { connection } = this.#options;
    // containerd frees the room by itself soon after: nobody waits for that.
    await connection.call(ImagesService.delete, { name, sync: false, target: undefined }).catch(unlessNotFound);
    await connection.call(LeasesService.delete, { id: name.slice(imagePrefix.length), sync: false }).catch(unlessNotFound);
  }

  /** `resume` of CopyRuntime. */
  async resume(key: CopyKey): Promise<void> {
    const { connection, tasks } = this.#options;
    const id = copyID(key);
    for (;;) {
      const status = (await tasks.get(id))?.status;
      if (status === Status.PAUSING) await sleep(this.#options.clock, retryMs / 10);
      else if (status === Status.PAUSED) await connection.call(TasksService.resume, { containerId: id }).catch(unlessNotFound);
      else return;
    }
  }

  /** Removes what agents before this one have left: only what this installation made. A paused task is left to whoever looks at the copies. */
  async sweep(): Promise<void> {
    const { connection, installID, snapshotter } = this.#options;
    const filters = [`labels."${backupLabel}"=="${installID}"`];
    const { images } = await connection.call(ImagesService.list, { filters });
    for (const { name } of images)
      await connection.call(ImagesService.delete, { name, sync: true, target: undefined }).catch(unlessNotFound);
    const views = (await connection.collect(SnapshotsService.list, { snapshotter, filters })).flatMap(({ info }) => info);
    for (const { name } of views) await connection.call(SnapshotsService.remove, { snapshotter, key: name }).catch(unlessNotFound);
    const { leases } = await connection.call(LeasesService.list, { filters });
    for (const { id } of leases) await connection.call(LeasesService.delete, { id, sync: true }).catch(unlessNotFound);
    const { statuses } = await connection.call(ContentService.listStatuses, { filters: [] });
    // containerd reads on for a while for whoever is gone. Nobody has to wait for that.
    for (const { ref } of statuses.filter((one) => one.ref.startsWith(prefix))) void this.#endWriteLater(ref);
  }

  async #endWriteLater(ref: string): Promise<void> {
    const { connection, clock, logger } = this.#options;
    await endWrite(connection, clock, ref).catch((error: unknown) => {
      logger.warn({ ref, said: messageOf(error) }, 'What is left of a backup on the runner could not be removed');
    });
  }

  async #read(
    attempt: string,
    request: BackupRequest,
    onProgress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<LocalBackup> {
    const { connection, snapshotter, installID, clock } = this.#options;
    const labels = { [backupLabel]: installID };
    const expiry = new Date(clock.now() + leaseMs).toISOString();
    const leased = connection.call(LeasesService.create, { id: attempt, labels: { ...labels, 'containerd.io/gc.expire': expiry } });
    const mounted = connection.call(SnapshotsService.mounts, { snapshotter, key: copyID(request.key) });
    const [[content, { mounts: right }]] = await settle(settle(this.#contentOf(request.key), mounted), leased);
    // Before anything is paused: this takes its time.
    const [base, isRunning] = await settle(this.#baseOf(content, request, signal), this.#runs(request.key));
    const parent = chainID(base.diffIDs, sha256);
    // What was restored stands on a backup, and is compared with what that stands on: then there is a snapshot between the two.
    const below = content.parent === parent ? belowOf(right) : undefined;
    const left = below ?? (await this.#view(attempt, parent));
    FAILPOINT: failpoint('backup.begun');
    signal.throwIfAborted();
    const compare = (until: AbortSignal) =>
      this.#differ.compare({ left, right, ref: attempt, lease: attempt }, (bytes) => onProgress({ bytes, totalBytes: 0 }), until);
    const layer = isRunning ? await this.#whilePaused(request.key, compare, signal) : await compare(signal);
    const removed =
      below === undefined ? connection.call(SnapshotsService.remove, { snapshotter, key: attempt }).catch(unlessNotFound) : undefined;
    const checked = settle(isRunning ? undefined : this.#runs(request.key), removed);
    const [image, [ranThen]] = await settle(this.#assemble(attempt, base, request, layer), checked);
    FAILPOINT: failpoint('backup.read');
    signal.throwIfAborted();
    return { ...image, request, takenWhileStopped: ranThen === false };
  }

  /** The base image's own layers, where the mounts of the copy do not say where they lie. */
  async #view(attempt: string, parent: string): Promise<readonly Mount[]> {
    const { connection, snapshotter, installID } = this.#options;
    const view = { snapshotter, key: attempt, parent, labels: { [backupLabel]: installID } };
    return (await connection.call(SnapshotsService.view, view, { lease: attempt })).mounts;
  }

  /** Compares while nothing changes the files: what runs is paused, and goes on in any case, at once when this is given up. */
  async #whilePaused(key: CopyKey, compare: (until: AbortSignal) => Promise<BlobDescriptor>, signal: AbortSignal): Promise<BlobDescriptor> {
    const goOn = () => {
      this.#untilAnswered(() => this.resume(key)).catch(() => undefined);
    };
    return this.#options.freezes.frozen(copyID(key), signal, async () => {
      const { clock, logger, maxPauseMs } = this.#options;
      const late = new AbortController();
      const timer = clock.after(maxPauseMs, () => late.abort(pausedTooLong(maxPauseMs)));
      const until = AbortSignal.any([signal, late.signal]);
      until.addEventListener('abort', goOn, { once: true });
      const begin = clock.monotonic();
      try {
        await this.#pause(key);
        FAILPOINT: failpoint('backup.paused');
        until.throwIfAborted();
        return await compare(until);
      } finally {
        timer.cancel();
        until.removeEventListener('abort', goOn);
        await this.#untilAnswered(() => this.resume(key));
        logger.info({ ...key, ms: Math.round(clock.monotonic() - begin) }, 'The sandbox was paused for a backup');
      }
    });
  }

  async #pause(key: CopyKey): Promise<void> {
    try {
      await this.#options.connection.call(TasksService.pause, { containerId: copyID(key) });
    } catch (error) {
      // It was paused before, or has ended in this moment and no process of it is left. Anything else may write on.
      if ((await this.#options.tasks.get(copyID(key)))?.status === Status.PAUSED) return;
      if (await this.#runs(key)) throw error;
    }
  }

  /** A process of the copy exists. A task that was created and not started is none; one that containerd has lost may leave some. */
  async #runs(key: CopyKey): Promise<boolean> {
    const { tasks, cgroups } = this.#options;
    const task = await tasks.get(copyID(key));
    if (task?.status === Status.CREATED) return false;
    if (task !== undefined && task.status !== Status.STOPPED) return true;
    if ((await cgroups.processes(copyID(key))).length > 0)
      throw new BerthError('CopyRunning', `Processes of ${copyID(key)} are left and containerd has lost its task.`);
    return false;
  }

  /** Configuration, manifest and a record that names them, as which they are sent away. */
  async #assemble(attempt: string, base: BackupBase, request: BackupRequest, layer: BlobDescriptor) {
    const { connection, installID } = this.#options;
    const { info } = await connection.call(ContentService.info, { digest: layer.digest });
    const diffID = info?.labels['containerd.io/uncompressed'] ?? layer.digest;
    const configText = backupConfig(base, diffID);
    const config = descriptorOf(configText);
    const layers = [...base.layers, layer];
    const text = backupManifest(base, request, { config, layer });
    const labels = {
      'containerd.io/gc.ref.content.config': config.digest,
      ...Object.fromEntries(layers.map(({ digest }, index) => [`containerd.io/gc.ref.content.l.${index}`, digest])),
    };
    const [, manifest] = await settle(
      writeBlob(connection, configText, { ref: `${attempt}-config`, lease: attempt, labels: {} }),
      writeBlob(connection, text, { ref: `${attempt}-manifest`, lease: attempt, labels }),
    );
    const name = `${imagePrefix}${attempt}`;
    const image = Image.fromPartial({ name, labels: { [backupLabel]: installID }, target: { mediaType: manifestType, ...manifest } });
    await connection.call(ImagesService.create, { image, sourceDateEpoch: undefined });
    const sizeBytes = layers.reduce((sum, { size }) => sum + size, config.size);
    return { name, digest: manifest.digest, sizeBytes };
  }

  async #contentOf(key: CopyKey): Promise<CopyContent> {
    const { connection, snapshotter, installID } = this.#options;
    const found = await connection.call(SnapshotsService.stat, { snapshotter, key: copyID(key) }).catch(unlessNotFound);
    const info = found?.info;
    const labels = parseCopyLabels(installID, info?.labels ?? {});
    if (info === undefined || labels === undefined) throw new BackupError('ContentMissing', 'The files are not on the runner any more.');
    return { parent: info.parent, baseDigest: labels.baseDigest, namespace: labels.namespace };
  }

  /** What the copy's snapshot stands on, with all layers of the base image: they go with the backup. */
  async #baseOf(
    { parent, baseDigest, namespace }: CopyContent,
    { key, credentials }: BackupRequest,
    signal: AbortSignal,
  ): Promise<BackupBase> {
    const known = await this.#standingOn(parent, baseDigest);
    if (known !== undefined && (await this.#hasLayers(known))) return known;
    const image = await this.#imageOf(key);
    if (image === undefined)
      throw new BackupError(
        'BackupFailed',
        'The image that the sandbox stands on is not on the runner any more, nor known where it came from.',
      );
    const reference = parseReference(image);
    // A restored copy stands on a backup, which is named by its digest.
    const digest = reference.digest === '' ? baseDigest : reference.digest;
    const request = { image, digest, policy: 'Always', namespace, credentials } as const;
    await this.#options.images.ensure(request, () => undefined, signal).catch(refuse);
    const again = await this.#standingOn(parent, baseDigest);
    if (again === undefined) throw new BackupError('BackupFailed', `The sandbox does not stand on the image ${image}.`);
    return again;
  }

  async #standingOn(chain: string, baseDigest: string): Promise<BackupBase | undefined> {
    const key = `${chain} ${baseDigest}`;
    const known = this.#bases.get(key);
    if (known !== undefined) return known;
    const found = await this.#lookFor(chain, baseDigest);
    if (found !== undefined && JSON.stringify(found.config).length <= mostKeptConfig) {
      const [oldest] = this.#bases.keys();
      if (oldest !== undefined && this.#bases.size >= mostBases) this.#bases.delete(oldest);
      this.#bases.set(key, found);
    }
    return found;
  }

  async #lookFor(chain: string, baseDigest: string): Promise<BackupBase | undefined> {
    const { images } = this.#options;
    const candidates = await images.onChain(chain);
    const read = async (local: LocalImage) => backupBase(await images.contents(local), local.digest, baseDigest);
    // One whose manifest is missing is none.
    const bases = await Promise.all(candidates.map((local) => read(local).catch(unlessUnsuitable)));
    return bases.find((base) => base !== undefined);
  }

  async #hasLayers({ layers }: BackupBase): Promise<boolean> {
    const { connection } = this.#options;
    const found = await Promise.all(layers.map(({ digest }) => connection.call(ContentService.info, { digest }).catch(unlessNotFound)));
    return found.every((answer) => answer !== undefined);
  }

  async #imageOf(key: CopyKey): Promise<string | undefined> {
    const found = await this.#options.connection.call(ContainersService.get, { id: copyID(key) }).catch(unlessNotFound);
    const image = found?.container?.image ?? '';
    return image === '' ? undefined : image;
  }

  /** Nothing of an attempt that was given up stays. What can not be removed now is when the agent starts next. */
  async #forget(attempt: string): Promise<void> {
    const { connection, snapshotter, clock, logger } = this.#options;
    try {
      await this.#untilAnswered(async () => {
        const name = `${imagePrefix}${attempt}`;
        await connection.call(ImagesService.delete, { name, sync: true, target: undefined }).catch(unlessNotFound);
        await connection.call(SnapshotsService.remove, { snapshotter, key: attempt }).catch(unlessNotFound);
        await connection.call(LeasesService.delete, { id: attempt, sync: true }).catch(unlessNotFound);
        for (const ref of [`${attempt}-config`, `${attempt}-manifest`]) await endWrite(connection, clock, ref);
      });
    } catch (error) {
      logger.warn({ attempt, said: messageOf(error) }, 'What is left of a backup on the runner could not be removed');
    }
  }

  /** Repeats work, which may be repeated, while containerd is away. */
  async #untilAnswered<T>(work: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const giveUpAt = clock.monotonic() + awayMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isAmbiguous(error) || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, retryMs);
      }
    }
  }
}

function referenceOf(request: BackupRequest) {
  return parseReference(`${request.repository}:${backupTag(request)}`);
}

/** Why the base image can not be had again, as the reason of a backup. */
function refuse(error: unknown): never {
  if (!(error instanceof AttemptError)) throw error;
  const code =
    error.code === 'RegistryUnavailable' || error.code === 'ImageUnauthorized' || error.code === 'OutOfDisk' ? error.code : 'BackupFailed';
  throw new BackupError(code, `Layers of the base image are missing: ${error.message}`, { cause: error });
}

function unlessUnsuitable(error: unknown): undefined {
  if (!(error instanceof AttemptError)) throw error;
  return undefined;
}

function pausedTooLong(ms: number): BackupError {
  return new BackupError(
    'BackupFailed',
    `The backup was given up: the sandbox had been paused for ${Math.round(ms / 1000)} s. Stop it to back it up, or let backups pause for longer (BERTH_BACKUP_MAX_PAUSE_SECONDS of the agent).`,
  );
}

function unlessNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
  return undefined;
}

function sha256(text: string): string {
  return `sha256:${sha256Hex(text)}`;
}
