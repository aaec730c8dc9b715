import type { BackupView } from '../backup/stage.ts';
import type { AcceptedOrder, CopyEntry, JournalSource, SandboxEntry } from '../journal/record.ts';
import { isRejected } from '../journal/reduce.ts';
import { digestOf } from './order.ts';
import type { AttemptWish } from './order.ts';
import type { AttemptSource, ExitStatus, RuntimeCopy, RuntimeTask } from './runtime.ts';

/** All that is known of one sandbox on this runner in one moment: what its next step is computed from. */
export interface SandboxView {
  readonly uid: string;
  /** The boot of the machine. */
  readonly bootID: string;
  readonly entry: SandboxEntry | undefined;
  readonly copies: readonly CopyView[];
}

export interface CopyView {
  readonly epoch: number;
  /** What the journal has of it. */
  readonly entry: CopyEntry | undefined;
  /** What lies on the runtime; undefined: nothing. */
  readonly observed: RuntimeCopy | undefined;
  /** How it is to be made: came with the order, so that it is unknown after a start of the agent until the order comes again. */
  readonly wish: AttemptWish | undefined;
  /** How it is to be made ahead of its order; only while that has not expired. */
  readonly ahead: AttemptWish | undefined;
  /** The start of `entry.started` may have been asked for: only a task that was never started proves that nothing ran. */
  readonly wasStartAsked: boolean;
  /** How the process ended according to an event, in case nothing else tells. */
  readonly exitHint: ExitStatus | undefined;
  /** Everything of it is known to be removed. */
  readonly isRemoved: boolean;
  /** A step failed and is tried again later. */
  readonly isWaiting: boolean;
  /** Nobody has claimed it for a long time. */
  readonly isAbandoned: boolean;
  /** What runs of it has written more than its disk limit. */
  readonly hasOverrun: boolean;
  /** The backup that the newest order asks for. */
  readonly backup: BackupView | undefined;
}

/** What is to become of a copy. */
export type Goal =
  | { readonly kind: 'Running'; readonly accepted: AcceptedOrder }
  | { readonly kind: 'Prepared'; readonly accepted: AcceptedOrder }
  | { readonly kind: 'Stopped'; readonly accepted: AcceptedOrder }
  | { readonly kind: 'Absent'; readonly accepted: AcceptedOrder }
  /** It was to be prepared or started, and that does not hold any more: nothing may start, what runs is left. */
  | { readonly kind: 'Discarded' }
  /** Made ahead of its order. */
  | { readonly kind: 'Ahead'; readonly wish: AttemptWish }
  /** Made ahead of an order that did not come. */
  | { readonly kind: 'Expired' }
  /** Gone for ever. */
  | { readonly kind: 'Gone' }
  /** No order is known of it: it is left alone. */
  | { readonly kind: 'Unclaimed' }
  /** Nobody has claimed it for a long time: it does not run any more, and is kept. */
  | { readonly kind: 'Abandoned' };

/** Only the newest order of a sandbox, of this boot, may start or prepare anything; to stop and to remove holds until it is done. */
export function goalOf(sandbox: SandboxView, copy: CopyView): Goal {
  const { entry } = copy;
  const accepted = entry?.accepted;
  if (entry?.absentSinceMs !== undefined) return { kind: 'Gone' };
  if (accepted?.wanted === 'Absent') return { kind: 'Absent', accepted };
  if (copy.isAbandoned) return { kind: 'Abandoned' };
  if (entry === undefined) return { kind: 'Unclaimed' };
  if (accepted === undefined) return withoutOrder(copy, entry);
  if (accepted.wanted === 'Stopped') return copy.ahead === undefined ? { kind: 'Stopped', accepted } : { kind: 'Ahead', wish: copy.ahead };
  if (accepted.order !== sandbox.entry?.order || isRejected(entry) || accepted.bootID !== sandbox.bootID) return { kind: 'Discarded' };
  return { kind: accepted.wanted, accepted };
}

function withoutOrder(copy: CopyView, entry: CopyEntry): Goal {
  if (copy.ahead !== undefined) return { kind: 'Ahead', wish: copy.ahead };
  if (entry.attempt !== undefined) return { kind: 'Expired' };
  return entry.rejections.length > 0 ? { kind: 'Discarded' } : { kind: 'Unclaimed' };
}

export function taskOf(copy: Pick<CopyView, 'observed'>): RuntimeTask {
  return copy.observed?.task ?? { state: 'None' };
}

/** A process of it exists. */
export function isAlive(copy: Pick<CopyView, 'observed'>): boolean {
  const { state } = taskOf(copy);
  return state === 'Running' || state === 'Paused';
}

/** The start of `entry.started` is recorded and it is certain that its process never ran. */
export function hasNotRun(copy: CopyView): boolean {
  const { entry } = copy;
  if (entry === undefined || entry.started === 0 || entry.exit !== undefined || isAlive(copy)) return false;
  return !copy.wasStartAsked || taskOf(copy).state === 'Created';
}

/** Something ran in the copy and its files are not there any more. */
export function isMissing({ entry, observed }: CopyView): boolean {
  return entry !== undefined && entry.started > 0 && observed?.hasContent !== true;
}

/** Its task is created from this source with this configuration. */
export function isReady(copy: CopyView, source: JournalSource, configHash: string): boolean {
  return taskOf(copy).state === 'Created' && copy.observed?.configHash === configHash && isMadeFrom(copy, source);
}

/**
 * Something ran on what lies there: it is the sandbox's content, serves every order of its epoch and is never replaced. The note on the
 * container counts too, in case it knows more than the journal does.
 */
export function holdsContent(copy: CopyView): boolean {
  const { entry, observed } = copy;
  if (observed !== undefined && observed.note.contentVersion > 0) return true;
  if (entry === undefined || entry.started === 0) return false;
  return !hasNotRun(copy) || (entry.before?.started ?? 0) > 0;
}

/** What lies there may serve an order with this source: an attempt is one epoch and one source. */
export function isMadeFrom(copy: CopyView, source: JournalSource): boolean {
  const made = copy.entry?.madeFrom;
  if (made === undefined || holdsContent(copy)) return true;
  if (made.kind !== source.kind) return false;
  if (made.digest === source.digest) return true;
  const resolved = [made.digest, source.digest].filter((digest) => digest !== '');
  return made.kind === 'Image' && resolved.length === 1 && copy.observed?.baseDigest === resolved[0];
}

export function sourceOf(source: AttemptSource): JournalSource {
  return { kind: source.kind, digest: digestOf(source) };
}
