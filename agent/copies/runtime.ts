import type { ResourceAmounts } from '../../crds/index.ts';
import type { SandboxReason } from '../../crds/reasons.ts';

/**
 * The container runtime as the copies see it: a port. Implemented over containerd in agent/containerd, modelled with faults in the simulation.
 * Every call may be repeated; every call that changes something leaves either the state before or the state after, or is finished by repeating it.
 */
export interface CopyRuntime {
  /** Everything of this installation on this runtime. The truth after a restart and after every subscription. */
  list(): Promise<readonly RuntimeCopy[]>;
  /**
   * Makes a copy ready to start: image, snapshot, container, created task. From `Image` a snapshot is made when none is there; from `Local` it must be
   * there (else ContentMissing). A container whose config differs is updated; its snapshot stays. Rejects with an AttemptError, or with the
   * signal's reason when aborted (what was made so far is removed by `remove`).
   */
  prepare(attempt: Attempt, progress: (progress: PrepareProgress) => void, signal: AbortSignal): Promise<PreparedCopy>;
  /**
   * Starts the created task. Rejects with an AttemptError only when it is certain that the process never ran (what is left of the task is gone then);
   * with anything else the caller does not know, and lists.
   */
  start(key: CopyKey): Promise<StartedCopy>;
  /** SIGTERM, SIGKILL after the grace; resolves when it is proven that no process is left, at once when none ran. The snapshot and container stay. */
  stop(key: CopyKey, graceSeconds: number, signal: AbortSignal): Promise<ExitStatus | undefined>;
  /** Removes the task, container, snapshot, log and cgroup of exactly this copy. Resolves when all are proven gone. */
  remove(key: CopyKey): Promise<void>;
  /** Notes on the container which order and contentVersion it is at, for people and for adoption. Not the durable record. */
  annotate(key: CopyKey, note: CopyNote): Promise<void>;
  /**
   * Reads the files of a copy into a backup that lies on this runner; a process that runs is paused, and no longer than that. Nothing may start, stop
   * or remove the copy meanwhile. Settles only when nothing reads any more and nothing is paused by it. Rejects with the signal's reason when
   * aborted, with a BackupError when it can not be done, with anything else when it may be done another time; nothing of it is left then.
   */
  readBackup(request: BackupRequest, progress: (progress: BackupProgress) => void, signal: AbortSignal): Promise<LocalBackup>;
  /** Sends a backup to its repository. The copy may do what it likes meanwhile. Rejects with a BackupError, or with the signal's reason when aborted. */
  pushBackup(
    backup: LocalBackup,
    credentials: readonly ImageCredential[],
    progress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Removes what is on this runner of a backup that was read. */
  dropBackup(backup: LocalBackup): Promise<void>;
  /** Lets a paused process go on. Does nothing when it is not paused. */
  resume(key: CopyKey): Promise<void>;
  /** References of the images that are present. */
  images(): Promise<readonly string[]>;
  /** Calls `listener` for every event until `signal` aborts; reconnects by itself and then sends `Resubscribed`. Events may be lost: list. */
  subscribe(listener: (event: RuntimeEvent) => void, signal: AbortSignal): void;
}

/** One copy: a sandbox may have several on one runner, one per epoch. */
export interface CopyKey {
  readonly uid: string;
  readonly epoch: number;
}

export interface Attempt {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  readonly source: AttemptSource;
  readonly config: ContainerConfig;
  readonly credentials: readonly ImageCredential[];
  /** Variables from Secrets, in addition to the configuration's: the same hash may come with other values. */
  readonly secretEnv: readonly Variable[];
}

export type AttemptSource =
  | { readonly kind: 'Image'; readonly digest: string }
  | { readonly kind: 'Local' }
  /** `repository`: where the backup lies, without a tag. */
  | { readonly kind: 'Backup'; readonly digest: string; readonly repository: string };

export interface ContainerConfig {
  readonly hash: string;
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly Variable[];
  readonly workingDir: string;
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts;
  readonly pidsLimit: number;
}

/** An environment variable. */
export interface Variable {
  readonly name: string;
  readonly value: string;
}

export interface ImageCredential {
  readonly host: string;
  readonly username: string;
  readonly password: string;
}

export interface PrepareProgress {
  /**
   * `CreatingTask`: the container and its snapshot exist from here on and only the task is missing. The caller records the start while the
   * task is being created; told once in every prepare that gets so far, and at once when the task is there already.
   */
  readonly phase: 'Pulling' | 'Unpacking' | 'Creating' | 'CreatingTask';
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface PreparedCopy {
  /** The manifest digest of the image that the snapshot stands on. */
  readonly baseDigest: string;
}

export interface StartedCopy {
  readonly startTimeMs: number;
}

export interface ExitStatus {
  readonly code: number;
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly finishTimeMs: number;
  /** The process ended and nobody saw how: after a reboot, or when its task is gone. `code` is 255 then. */
  readonly lost: boolean;
}

export interface CopyNote {
  readonly order: number;
  readonly contentVersion: number;
}

/** What is on the runtime of one copy. */
export interface RuntimeCopy {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  readonly note: CopyNote;
  readonly configHash: string;
  readonly baseDigest: string;
  readonly requests: ResourceAmounts;
  /** False when the container's record is there and its snapshot is not: the content is missing. */
  readonly hasContent: boolean;
  /** The boot under which the last task was created. */
  readonly bootID: string;
  readonly task: RuntimeTask;
}

export type RuntimeTask =
  | { readonly state: 'None' }
  | { readonly state: 'Created' }
  | { readonly state: 'Running'; readonly startTimeMs: number }
  | { readonly state: 'Paused' }
  | { readonly state: 'Stopped'; readonly exit: ExitStatus };

export type RuntimeEvent =
  | { readonly kind: 'Exited'; readonly key: CopyKey; readonly exit: ExitStatus }
  | { readonly kind: 'Removed'; readonly key: CopyKey }
  | { readonly kind: 'Resubscribed' }
  /** It has written more than its limit. Told again for as long as that is so. */
  | { readonly kind: 'DiskLimitExceeded'; readonly key: CopyKey; readonly usedBytes: number; readonly limitBytes: number }
  /** Images have come or gone by themselves. */
  | { readonly kind: 'ImagesChanged' };

/** Why a copy could not be made ready or started: certain, and nothing ran. The names are reasons of the API (crds/reasons.ts). */
export type AttemptErrorCode = Extract<
  SandboxReason,
  | 'ImageNotFound'
  | 'ImageUnauthorized'
  | 'ImageNotPresent'
  | 'ImageUnsuitable'
  | 'ImagePullFailed'
  | 'RegistryUnavailable'
  | 'CommandMissing'
  | 'CommandNotFound'
  | 'CommandNotExecutable'
  | 'WorkingDirNotFound'
  | 'UserNotFound'
  | 'InvalidSpec'
  | 'BackupNotFound'
  | 'BackupCorrupt'
  | 'OutOfMemoryAtStart'
  | 'OutOfDisk'
  | 'ContentMissing'
  | 'RuntimeFailed'
>;

/** Which backup of which files. */
export interface BackupRequest {
  readonly key: CopyKey;
  /** Of the backups of the sandbox. */
  readonly id: number;
  /** Where it is to lie: host and path, without a tag. */
  readonly repository: string;
  readonly contentVersion: number;
  /** For the registry of backups, and for that of the base image when its layers are not here any more. */
  readonly credentials: readonly ImageCredential[];
}

/** A backup that lies on this runner only. */
export interface LocalBackup {
  /** What the runtime knows it by. */
  readonly name: string;
  readonly request: BackupRequest;
  /** Of its manifest. */
  readonly digest: string;
  /** Of all that the manifest names. */
  readonly sizeBytes: number;
  /** No process of the copy existed from the begin of the reading to its end. */
  readonly takenWhileStopped: boolean;
}

export interface BackupProgress {
  readonly bytes: number;
  /** 0: not known. */
  readonly totalBytes: number;
}

/** Why a backup could not be made or sent. The names are reasons of the API. `RegistryUnavailable` may pass by itself. */
export type BackupErrorCode = Extract<
  SandboxReason,
  'BackupVersionMismatch' | 'BackupFailed' | 'ContentMissing' | 'OutOfDisk' | 'ImageUnauthorized' | 'RegistryUnavailable' | 'RuntimeFailed'
>;
