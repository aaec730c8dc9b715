import { BackupPriority, SourceKind, Wanted } from '../proto/gen/berth/agent/v1/agent.ts';
import type {
  Amounts,
  BackupOrder,
  CopyConfig,
  EnvironmentVariable,
  Order,
  Preparation,
  RegistryCredential,
  Source,
} from '../proto/gen/berth/agent/v1/agent.ts';
import type { ResourceAmounts } from '../../crds/index.ts';
import type { AttemptSource, ContainerConfig, CopyKey, ImageCredential, Variable } from './runtime.ts';

/** An order as the agent understands it: what one copy should be. */
export interface CopyOrder {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  readonly order: number;
  readonly storeID: string;
  readonly bootID: string;
  readonly wish: Wish;
  /** The backup that is to be made of it; undefined: none is, and one that is under way is given up. */
  readonly backup: BackupWish | undefined;
  /** What came under the number, as one text: two deliveries of one order have the same. */
  readonly content: string;
}

export type Wish =
  | { readonly wanted: 'Prepared'; readonly attempt: AttemptWish }
  | { readonly wanted: 'Running'; readonly attempt: AttemptWish; readonly contentVersion: number; readonly graceSeconds: number }
  | { readonly wanted: 'Stopped'; readonly graceSeconds: number }
  | { readonly wanted: 'Absent'; readonly graceSeconds: number };

/** How the copy is to be made. */
export interface AttemptWish {
  readonly source: AttemptSource;
  readonly config: ContainerConfig;
  /** Not part of the order's content. */
  readonly credentials: readonly ImageCredential[];
  /** Variables from Secrets. Not part of the order's content, and told to nobody but the container. */
  readonly secretEnv: readonly Variable[];
}

/** A backup that an order asks for. */
export interface BackupWish {
  readonly id: number;
  /** Host and path, without a tag. */
  readonly repository: string;
  /** What is to be in it: read only while the copy has started exactly this. */
  readonly contentVersion: number;
  /** Not part of the order's content. */
  readonly priority: BackupRank;
  /** Not part of the order's content. */
  readonly credentials: readonly ImageCredential[];
}

/** Which backups go first: those of the highest rank. */
export type BackupRank = 'Archiving' | 'Stopped' | 'Started';

/** A preparation ahead of its order. */
export interface CopyPreparation {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  readonly storeID: string;
  readonly bootID: string;
  readonly attempt: AttemptWish;
  readonly ttlSeconds: number;
}

/** The time between SIGTERM and SIGKILL when an order that starts a newer version names none. */
export const defaultGraceSeconds = 10;

/** Reads an order off the wire; a text says what is wrong with it. */
export function readOrder(order: Order): CopyOrder | string {
  const wish = readWish(order);
  if (typeof wish === 'string') return wish;
  const backup = order.backup && readBackup(order.backup, order);
  if (typeof backup === 'string') return backup;
  if (order.uid === '' || order.epoch < 0 || order.order <= 0) return 'it names no sandbox, epoch or number';
  return {
    key: { uid: order.uid, epoch: order.epoch },
    namespace: order.namespace,
    name: order.name,
    order: order.order,
    storeID: order.storeId,
    bootID: order.bootId,
    wish,
    backup,
    content: `${contentOf(wish)}${backup === undefined ? '' : ` backup ${backup.id} ${backup.repository} ${backup.contentVersion}`}`,
  };
}

function readBackup({ id, repository, contentVersion, priority }: BackupOrder, { wanted, credentials }: Order): BackupWish | string {
  if (wanted !== Wanted.WANTED_RUNNING && wanted !== Wanted.WANTED_STOPPED) return 'it asks for a backup of what is neither kept nor run';
  if (id <= 0 || repository === '' || contentVersion <= 0) return 'its backup has no id, repository or contentVersion';
  return { id, repository, contentVersion, priority: rankOf(priority), credentials: credentials.map(credentialOf) };
}

/** A priority that this version does not know is the lowest. */
function rankOf(priority: BackupPriority): BackupRank {
  if (priority === BackupPriority.BACKUP_PRIORITY_ARCHIVING) return 'Archiving';
  return priority === BackupPriority.BACKUP_PRIORITY_STOPPED ? 'Stopped' : 'Started';
}

function credentialOf({ host, username, password }: RegistryCredential): ImageCredential {
  return { host, username, password };
}

/** Reads a preparation off the wire; a text says what is wrong with it. */
export function readPreparation(preparation: Preparation): CopyPreparation | string {
  const attempt = readAttempt(preparation);
  if (typeof attempt === 'string') return attempt;
  if (preparation.uid === '' || preparation.epoch < 0 || preparation.ttlSeconds <= 0) return 'it names no sandbox, epoch or time';
  return {
    key: { uid: preparation.uid, epoch: preparation.epoch },
    namespace: preparation.namespace,
    name: preparation.name,
    storeID: preparation.storeId,
    bootID: preparation.bootId,
    attempt,
    ttlSeconds: preparation.ttlSeconds,
  };
}

/** The grace is not part of it: it comes from the spec, which may change under one number. */
function contentOf(wish: Wish): string {
  switch (wish.wanted) {
    case 'Stopped':
    case 'Absent':
      return wish.wanted;
    case 'Prepared':
      return `Prepared ${attemptText(wish.attempt)}`;
    case 'Running':
      return `Running ${wish.contentVersion} ${attemptText(wish.attempt)}`;
  }
}

function attemptText({ source, config }: AttemptWish): string {
  const from = source.kind === 'Backup' ? `${source.repository}@${source.digest}` : digestOf(source);
  return `${source.kind} ${from} ${config.hash}`;
}

/** The digest that a source names; empty for what lies on the runner. */
export function digestOf(source: AttemptSource): string {
  return source.kind === 'Local' ? '' : source.digest;
}

function readWish(order: Order): Wish | string {
  switch (order.wanted) {
    case Wanted.WANTED_STOPPED:
      return { wanted: 'Stopped', graceSeconds: Math.max(0, order.graceSeconds) };
    case Wanted.WANTED_ABSENT:
      return { wanted: 'Absent', graceSeconds: Math.max(0, order.graceSeconds) };
    case Wanted.WANTED_PREPARED: {
      const attempt = readAttempt(order);
      return typeof attempt === 'string' ? attempt : { wanted: 'Prepared', attempt };
    }
    case Wanted.WANTED_RUNNING: {
      const attempt = readAttempt(order);
      if (typeof attempt === 'string') return attempt;
      if (order.contentVersion <= 0) return 'it permits no contentVersion';
      const graceSeconds = order.graceSeconds > 0 ? order.graceSeconds : defaultGraceSeconds;
      return { wanted: 'Running', attempt, contentVersion: order.contentVersion, graceSeconds };
    }
    default:
      return `it wants ${order.wanted}, which this version does not know`;
  }
}

interface AttemptMessage {
  readonly source: Source | undefined;
  readonly config: CopyConfig | undefined;
  readonly credentials: readonly RegistryCredential[];
  readonly secretEnv: readonly EnvironmentVariable[];
}

function readAttempt({ source, config, credentials, secretEnv }: AttemptMessage): AttemptWish | string {
  const readSource = source && sourceOf(source);
  if (readSource === undefined) return 'it names no source';
  const readConfig = config && configOf(config);
  if (readConfig === undefined) return 'it has no configuration, or one without hash, image, pull policy or resources';
  return {
    source: readSource,
    config: readConfig,
    credentials: credentials.map(credentialOf),
    secretEnv: secretEnv.map(({ name, value }) => ({ name, value })),
  };
}

function sourceOf({ kind, digest, repository }: Source): AttemptSource | undefined {
  switch (kind) {
    case SourceKind.SOURCE_KIND_IMAGE:
      return { kind: 'Image', digest };
    case SourceKind.SOURCE_KIND_LOCAL:
      return { kind: 'Local' };
    case SourceKind.SOURCE_KIND_BACKUP:
      return digest === '' || repository === undefined || repository === '' ? undefined : { kind: 'Backup', digest, repository };
    default:
      return undefined;
  }
}

function configOf(config: CopyConfig): ContainerConfig | undefined {
  const { imagePullPolicy: policy } = config;
  if (policy !== 'Always' && policy !== 'IfNotPresent' && policy !== 'Never') return undefined;
  if (config.hash === '' || config.image === '' || config.requests === undefined || config.limits === undefined) return undefined;
  return {
    hash: config.hash,
    image: config.image,
    imagePullPolicy: policy,
    command: config.command,
    args: config.args,
    env: config.env.map(({ name, value }) => ({ name, value })),
    workingDir: config.workingDir,
    ...(config.runAsUser === undefined ? {} : { runAsUser: config.runAsUser }),
    ...(config.runAsGroup === undefined ? {} : { runAsGroup: config.runAsGroup }),
    requests: amountsOf(config.requests),
    limits: amountsOf(config.limits),
    pidsLimit: config.pidsLimit,
  };
}

function amountsOf({ cpuMillis, memoryBytes, diskBytes }: Amounts): ResourceAmounts {
  return { cpuMillis: cpuMillis, memoryBytes, diskBytes };
}
