import type { Assignment, AssignmentSource, Sandbox, SandboxStatus } from '../../crds/index.ts';

/** What one runner is told about one copy: the table of docs/adr/0002-orders.md. */
export type CopyOrder = CopyOrderContent & {
  /** status.order of the acknowledged object. */
  readonly order: number;
};

/** An order without its number: what the runner is to do. */
export interface CopyOrderContent {
  readonly runnerName: string;
  readonly epoch: number;
  readonly storeID: string;
  /** Empty for the Absent of a release: right under every boot. */
  readonly bootID: string;
  readonly wanted: 'Prepared' | 'Running' | 'Stopped' | 'Absent';
  /** Running: the version that may be started; else 0. */
  readonly contentVersion: number;
  /** Prepared and Running. */
  readonly source: AssignmentSource | undefined;
  /** Hash of the spec that the order was decided for. Empty for a release. */
  readonly configHash: string;
  /** A backup to be made of the copy beside what is wanted of it: Stopped and Running only. */
  readonly backup: BackupContent | undefined;
}

/** Which backup, as the order says it. */
export interface BackupContent {
  readonly id: number;
  readonly repository: string;
  readonly contentVersion: number;
}

type Ordering = Pick<SandboxStatus, 'state' | 'runnerName' | 'assignment' | 'contentVersion' | 'releases' | 'backup'>;

/** The orders of an acknowledged object: the one about its copy first, then its releases. A function of the status alone. */
export function ordersOf({ status }: { readonly status: Pick<Sandbox['status'], 'order'> & Ordering }): readonly CopyOrder[] {
  return orderContents(status).map((content) => ({ ...content, order: status.order }));
}

/** The order about the assigned copy, if there is one. */
export function mainOrder(status: Ordering): CopyOrderContent | undefined {
  const { runnerName, assignment } = status;
  if (runnerName === undefined || assignment === undefined) return undefined;
  const backup = backupOf(status.backup, assignment);
  const wanted = wantedOf(status.state, assignment, backup);
  if (wanted === undefined) return undefined;
  const { epoch, storeID, bootID, configHash } = assignment;
  const makes = wanted === 'Prepared' || wanted === 'Running';
  return {
    runnerName,
    epoch,
    storeID,
    bootID,
    wanted,
    contentVersion: wanted === 'Running' ? status.contentVersion : 0,
    source: makes ? assignment.source : undefined,
    configHash,
    backup: wanted === 'Stopped' || wanted === 'Running' ? backup : undefined,
  };
}

/** True when a runner has to do something else under `next` than under `before`. A release that is dropped was proven and asks nothing. */
export function asksForMore(before: Ordering, next: Ordering): boolean {
  const known = new Set(orderContents(before).map((content) => JSON.stringify(comparable(content))));
  const isWithdrawn = mainOrder(before) !== undefined && mainOrder(next) === undefined;
  return isWithdrawn || orderContents(next).some((content) => !known.has(JSON.stringify(comparable(content))));
}

function orderContents(status: Ordering): readonly CopyOrderContent[] {
  const main = mainOrder(status);
  const releases = status.releases.map(({ runnerName, epoch, storeID }): CopyOrderContent => ({
    runnerName,
    epoch,
    storeID,
    bootID: '',
    wanted: 'Absent',
    contentVersion: 0,
    source: undefined,
    configHash: '',
    backup: undefined,
  }));
  return main === undefined ? releases : [main, ...releases];
}

/** In one fixed sequence of fields. */
function comparable({ runnerName, epoch, storeID, bootID, wanted, contentVersion, source, configHash, backup }: CopyOrderContent) {
  const made = [source?.kind, source?.digest, source?.repository];
  return [
    runnerName,
    epoch,
    storeID,
    bootID,
    wanted,
    contentVersion,
    ...made,
    configHash,
    backup?.id,
    backup?.repository,
    backup?.contentVersion,
  ];
}

/** The backup that runs, if it is one of this copy. */
function backupOf(backup: SandboxStatus['backup'], { storeID, epoch }: Assignment): BackupContent | undefined {
  const operation = backup?.operation;
  if (operation?.state !== 'Running' || operation.storeID !== storeID || operation.epoch !== epoch) return undefined;
  const { id, repository, contentVersion } = operation;
  return { id, repository, contentVersion };
}

/** What waits is told nothing, unless it is to be backed up meanwhile. */
function wantedOf(
  state: SandboxStatus['state'],
  { phase }: Assignment,
  backup: BackupContent | undefined,
): CopyOrderContent['wanted'] | undefined {
  switch (state) {
    case 'Pending':
      return backup === undefined ? undefined : 'Stopped';
    case 'Archived':
      return undefined;
    case 'Creating':
    case 'Restoring':
      return phase === 'Prepared' ? 'Prepared' : 'Running';
    case 'Starting':
    case 'Started':
      return 'Running';
    case 'Stopping':
    case 'Stopped':
    case 'Archiving':
    case 'Error':
      return 'Stopped';
    case 'Deleting':
      return 'Absent';
  }
}
