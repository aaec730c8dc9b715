/** One of the rules below did not hold. */
export interface Violation {
  readonly rule: Rule;
  readonly at: number;
  readonly text: string;
  /** The sandbox that it is about, when it is about one. */
  readonly uid?: string | undefined;
}

export const rules = {
  OneRunningCopy: 'at most one process of a sandbox runs in the whole fleet',
  StartedOnce: 'each contentVersion is started at most once',
  NewestContent: 'never older content is started after newer',
  WholeContent: 'bytes that were read while a program wrote them are never started',
  NewestKept: 'nothing is released that alone holds its content, and nothing is removed or deleted that alone holds the newest',
  CopyNamed: 'a copy that has run is named by its object until it is to be removed',
  CurrentIsNewest: 'a backup that counts as current holds the newest content',
  BackupHonest: 'a backup is recorded as what was read, and when',
  BackupVerified: 'a backup is recorded only when the registry was seen to have it whole',
  BackupWanted: 'only the backup that is to be made becomes a record',
  BackupUnique: 'two backups never share a digest',
  BackupInUse: 'a backup that is current, the last one, being restored or not marked is not deleted',
  ArchivedIsWhole: 'an archived sandbox has a current backup of which every byte was read back',
  LoadShed: 'what can leave a runner with too many started sandboxes is not started there while another one has fewer and takes it',
  PreviousKept: 'a move names the runner that it leaves',
  StartPermitted: 'a process is started only as an acknowledged status permits',
  RemovalRecorded: 'content is removed only when the object is deleted or a release names it',
  CapacityKept: 'what is running and prepared fits the runner',
  OneNumberOneContent: 'orders of one number have one content',
  OrderAcknowledged: 'an order follows the acknowledged status that decided it',
  RejectionKept: 'that an order is rejected is told only when that is durable',
  OrderRises: 'status.order never goes down',
  VersionTakenBackOnProof: 'contentVersion is taken back only when nothing ran under it',
  DeadlineKept: 'a state that must end has a deadline, which nothing that is written puts off',
  HonestStarted: 'Started is said only of a process that was started under this contentVersion',
  HonestStopped: 'Stopped is said only when no process runs',
  GoneMeansGone: 'an object goes only when its copies are removed or noted',
  Converged: 'when faults stop, every sandbox comes to what is asked for, or says truly why not',
  NothingLeft: 'when faults stop, nothing is left of what was deleted',
  RegistryClean: 'when faults stop, the registry has no backup of what was deleted, but what it did not answer for until the deadline',
  Quiet: 'when nothing changes, nothing is written',
  Calm: 'no program spins',
  NoCrash: 'no program throws out of its loop',
} as const;

export type Rule = keyof typeof rules;

/** Collects violations; the first one ends a history. */
export class Violations {
  readonly found: Violation[] = [];
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  add(rule: Rule, text: string, uid?: string): void {
    this.found.push({ rule, at: this.#now(), text, uid });
  }
}
