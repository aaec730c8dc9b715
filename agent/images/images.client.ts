import { createHash } from 'node:crypto';
import { backupAnnotations, type BackupAnnotations } from '../backup/manifest.ts';
import { status, ContainerdError, isNotFound } from '../containerd/containerd-error.ts';
import type { ContainerdConnection } from '../containerd/connection.client.ts';
import { type Image, ImagesService } from '../containerd/gen/services/images/v1/images.ts';
import { backupLabel } from '../containerd/labels.ts';
import { KeyedLock } from '../containerd/limits.client.ts';
import { AttemptError } from '../copies/attempt-error.ts';
import type { ContainerConfig, ImageCredential, PrepareProgress } from '../copies/runtime.ts';
import { failpoint } from '../failpoints.ts';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { CollectableImage } from './collect.ts';
import { type BlobDescriptor, chainID, chooseManifest, configOf, type ImageDefaults, isIndex, parseImageConfig } from './image-content.ts';
import { hasProof, isPreloaded, proofLabels, proofsOf } from './pull-proof.ts';
import { pullError } from './pull-errors.ts';
import { type BlobProgress, progressOf, withEvent } from './pull-progress.ts';
import { type ImageReference, parseReference, storeName } from './reference.ts';
import { transferImage, type TransferSettings } from './transfer.client.ts';
import { ContentService } from '../containerd/gen/services/content/v1/content.ts';

export interface ImageRequest {
  readonly image: string;
  /** The digest that was resolved before: of the manifest or of the index that names it. Empty: whatever the image's name means now. */
  readonly digest: string;
  readonly policy: ContainerConfig['imagePullPolicy'];
  /** The Kubernetes namespace that asks. */
  readonly namespace: string;
  readonly credentials: readonly ImageCredential[];
}

/** An image that is here and unpacked. */
export interface LocalImage {
  /** Its name in containerd. */
  readonly name: string;
  /** Digest of the manifest for this machine's architecture. */
  readonly digest: string;
  /** Name of the snapshot to stand on. */
  readonly chainID: string;
  readonly defaults: ImageDefaults;
  /** What it says of the backup that it is; undefined: it is none. */
  readonly backup: BackupAnnotations | undefined;
}

export interface ImagesOptions {
  readonly connection: ContainerdConnection;
  readonly transfer: TransferSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A pull that moves no byte for so long is given up. Default 300 s. */
  readonly stallMs?: number;
  /** A pull that takes longer in all is given up. Default 60 min. */
  readonly deadlineMs?: number;
}

/** One image as containerd keeps it. `local` is read when it is first needed. */
interface KnownImage {
  readonly record: Image;
  readonly reference: ImageReference;
  /** Monotonic: when it was asked for last, or seen first. */
  lastUsed: number;
  local?: Promise<LocalImage>;
}

/** The names of images that somebody is at work with. */
class Holds {
  readonly #counts = new Map<string, number>();

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  take(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  release(name: string): void {
    const count = (this.#counts.get(name) ?? 1) - 1;
    if (count === 0) this.#counts.delete(name);
    else this.#counts.set(name, count);
  }
}

const mebibyte = 2 ** 20;

/** The images on this runner. What containerd has is kept in memory, so that a start from a present image asks nobody. */
export class Images {
  readonly #options: Required<ImagesOptions>;
  readonly #known = new Map<string, KnownImage>();
  readonly #pulls = new KeyedLock();
  readonly #holds = new Holds();
  readonly #removing = new Set<string>();
  /** Names that somebody else gave and that are no references: said once each. */
  readonly #unreadable = new Set<string>();

  constructor(options: ImagesOptions) {
    this.#options = { stallMs: 300_000, deadlineMs: 3_600_000, ...options };
  }

  /** Reads which images containerd has. Call it before `ensure`. */
  async load(): Promise<void> {
    const { connection } = this.#options;
    const { images } = await connection.call(ImagesService.list, { filters: [] });
    const names = new Set(images.map(({ name }) => name));
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name);
    for (const image of images) if (!this.#removing.has(image.name) && isImage(image) && this.#isReadable(image)) this.#remember(image);
  }

  /** The images that are here whose top layer is this snapshot. */
  async onChain(chain: string): Promise<readonly LocalImage[]> {
    const locals = await Promise.all([...this.#known.values()].map((known) => this.#local(known).catch(() => undefined)));
    return locals.filter((local) => local?.chainID === chain).filter((local) => local !== undefined);
  }

  /** The manifest and the configuration of an image that is here, as they are. */
  async contents({ name, digest }: LocalImage): Promise<{ readonly manifest: string; readonly config: string }> {
    const manifest = await this.#blob(name, { digest, mediaType: '', size: 0 });
    return { manifest, config: await this.#blob(name, configOf(name, manifest)) };
  }

  /** Whether the record's name is a reference. Other tools may name images as they like; no sandbox can ask for those. */
  #isReadable({ name }: Image): boolean {
    try {
      parseReference(name);
      return true;
    } catch (error) {
      if (!(error instanceof AttemptError)) throw error;
      if (!this.#unreadable.has(name))
        this.#options.logger.warn({ image: name, said: error.message }, "An image's name is no reference: it is left alone");
      this.#unreadable.add(name);
      return false;
    }
  }

  /** The names of the images that are present, from containerd. */
  async list(): Promise<readonly string[]> {
    await this.load();
    return [...this.#known.keys()];
  }

  /** Drops what is known of an image that turned out not to be as it was. */
  forget(name: string): void {
    this.#known.delete(name);
  }

  /**
   * The image for as long as `work` lasts: it is not removed while it is pulled or worked with. `ensure` says what comes of it.
   * @throws AttemptError, the signal's reason, or what `work` throws.
   */
  async using<T>(
    request: ImageRequest,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
    work: (local: LocalImage) => Promise<T>,
  ): Promise<T> {
    const held: string[] = [];
    const hold = (name: string) => {
      this.#holds.take(name);
      held.push(name);
    };
    try {
      return await work(await this.#ensure(request, onProgress, signal, hold));
    } finally {
      for (const name of held) this.#holds.release(name);
    }
  }

  /** Every image that is here, for those who look for what can go. */
  async collectable(): Promise<readonly CollectableImage[]> {
    await this.load();
    return Promise.all(
      [...this.#known.values()].map(async (known) => {
        const { record, lastUsed } = known;
        const local = await this.#local(known).catch(() => undefined);
        const { name, labels, target } = record;
        const content = target === undefined ? [] : [target.digest];
        return {
          ...{ name, content, lastUsed, digest: local?.digest, chainID: local?.chainID },
          isBackup: local?.backup !== undefined,
          isPreloaded: isPreloaded(labels),
          isHeld: this.#holds.has(name),
        };
      }),
    );
  }

  /** Removes an image and what belongs to nothing else. False, and nothing happens, when somebody is at work with it. */
  async remove(name: string): Promise<boolean> {
    if (this.#holds.has(name)) return false;
    // From here on nobody finds it: who asks for it now pulls it anew, once it is gone.
    this.#removing.add(name);
    this.#known.delete(name);
    try {
      const request = { name, sync: true, target: undefined };
      const remove = () => this.#options.connection.call(ImagesService.delete, request).catch(unlessNotFound);
      await this.#pulls.run(name, new AbortController().signal, remove);
    } finally {
      this.#removing.delete(name);
    }
    return true;
  }

  /**
   * The image, pulled when the policy says so or when the namespace has not shown yet that its credentials open it: an image that
   * somebody else pulled is no key. An image that an administrator loaded by hand is for everybody.
   * @throws AttemptError, or the signal's reason.
   */
  ensure(request: ImageRequest, onProgress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<LocalImage> {
    return this.#ensure(request, onProgress, signal, () => undefined);
  }

  async #ensure(
    request: ImageRequest,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
    hold: (name: string) => void,
  ): Promise<LocalImage> {
    const parsed = parseReference(request.image);
    const reference = request.digest === '' ? parsed : { ...parsed, tag: '', digest: request.digest };
    hold(storeName(reference));
    const present = await this.#find(reference, request, hold);
    if (present !== undefined) return present;
    if (request.policy === 'Never') throw await this.#refusal(reference, request);
    return this.#pulls.run(storeName(reference), signal, async () => {
      const meanwhile = await this.#find(reference, request, hold);
      return meanwhile ?? (await this.#pull(reference, request, onProgress, signal));
    });
  }

  /** A present image that may be used without asking the registry. */
  async #find(
    reference: ImageReference,
    { namespace, policy }: ImageRequest,
    hold: (name: string) => void,
  ): Promise<LocalImage | undefined> {
    if (policy === 'Always') return undefined;
    for (const known of await this.#matching(reference)) {
      const usable = isPreloaded(known.record.labels) || hasProof(known.record.labels, namespace, known.record.target?.digest ?? '');
      // It may have been removed while the others were looked at.
      if (!usable || this.#known.get(known.record.name) !== known) continue;
      hold(known.record.name);
      known.lastUsed = this.#options.clock.monotonic();
      return this.#local(known);
    }
    return undefined;
  }

  async #matching(reference: ImageReference): Promise<readonly KnownImage[]> {
    const exact = this.#known.get(storeName(reference));
    if (reference.digest === '') return exact === undefined ? [] : [exact];
    const matching: KnownImage[] = [];
    for (const known of this.#known.values()) {
      if (known.reference.host !== reference.host || known.reference.repository !== reference.repository) continue;
      const isIt = known.record.target?.digest === reference.digest || (await this.#digestOf(known)) === reference.digest;
      if (isIt) matching.push(known);
    }
    return matching;
  }

  /** Undefined for an image that cannot be used here, which must not stand in the way of another one of its repository. */
  async #digestOf(known: KnownImage): Promise<string | undefined> {
    try {
      return (await this.#local(known)).digest;
    } catch (error) {
      if (error instanceof AttemptError) return undefined;
      throw error;
    }
  }

  async #refusal(reference: ImageReference, { image }: ImageRequest): Promise<AttemptError> {
    const present = (await this.#matching(reference)).length > 0;
    return present
      ? new AttemptError(
          'ImageUnauthorized',
          `The image ${image} was pulled for another namespace and imagePullPolicy Never allows no request to show that this one may use it.`,
        )
      : new AttemptError('ImageNotPresent', `The image ${image} is not on the runner and imagePullPolicy is Never.`);
  }

  async #pull(
    reference: ImageReference,
    request: ImageRequest,
    onProgress: (progress: PrepareProgress) => void,
    signal: AbortSignal,
  ): Promise<LocalImage> {
    const { connection, transfer, clock, logger, stallMs, deadlineMs } = this.#options;
    const name = storeName(reference);
    const stalled = new AbortController();
    const stall = () => clock.after(stallMs, () => stalled.abort(pullError(request.image, reference.host, 'context deadline exceeded')));
    let timer = stall();
    let blobs: BlobProgress = new Map();
    let told = -1;
    onProgress(progressOf(blobs));
    const begin = clock.monotonic();
    try {
      await transferImage(connection, transfer, {
        reference,
        credentials: request.credentials,
        labels: { ...proofsOf(this.#known.get(name)?.record.labels ?? {}), ...proofLabels(request.namespace, reference.digest) },
        deadlineMs,
        signal: AbortSignal.any([signal, stalled.signal]),
        onProgress: (event) => {
          blobs = withEvent(blobs, event);
          const progress = progressOf(blobs);
          if (progress.bytes === told) return;
          told = progress.bytes;
          timer.cancel();
          timer = stall();
          onProgress(progress);
          FAILPOINT: failpoint('image.pulling');
        },
      });
    } catch (error) {
      if (!(error instanceof ContainerdError) || error.grpcCode === status.unavailable) throw error;
      throw pullError(request.image, reference.host, error.said, error);
    } finally {
      timer.cancel();
    }
    FAILPOINT: failpoint('image.pulled');
    const known = await this.#proven(name, request.namespace);
    FAILPOINT: failpoint('image.proven');
    known.lastUsed = clock.monotonic();
    logger.info({ image: name, namespace: request.namespace, ms: Math.round(clock.monotonic() - begin), bytes: told }, 'Pulled image');
    return this.#local(known);
  }

  /** Notes on the image that the namespace's credentials gave exactly this content. */
  async #proven(name: string, namespace: string): Promise<KnownImage> {
    const { connection } = this.#options;
    const { image } = await connection.call(ImagesService.get, { name });
    const digest = image?.target?.digest ?? '';
    if (image === undefined)
      throw new AttemptError(
        'ImagePullFailed',
        `The image ${name} was pulled and is gone: something else removes images in Berth's containerd namespace.`,
      );
    if (hasProof(image.labels, namespace, digest)) return this.#remember(image);
    const proof = proofLabels(namespace, digest);
    const updated = await connection.call(ImagesService.update, {
      image: { ...image, labels: { ...image.labels, ...proof } },
      updateMask: Object.keys(proof).map((key) => `labels.${key}`),
      sourceDateEpoch: undefined,
    });
    return this.#remember(updated.image ?? image);
  }

  #remember(record: Image): KnownImage {
    const before = this.#known.get(record.name);
    const isSame = before?.local !== undefined && before.record.target?.digest === record.target?.digest;
    const lastUsed = before?.lastUsed ?? this.#options.clock.monotonic();
    const known: KnownImage = { record, reference: parseReference(record.name), lastUsed, ...(isSame ? { local: before.local } : {}) };
    this.#known.set(record.name, known);
    return known;
  }

  #local(known: KnownImage): Promise<LocalImage> {
    known.local ??= this.#read(known.record).catch((error: unknown) => {
      this.forget(known.record.name);
      throw error;
    });
    return known.local;
  }

  async #read({ name, target }: Image): Promise<LocalImage> {
    const { architecture } = this.#options.transfer;
    if (target === undefined) throw new AttemptError('ImageUnsuitable', `The image ${name} has no content.`);
    const manifest = isIndex(target.mediaType) ? chooseManifest(name, await this.#blob(name, target), architecture) : target;
    const text = await this.#blob(name, manifest);
    const config = parseImageConfig(name, await this.#blob(name, configOf(name, text)));
    const { diffIDs, defaults } = config;
    return { name, digest: manifest.digest, chainID: chainID(diffIDs, sha256), defaults, backup: backupAnnotations(text) };
  }

  async #blob(image: string, { digest, size }: BlobDescriptor): Promise<string> {
    const { connection } = this.#options;
    if (size > 4 * mebibyte)
      throw new AttemptError('ImageUnsuitable', `The image ${image} has a manifest or configuration of ${size} bytes: at most 4 MiB.`);
    try {
      const parts = await connection.collect(ContentService.read, { digest, offset: 0, size: 0 });
      return Buffer.concat(parts.map((part) => part.data)).toString('utf8');
    } catch (error) {
      if (isNotFound(error))
        throw new AttemptError('ImageUnsuitable', `A part of the image ${image} is missing on the runner: ${digest}.`, { cause: error });
      throw error;
    }
  }
}

/** What is being sent away as a backup is nobody's image. */
function isImage({ labels }: Image): boolean {
  return labels[backupLabel] === undefined;
}

function unlessNotFound(error: unknown): void {
  if (!isNotFound(error)) throw error;
}

function sha256(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}
