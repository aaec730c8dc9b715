/** The names of the API, each written once: group, kinds, states, condition types, labels. Reasons are in reasons.ts. */

export const API_GROUP = 'berth.dev';
export const API_VERSION = 'v1alpha1';
export const API_GROUP_VERSION = `${API_GROUP}/${API_VERSION}` as const;

/** A kind of object as the API server addresses it. */
export interface ResourceKind {
  readonly kind: string;
  readonly listKind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortName: string;
  readonly namespaced: boolean;
}

export const SANDBOX_KIND = {
  kind: 'Sandbox',
  listKind: 'SandboxList',
  plural: 'sandboxes',
  singular: 'sandbox',
  shortName: 'sbx',
  namespaced: true,
} as const satisfies ResourceKind;

export const RUNNER_KIND = {
  kind: 'Runner',
  listKind: 'RunnerList',
  plural: 'runners',
  singular: 'runner',
  shortName: 'rnr',
  namespaced: false,
} as const satisfies ResourceKind;

/** Keeps a deleted Sandbox until its copies are removed, or noted in their Runner's `removals`. */
export const SANDBOX_FINALIZER = 'berth.dev/sandbox';

/** What a user can ask for. Deleting the object destroys the sandbox. */
export const DESIRED_STATES = ['Started', 'Stopped', 'Archived'] as const;

/** What was observed of a sandbox. A cold start is Creating → Started. */
export const SANDBOX_STATES = [
  'Pending',
  'Creating',
  'Restoring',
  'Starting',
  'Started',
  'Stopping',
  'Stopped',
  'Archiving',
  'Archived',
  'Deleting',
  'Error',
] as const;
export type SandboxState = (typeof SANDBOX_STATES)[number];

/** The states that end by a deadline. Pending waits for the world and says for what; Error is left by back-off, a spec change or a changed world. */
export const TRANSITIONAL_STATES = [
  'Creating',
  'Restoring',
  'Starting',
  'Stopping',
  'Archiving',
  'Deleting',
] as const satisfies readonly SandboxState[];

export const IMAGE_PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'] as const;

export const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'] as const;

export const BACKUP_POLICIES = ['OnStop', 'Interval', 'Manual', 'Never'] as const;

export const RECLAIM_POLICIES = ['Delete', 'Retain'] as const;

export const RECOVERY_POLICIES = ['Wait', 'RestoreLastBackup'] as const;

export const DRAIN_STARTED_POLICIES = ['Wait', 'Stop'] as const;

/** How far an assignment has gone. Until Committed the target may be given up; afterwards only a proof leaves it. */
export const ASSIGNMENT_PHASES = ['Prepared', 'Committed'] as const;

/** Where the content of a copy comes from: the base image, what already lies on the runner, or a backup. */
export const SOURCE_KINDS = ['Image', 'Local', 'Backup'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** How the last main process ended. DiskLimitExceeded: the agent ended it. Lost: it is gone and nobody saw its exit. RunnerRebooted: the same, because the machine was booted anew. */
export const EXIT_REASONS = ['Completed', 'Error', 'OOMKilled', 'DiskLimitExceeded', 'Signaled', 'Lost', 'RunnerRebooted'] as const;
export type ExitReason = (typeof EXIT_REASONS)[number];

export const TAKEN_WHILE = ['Stopped', 'Paused'] as const;

/** Why a backup is made. */
export const BACKUP_OPERATION_KINDS = ['OnStop', 'Interval', 'Request', 'Archive'] as const;
export type BackupOperationKind = (typeof BACKUP_OPERATION_KINDS)[number];

export const BACKUP_OPERATION_STATES = ['Pending', 'Running', 'Failed'] as const;
export type TakenWhile = (typeof TAKEN_WHILE)[number];

export const CONDITION_STATUSES = ['True', 'False', 'Unknown'] as const;

export const SANDBOX_CONDITIONS = ['Ready', 'Assigned', 'BackedUp'] as const;

/** The Runner conditions that the operator writes. The agent writes one `connection.berth.dev/<address>` per operator pod. */
export const RUNNER_CONDITIONS = ['Ready', 'Schedulable'] as const;
/** Written by the agent, as kubelets write them on Nodes. */
export const PRESSURE_CONDITIONS = ['DiskPressure', 'MemoryPressure', 'PIDPressure'] as const;
export type PressureConditionType = (typeof PRESSURE_CONDITIONS)[number];
export const CONNECTION_CONDITION_PREFIX = 'connection.berth.dev/';

/** What the tags of a sandbox's backups begin with; the number of the backup follows. */
export function backupTagPrefix(uid: string): string {
  return `b-${uid}-`;
}

/** Labels that an agent puts on the containers it makes: its durable record of each copy. The first is on its containerd namespace, too. */
export const LABELS = {
  installID: 'berth.dev/install-id',
  storeID: 'berth.dev/store-id',
  namespace: 'berth.dev/namespace',
  name: 'berth.dev/name',
  uid: 'berth.dev/uid',
  epoch: 'berth.dev/epoch',
  order: 'berth.dev/order',
  contentVersion: 'berth.dev/content-version',
  baseDigest: 'berth.dev/base-digest',
  configHash: 'berth.dev/config-hash',
} as const;
