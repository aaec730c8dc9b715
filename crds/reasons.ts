/** Every reason that Berth writes into a status, a condition or an Event. docs/reference/reasons.md is generated from here. */

export interface ReasonText {
  /** What it says, in one sentence. */
  readonly means: string;
  /** What a user or administrator can do; absent when there is nothing to do. */
  readonly todo?: string;
  /** Nothing writes it yet: it belongs to something that is not built. */
  readonly later?: true;
}

/** Why a runner was chosen, kept or left: the outcomes of docs/assignment.md. */
export const ASSIGNMENT_REASON_TEXTS = {
  FirstPlacement: { means: 'The sandbox has no content yet and was placed on a runner that fits best.' },
  RestoreRequested: { means: 'A restore was requested by spec.restore.' },
  RunnerUnschedulable: { means: 'The runner is cordoned, and a current backup allowed to move.' },
  RunnerDraining: { means: 'The runner is being drained, and a current backup allowed to move.', later: true },
  RunnerLost: {
    means: 'The Lease of the runner has expired and its agent is not connected. Whether the sandbox runs there is not known.',
    todo: 'Bring the runner back. What ran there goes on, and what was to be started is started.',
  },
  RunnerUnfit: {
    means: 'The runner has no room, keeps failing or no longer matches the placement, and a current backup allowed to move.',
  },
  BackupRestored: { means: 'No runner had the files of the sandbox, and they were restored from its current backup.' },
  LoadBalanced: { means: 'The runner had more started sandboxes than its maxStarted, and another had fewer.' },
  NoRunnerAvailable: {
    means: 'No runner can take the sandbox now. The message counts why not.',
    todo: 'Add or uncordon a runner, lower the requests, or widen spec.placement. It is tried again by itself.',
  },
  RunnerNotConnected: {
    means: 'The runner of the sandbox is alive but not connected to the operator.',
    todo: 'It is tried again when the agent connects.',
  },
  RunnerFenced: {
    means:
      'The runner is said to be off: by spec.fenced, by the taint node.kubernetes.io/out-of-service of its Node, or because its Node is gone. Nothing is started there.',
    todo: 'When the machine is back, set spec.fenced to false, or remove the taint.',
  },
  InsufficientOnRunner: {
    means: 'The sandbox lies on a runner that has no room to start it, and there is no current backup to move it with.',
    todo: 'Stop another sandbox there, or lower the requests.',
  },
  PlacementNotMet: {
    means: 'The sandbox was started in place on a runner that spec.placement no longer matches.',
    todo: 'Nothing, or change spec.placement.',
  },
  DrainNoTarget: { means: 'The runner is being drained and no other can take the sandbox.', todo: 'Add a runner.', later: true },
  DrainBlocked: { means: 'The runner is being drained, but the sandbox has no current backup and may not be backed up.', later: true },
  TooManyCopies: {
    means: 'Another copy would replace that of the sandbox, and there are as many earlier ones already as its status can name.',
    todo: 'Bring back the runners with copies that are to be removed. Copies that restores have replaced stay until a backup of them was read back, or the Sandbox is deleted.',
  },
  NoCurrentBackup: {
    means: 'The sandbox has no runner and no current backup.',
    todo: 'Start from an older backup with spec.restore.',
  },
  ContentMissing: {
    means: 'The copy that should lie on the runner is not there, and there is no current backup. It is never replaced by the image.',
    todo: 'Bring back the disk of the runner, or start from an older backup with spec.restore.',
  },
  BackupUnverified: { means: 'The backup could not be verified in the registry, so that it is not relied on.' },
  RegistryUnavailable: { means: 'The registry does not answer.', todo: 'It is tried again by itself.' },
} as const satisfies Readonly<Record<string, ReasonText>>;

/** How a sandbox goes through its states. */
export const LIFECYCLE_REASON_TEXTS = {
  Creating: { means: 'The image is pulled and the container made.' },
  Restoring: { means: 'A backup is being restored on a runner. The copy that it replaces stays until what was restored has run.' },
  Starting: { means: 'The main program is being started.' },
  Archiving: { means: 'The sandbox is being backed up, or its backup read back, so that its runner can be left.' },
  Archived: { means: 'The files are in a backup alone. A start restores them on any runner.' },
  Started: { means: 'The main program runs.' },
  Stopping: { means: 'The main program was asked to end.' },
  Stopped: { means: 'The sandbox does not run, as spec.desiredState asks.' },
  Restarting: { means: 'A restart was requested by spec.restartID.' },
  RestartRequired: {
    means: 'The spec was changed while the sandbox ran. That takes effect at its next start.',
    todo: 'Set a new spec.restartID to have it now.',
  },
  Deleting: { means: 'The object is deleted and its copies are being removed.' },
  Deleted: { means: 'Every copy was removed.' },
  RemovalPending: {
    means:
      'A copy was not removed in time, mostly because its runner is away. It is noted in the Runner and removed as soon as that can be done.',
  },
  Released: { means: 'A copy that is not needed any more was removed from its runner.', later: true },
  Completed: { means: 'The main program ended with exit code 0.' },
  ExitedWithError: { means: 'The main program ended with another exit code than 0.', todo: 'Look at what the program printed.' },
  OOMKilled: {
    means: 'The main program was killed because the sandbox went beyond its memory limit.',
    todo: 'Raise spec.resources.limits.memory.',
  },
  Signaled: { means: 'The main program was ended by a signal.' },
  DiskLimitExceeded: {
    means: 'The main program was ended because the sandbox went beyond its disk limit. Its files are kept.',
    todo: 'Raise spec.resources.limits.disk, or have the program remove files when it starts.',
  },
  ExitLost: { means: 'The main program is gone and its exit was not seen.' },
  RunnerRebooted: {
    means: 'The machine was booted anew while the main program ran. It did not end by itself, so that its back-off begins anew.',
  },
  RestartBackOff: { means: 'The main program keeps ending. It is started again after a growing wait.', todo: 'Look at why it ends.' },
  DeadlineExceeded: { means: 'The step was not done by its deadline. It is tried again after a growing wait.' },
} as const satisfies Readonly<Record<string, ReasonText>>;

/** Why a sandbox could not be created, started, stopped or removed. */
export const FAILURE_REASON_TEXTS = {
  InvalidSpec: {
    means:
      'The runner can make no container of what the spec and the image say, of a user id that is out of range for example. The message says of what.',
    todo: 'Correct the spec, or create another Sandbox with another image.',
  },
  ImageNotFound: {
    means: 'The registry does not have the image.',
    todo: 'Correct spec.image by creating another Sandbox, or push the image.',
  },
  ImageUnauthorized: {
    means: 'The registry refused the credentials, or asks for some.',
    todo: 'Correct the Secrets named in spec.imagePullSecrets.',
  },
  ImagePullSecretNotFound: {
    means: 'A Secret named in spec.imagePullSecrets does not exist or can not be read.',
    todo: 'Create the Secret.',
  },
  ImagePullSecretInvalid: { means: 'A Secret named in spec.imagePullSecrets holds no .dockerconfigjson.', todo: 'Correct the Secret.' },
  EnvSecretNotFound: {
    means: 'A Secret that spec.env takes a variable from does not exist or can not be read. The sandbox waits for it.',
    todo: 'Create the Secret, or correct spec.env.',
  },
  EnvSecretKeyNotFound: {
    means: 'A Secret that spec.env takes a variable from does not have the key. The sandbox waits for it.',
    todo: 'Add the key to the Secret, or correct spec.env.',
  },
  EnvSecretInvalid: {
    means: 'A key that spec.env takes a variable from holds what no environment variable can hold. The sandbox waits for another value.',
    todo: 'Correct the Secret.',
  },
  ImageNotPresent: { means: 'spec.imagePullPolicy is Never and the runner does not have the image.', todo: 'Use IfNotPresent.' },
  ImageUnsuitable: {
    means: 'The image has no variant for the platform of the runner, or is not a container image.',
    todo: 'Use another image.',
  },
  BackupNotFound: {
    means: 'The registry does not have the backup that was to be restored.',
    todo: 'Restore an older one with spec.restore.',
  },
  BackupCorrupt: {
    means: 'The backup in the registry is damaged, or is no backup of a sandbox.',
    todo: 'Restore an older one with spec.restore.',
  },
  BackupVersionMismatch: {
    means: 'The runner holds another version of the files than the one that was to be backed up: the sandbox was started meanwhile.',
    todo: 'Nothing: the next backup is of the newer version.',
  },
  BackupFailed: {
    means: 'The files could not be read or not be sent to the registry for another cause. The message has it.',
    todo: 'It is tried again by itself.',
  },
  ImagePullFailed: { means: 'The image could not be pulled for another cause. The message has it.', todo: 'It is tried again by itself.' },
  CommandMissing: { means: 'Neither spec.command nor the image says what to run.', todo: 'Set spec.command.' },
  CommandNotFound: { means: 'The program is not in the sandbox.', todo: 'Correct spec.command.' },
  CommandNotExecutable: { means: 'The program is there but can not be executed.', todo: 'Correct spec.command or the mode of the file.' },
  WorkingDirNotFound: { means: 'spec.workingDir can not be used as a directory.', todo: 'Correct spec.workingDir.' },
  UserNotFound: {
    means: 'The user or group that the image names is not in its /etc/passwd or /etc/group.',
    todo: 'Set spec.securityContext.',
  },
  OutOfMemoryAtStart: { means: 'The memory limit is too small to start the program.', todo: 'Raise spec.resources.limits.memory.' },
  OutOfDisk: { means: 'The disk of the runner is full.', todo: 'Free space on the runner. It is tried again by itself.' },
  RuntimeFailed: { means: 'containerd or the OCI runtime failed. The message has its words.', todo: 'It is tried again by itself.' },
  StopFailed: { means: 'The main program could not be ended.', todo: 'It is tried again by itself.' },
  RemoveFailed: { means: 'A copy could not be removed.', todo: 'It is tried again by itself.' },
  OrderRejected: { means: 'The runner refused the order; it was restarted or re-imaged in between. A new one is issued by itself.' },
} as const satisfies Readonly<Record<string, ReasonText>>;

/** Reasons of the conditions Ready and Schedulable of Runners and of the Runner's Events. */
export const RUNNER_REASON_TEXTS = {
  LeaseRenewed: { means: 'The agent renews its Lease.' },
  LeaseExpired: { means: 'The agent has not renewed its Lease in time.', todo: 'Look at the machine and its agent.' },
  LeaseMissing: { means: 'The agent has not taken its Lease yet.' },
  Schedulable: { means: 'Sandboxes can be placed on the runner.' },
  Cordoned: { means: 'spec.unschedulable is true.', todo: 'Set it to false to place sandboxes again.' },
  Draining: { means: 'The runner is being drained.', later: true },
  Fenced: { means: 'The machine of the runner is said to be off: by spec.fenced, by its Node, or because the Node is gone.' },
  RecoverySuspended: {
    means: 'Too many runners were lost at once to believe that their machines are off because their Nodes say so.',
    todo: 'Look at the network and at the API server. It is lifted by itself.',
  },
  RecoveryResumed: { means: 'So few runners are lost that their Nodes are believed again.' },
  NotReady: { means: 'The runner is not ready.' },
  NotConnected: { means: 'The agent is not connected to the operator.' },
  Connected: { means: 'The agent is connected to the operator pod.' },
  ConnectionLost: { means: 'The connection to the operator pod ended. It is tried again with a growing wait.' },
  ConnectionRefused: { means: 'The operator pod refused the connection. The message says why.' },
  Unknown: { means: 'The agent does not report, so that its connections are not known.' },
  SufficientDisk: { means: 'There is room on the disk with the sandboxes.' },
  DiskAlmostFull: {
    means: 'Less than a tenth of the disk with the sandboxes, or of its inodes a twentieth, is free.',
    todo: 'Delete sandboxes, lower their disk limits, or enlarge the disk.',
  },
  SufficientMemory: { means: 'There is memory.' },
  MemoryAlmostFull: {
    means: 'Less than a twentieth of the memory of the machine is available.',
    todo: 'Stop sandboxes there, or set BERTH_CAPACITY_MEMORY of its agent lower.',
  },
  SufficientPIDs: { means: 'Processes can be started.' },
  PIDsAlmostUsed: {
    means: 'Less than a tenth of the process numbers of the machine is free.',
    todo: 'Stop sandboxes there, or set BERTH_CAPACITY_PIDS of its agent.',
  },
  UnclaimedCopy: { means: 'A copy on the runner belongs to no Sandbox. It is kept and listed.', todo: 'Adopt or discard it.' },
  RemovalsForgotten: {
    means:
      'More copies of deleted Sandboxes wait for their removal than the Runner can note, on disks that did not come back above all. The oldest are noted no more: should their disk come back, they belong to no Sandbox.',
  },
  StoreChanged: { means: 'The runner came back with another disk under the same name.', later: true },
} as const satisfies Readonly<Record<string, ReasonText>>;

/** Reasons of the condition BackedUp. */
export const BACKUP_REASON_TEXTS = {
  BackupCurrent: { means: 'A verified backup holds the content as it is.' },
  BackupOutdated: { means: 'The content may have changed since the newest backup.' },
  NoBackup: { means: 'There is no backup.' },
  BackupRunning: { means: 'A backup is being made. A start waits while the files are read, not while they are sent.' },
  BackupCompleted: { means: 'A backup was made, read back by the operator and found whole.' },
  BackupVerified: { means: 'Every byte of a backup that could not be verified before was read back: it is relied on.' },
  BackupGivenUp: { means: 'A backup was given up, because the sandbox was started, stopped or moved meanwhile. It is not relied on.' },
  BackupNotRemoved: {
    means:
      'A backup could not be removed from the registry, or it is not known whether more are there. The message names it, or the tags to look for.',
    todo: 'Remove it from the registry by hand.',
  },
  BackupsNotConfigured: {
    means: 'The operator has no repository for backups: nothing is backed up, archived or moved.',
    todo: 'Set the repository of the operator.',
  },
} as const satisfies Readonly<Record<string, ReasonText>>;

export type AssignmentReason = keyof typeof ASSIGNMENT_REASON_TEXTS;
export type LifecycleReason = keyof typeof LIFECYCLE_REASON_TEXTS;
export type FailureReason = keyof typeof FAILURE_REASON_TEXTS;
export type RunnerReason = keyof typeof RUNNER_REASON_TEXTS;
export type BackupReason = keyof typeof BACKUP_REASON_TEXTS;
/** What may stand in a Sandbox's status, conditions and Events. */
export type SandboxReason = AssignmentReason | LifecycleReason | FailureReason | BackupReason;
export type Reason = SandboxReason | RunnerReason;

const namesOf = <Texts extends object>(texts: Texts) => Object.keys(texts) as (keyof Texts)[];

export const ASSIGNMENT_REASONS = namesOf(ASSIGNMENT_REASON_TEXTS);
export const LIFECYCLE_REASONS = namesOf(LIFECYCLE_REASON_TEXTS);
export const FAILURE_REASONS = namesOf(FAILURE_REASON_TEXTS);
export const RUNNER_REASONS = namesOf(RUNNER_REASON_TEXTS);
export const BACKUP_REASONS = namesOf(BACKUP_REASON_TEXTS);
export const SANDBOX_REASONS: readonly SandboxReason[] = [
  ...ASSIGNMENT_REASONS,
  ...LIFECYCLE_REASONS,
  ...FAILURE_REASONS,
  ...BACKUP_REASONS,
];
