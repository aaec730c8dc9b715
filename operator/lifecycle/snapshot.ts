import type { ExitReason, Sandbox, TakenWhile } from '../../crds/index.ts';
import type { RunnerView } from '../assignment/runner-view.ts';
import type { Deadlines } from './deadlines.ts';

/** A moment by both clocks, in milliseconds. */
export interface Moment {
  /** Since the epoch, anchored to the API server's time: for stored times. */
  readonly wall: number;
  /** Never jumps: for what this process observed itself. */
  readonly monotonic: number;
}

/** What the newest report of an agent says of one copy. */
export interface CopyView {
  /** Of the object that it was made for; empty when the agent does not know them. */
  readonly namespace: string;
  readonly name: string;
  /** The highest order that the agent had accepted for the uid. */
  readonly order: number;
  /** The contentVersion last started in the copy and not taken back; 0: none. */
  readonly contentVersion: number;
  readonly state: 'Preparing' | 'Prepared' | 'Starting' | 'Running' | 'Stopping' | 'Stopped' | 'Rejected' | 'Absent' | 'Missing';
  readonly exit: ExitView | undefined;
  readonly reason: string;
  readonly message: string;
  /** Bytes of the data phase so far. */
  readonly bytes: number;
  /** Monotonic time at which the bytes moved last; undefined while none did. */
  readonly progressAt: number | undefined;
  /** Empty while not known. */
  readonly baseDigest: string;
  /** Since the epoch, by the runner's clock; 0: it does not run. */
  readonly startTimeMs: number;
  /** Of the backup that the newest accepted order asks for. */
  readonly backup: BackupView | undefined;
}

/** How far the backup of a copy is, by its agent's word. */
export interface BackupView {
  readonly id: number;
  /** `Diffing`: nothing may be started in the copy. `Done`: the registry has it, and the operator has yet to see for itself. */
  readonly phase: 'Waiting' | 'Diffing' | 'Pushing' | 'Done' | 'Failed';
  readonly bytes: number;
  readonly totalBytes: number;
  /** Monotonic time at which its phase or its bytes moved last, as far as this operator saw. */
  readonly progressAt: number;
  /** Done only. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly takenWhile: TakenWhile;
  readonly reason: string;
  readonly message: string;
}

/** Something to be asked of, or done in, the registry. The same work is done once at a time, and its result is told in a later snapshot. */
export type RegistryWork =
  /**
   * Meta: the manifest's bytes hash to the digest, say that this is a backup of this version of this sandbox, and every blob has its size. Full: every byte was
   * read back, too.
   */
  | {
      readonly kind: 'Verify';
      readonly depth: 'Meta' | 'Full';
      readonly repository: string;
      readonly digest: string;
      readonly contentVersion: number;
    }
  /** The manifest is removed; gone before counts as done. */
  | { readonly kind: 'Delete'; readonly repository: string; readonly digest: string }
  /** Every manifest that a tag with this prefix names is removed: what was pushed and never recorded. */
  | { readonly kind: 'Sweep'; readonly repository: string; readonly tagPrefix: string };

/** What came of the newest try of a work. */
export interface RegistryResult {
  readonly work: RegistryWork;
  /** Monotonic time at which it was known. */
  readonly at: number;
  /** How often in a row, this time included, it came to anything but Whole or Deleted: what is asked for again waits longer each time. */
  readonly failures: number;
  /**
   * Whole: verified. Deleted: it is not there any more. Missing: the registry certainly lacks the manifest or a blob. Corrupt: bytes or sizes are not what the
   * digest says. Unavailable: nobody can say now. Unauthorized: the credentials do not suffice. Unsupported: the registry does not do this at all.
   */
  readonly outcome: 'Whole' | 'Deleted' | 'Missing' | 'Corrupt' | 'Unavailable' | 'Unauthorized' | 'Unsupported';
  /** What its blobs measure together in the registry: of a backup that is Whole, else 0. */
  readonly sizeBytes: number;
  /** One sentence, naming the digest. Never a secret. */
  readonly message: string;
}

/** What the operator knows of backups beside the object. */
export interface BackupSettings {
  /** `<prefix>/<namespace>.<name>` of this sandbox; undefined when no repository is configured: nothing can be backed up. */
  readonly repository: string | undefined;
}

export interface ExitView {
  readonly code: number;
  readonly reason: ExitReason;
  readonly signal: number;
  /** Since the epoch, by the runner's clock; 0: nobody saw it. */
  readonly finishTimeMs: number;
  /** It ended because an order asked for it. */
  readonly ordered: boolean;
}

/** The last order about the copy that an agent did not accept. It left no trace there. */
export interface RefusalView {
  readonly order: number;
  readonly code: string;
  readonly highestOrder: number;
}

/** Where a copy lies that is to be removed, and what is known of it. */
export interface RemainsView {
  readonly runnerName: string;
  readonly storeID: string;
  readonly epoch: number;
  readonly contentVersion: number;
  /** Proven by a report: nothing of it is there. */
  readonly isAbsent: boolean;
  /** The Runner object exists. */
  readonly isKnown: boolean;
  /** Its agent is connected with this very store. */
  readonly isReachable: boolean;
  /** The runner has another store now. */
  readonly isElsewhere: boolean;
}

/** Its store is not there any more, as far as anybody can tell: the Runner's object is gone, or has another store. */
export function isWithoutStore({ isKnown, isReachable, isElsewhere }: RemainsView): boolean {
  return !isReachable && (!isKnown || isElsewhere);
}

/** Whether there are credentials for the image, from the Secrets that the sandbox names. */
export type CredentialsView = { readonly kind: 'Ready' } | MissingCredentials;

export interface MissingCredentials {
  readonly kind: 'Missing';
  readonly reason: 'ImagePullSecretNotFound' | 'ImagePullSecretInvalid';
  readonly message: string;
}

/** Whether there is a value for every environment variable that comes from a Secret. */
export type EnvironmentView = { readonly kind: 'Ready' } | MissingEnvironment;

export interface MissingEnvironment {
  readonly kind: 'Missing';
  readonly reason: 'EnvSecretNotFound' | 'EnvSecretKeyNotFound' | 'EnvSecretInvalid';
  readonly message: string;
}

/**
 * Everything that a decision about one sandbox may look at. Frozen; the runner of the sandbox (R0) is read once, so that a later rule can not
 * see what an earlier one has just changed.
 */
export interface SandboxSnapshot {
  readonly sandbox: Sandbox;
  readonly now: Moment;
  /** Monotonic time before which no deadline is judged: this operator has not led long enough to know that nothing happens. */
  readonly patientUntil: number;
  /** How long each state may last. */
  readonly deadlines: Deadlines;
  /** Random in [0, 1): the jitter of every back-off of this decision. */
  readonly jitter: number;
  /** Hash of what spec makes of the container. */
  readonly configHash: string;
  /** R0: the runner named by status.runnerName; undefined when there is none or its object is gone. */
  readonly runner: RunnerView | undefined;
  readonly fleet: readonly RunnerView[];
  /** Of R0, its assigned store and epoch. */
  readonly copy: CopyView | undefined;
  readonly refusal: RefusalView | undefined;
  /** The number of the last order about the assigned copy that was sent on the stream that lives now; 0: none was. */
  readonly sentOrder: number;
  /** The assigned copy, then every release. */
  readonly remains: readonly RemainsView[];
  readonly credentials: CredentialsView;
  readonly environment: EnvironmentView;
  readonly backups: BackupSettings;
  /** The newest result of each work about this sandbox's backups that this leader has had done. */
  readonly registry: readonly RegistryResult[];
}
