import type { ExitReason, ResourceAmounts } from '../../crds/index.ts';
import { EXIT_REASONS } from '../../crds/index.ts';
import { BackupPhase, CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type {
  Amounts,
  BackupReport,
  CopyReport,
  Exit,
  Hello,
  Inventory,
  Refusal,
  Report,
  RunnerReport,
} from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { equalJson } from '../../kube/diff.ts';
import { NOTHING } from '../../crds/resources.ts';
import type { BackupView, CopyView, ExitView, RefusalView } from '../lifecycle/snapshot.ts';

/** What an agent has of slots for tasks. Free are slots - used - reserved, never less than none. */
export interface TaskSlots {
  readonly slots: number;
  /** Held by tasks. */
  readonly used: number;
  /** Held by reservations and offers. */
  readonly reserved: number;
  /** Tickets that wait there. */
  readonly queued: number;
  /** Rises with every change of these in one incarnation. */
  readonly seq: number;
}

/** What an agent has said of its runner. A value: every message makes a new one. */
export interface RunnerFacts {
  readonly runnerName: string;
  readonly storeID: string;
  readonly incarnation: number;
  readonly agentID: string;
  readonly bootID: string;
  /** The agent's own count of what it has told, as far as it has come here: see Inventory.tick. */
  readonly tick: number;
  readonly isConnected: boolean;
  /** An inventory of this connection is complete. */
  readonly isComplete: boolean;
  readonly capacity: ResourceAmounts;
  readonly allocated: ResourceAmounts;
  readonly images: readonly string[];
  /** Its slots for tasks; undefined when its agent knows of none. */
  readonly tasks: TaskSlots | undefined;
  /** By `copyKey`. Kept when the connection breaks: what was proven stays so. */
  readonly copies: ReadonlyMap<string, CopyView>;
  /** The last refusal, by `copyKey`. */
  readonly refusals: ReadonlyMap<string, RefusalView>;
}

/** How far the messages of one stream have been taken. */
export interface Inbox {
  /** Undefined before the first complete inventory. */
  readonly seq: number | undefined;
  /** An inventory that arrives in parts. */
  readonly parts: { readonly seq: number; readonly copies: readonly CopyReport[]; readonly runner: RunnerReport | undefined } | undefined;
}
export const emptyInbox: Inbox = { seq: undefined, parts: undefined };

/** What becomes of one message of a stream. */
export type Taken =
  | {
      readonly kind: 'Taken';
      readonly facts: RunnerFacts;
      readonly inbox: Inbox;
      /** Sandboxes about which something else is known now, those whose copy is gone among them: to be looked at. */
      readonly uids: readonly string[];
      /** What is known of the runner itself has changed: whatever waits for room or for an image may fit now. */
      readonly runnerChanged: boolean;
    }
  /** Messages are missing: the stream has to begin anew. */
  | { readonly kind: 'Gap'; readonly message: string };

export function copyKey(uid: string, epoch: number): string {
  return `${uid}/${epoch}`;
}

/** The facts at the beginning of a connection. What the same store told before is kept until the inventory replaces it. */
export function factsOf(hello: Hello, before: RunnerFacts | undefined): RunnerFacts {
  const { runnerName, storeId: storeID, incarnation, agentId: agentID, bootId: bootID } = hello;
  const kept = before?.storeID === storeID ? before : undefined;
  return {
    runnerName,
    storeID,
    incarnation,
    agentID,
    bootID,
    tick: kept?.incarnation === incarnation ? kept.tick : 0,
    isConnected: true,
    isComplete: false,
    capacity: kept?.capacity ?? NOTHING,
    allocated: kept?.allocated ?? NOTHING,
    images: kept?.images ?? [],
    tasks: kept?.incarnation === incarnation ? kept.tasks : undefined,
    copies: kept?.copies ?? new Map(),
    refusals: new Map(),
  };
}

export function disconnected(facts: RunnerFacts): RunnerFacts {
  return { ...facts, isConnected: false, isComplete: false };
}

/** Takes a part of an inventory; with the last one it replaces all that was known. `now` is monotonic. */
export function takeInventory(facts: RunnerFacts, inbox: Inbox, part: Inventory, now: number): Taken {
  const { seq: expected, parts } = inbox;
  if (parts === undefined ? expected !== undefined && part.seq !== expected + 1 : part.seq !== parts.seq) {
    return { kind: 'Gap', message: `An inventory of number ${part.seq} came after ${parts?.seq ?? expected ?? 0}.` };
  }
  const copies = [...(parts?.copies ?? []), ...part.copies];
  const runner = part.runner ?? parts?.runner;
  if (!part.last)
    return { kind: 'Taken', facts, inbox: { seq: expected, parts: { seq: part.seq, copies, runner } }, uids: [], runnerChanged: false };
  const replaced = new Map(copies.map((copy) => entryOf(copy, facts, now)));
  const gone = [...facts.copies.keys()].filter((key) => !replaced.has(key)).map((key) => key.slice(0, key.lastIndexOf('/')));
  return {
    kind: 'Taken',
    facts: { ...withRunner(facts, runner), isComplete: true, copies: replaced, tick: part.tick },
    inbox: { seq: part.seq, parts: undefined },
    uids: unique([...copies.map(({ uid }) => uid), ...gone]),
    runnerChanged: true,
  };
}

/** Takes what changed since the message before. */
export function takeReport(facts: RunnerFacts, inbox: Inbox, report: Report, now: number): Taken {
  if (inbox.seq === undefined || inbox.parts !== undefined || report.seq !== inbox.seq + 1) {
    return { kind: 'Gap', message: `A report of number ${report.seq} came after ${inbox.seq ?? 'no inventory'}.` };
  }
  const copies = bounded(new Map([...facts.copies, ...report.copies.map((copy) => entryOf(copy, facts, now))]));
  return {
    kind: 'Taken',
    facts: { ...withRunner(facts, report.runner), copies, tick: Math.max(facts.tick, report.tick) },
    inbox: { seq: report.seq, parts: undefined },
    uids: unique(report.copies.map(({ uid }) => uid)),
    runnerChanged: report.runner !== undefined && !hasSameAmounts(facts, report.runner),
  };
}

export function takeRefusal(facts: RunnerFacts, { uid, epoch, order, code, highestOrder }: Refusal): RunnerFacts {
  return {
    ...facts,
    refusals: new Map([...[...facts.refusals].slice(-rememberedRefusals), [copyKey(uid, epoch), { order, code, highestOrder }]]),
  };
}

const rememberedRefusals = 255;
const rememberedAbsences = 512;

/** Of copies that are gone only the last ones are remembered; the next inventory does not name them. */
function bounded(copies: ReadonlyMap<string, CopyView>): ReadonlyMap<string, CopyView> {
  const absent = [...copies].filter(([, { state }]) => state === 'Absent').map(([key]) => key);
  if (absent.length <= rememberedAbsences) return copies;
  const dropped = new Set(absent.slice(0, absent.length - rememberedAbsences));
  return new Map([...copies].filter(([key]) => !dropped.has(key)));
}

function withRunner(facts: RunnerFacts, runner: RunnerReport | undefined): RunnerFacts {
  if (runner === undefined) return facts;
  const { tasks = facts.tasks, images } = runner;
  return { ...facts, capacity: amountsOf(runner.capacity), allocated: amountsOf(runner.allocated), images, tasks };
}

/** Nothing of it concerns sandboxes: its slots for tasks change often, and nobody who waits for room has to look again for that. */
function hasSameAmounts({ capacity, allocated, images }: RunnerFacts, runner: RunnerReport): boolean {
  return equalJson([capacity, allocated, images], [amountsOf(runner.capacity), amountsOf(runner.allocated), runner.images]);
}

function entryOf(report: CopyReport, facts: RunnerFacts, now: number): readonly [string, CopyView] {
  const key = copyKey(report.uid, report.epoch);
  return [key, copyViewOf(report, facts.copies.get(key), now)];
}

function copyViewOf(report: CopyReport, before: CopyView | undefined, now: number): CopyView {
  const { namespace, name, order, contentVersion, reason, message, baseDigest, startTimeMs } = report;
  const bytes = report.progress?.bytes ?? 0;
  // Of a copy, whatever its order: one that is raised meanwhile tells of the same bytes again.
  const moved = bytes > (before?.bytes ?? 0);
  return {
    namespace,
    name,
    order,
    contentVersion,
    state: stateOf(report.state),
    exit: report.exit === undefined ? undefined : exitOf(report.exit),
    reason,
    message,
    bytes,
    progressAt: moved ? now : before?.progressAt,
    baseDigest,
    startTimeMs,
    backup: report.backup === undefined ? undefined : backupViewOf(report.backup, before?.backup, now),
  };
}

function backupViewOf(report: BackupReport, before: BackupView | undefined, now: number): BackupView {
  const { id, bytes, totalBytes, digest, sizeBytes, takenWhileStopped, reason, message } = report;
  const phase = backupPhases[report.phase] ?? 'Waiting';
  const isSame = before?.id === id && before.phase === phase && bytes <= before.bytes;
  return {
    id,
    phase,
    bytes,
    totalBytes,
    progressAt: isSame ? before.progressAt : now,
    digest,
    sizeBytes,
    takenWhile: takenWhileStopped ? 'Stopped' : 'Paused',
    reason,
    message,
  };
}

const backupPhases: Readonly<Partial<Record<BackupPhase, BackupView['phase']>>> = {
  [BackupPhase.BACKUP_PHASE_WAITING]: 'Waiting',
  [BackupPhase.BACKUP_PHASE_DIFFING]: 'Diffing',
  [BackupPhase.BACKUP_PHASE_PUSHING]: 'Pushing',
  [BackupPhase.BACKUP_PHASE_DONE]: 'Done',
  [BackupPhase.BACKUP_PHASE_FAILED]: 'Failed',
};

/** A state that this version does not know says nothing: the copy is there, and no more is known. */
function stateOf(state: CopyState): CopyView['state'] {
  switch (state) {
    case CopyState.COPY_STATE_PREPARED:
      return 'Prepared';
    case CopyState.COPY_STATE_STARTING:
      return 'Starting';
    case CopyState.COPY_STATE_RUNNING:
      return 'Running';
    case CopyState.COPY_STATE_STOPPING:
      return 'Stopping';
    case CopyState.COPY_STATE_STOPPED:
      return 'Stopped';
    case CopyState.COPY_STATE_REJECTED:
      return 'Rejected';
    case CopyState.COPY_STATE_ABSENT:
      return 'Absent';
    case CopyState.COPY_STATE_MISSING:
      return 'Missing';
    default:
      return 'Preparing';
  }
}

function exitOf({ code, reason, signal, finishTimeMs, ordered }: Exit): ExitView {
  const known: ExitReason = EXIT_REASONS.find((one) => one === reason) ?? 'Error';
  return { code: Math.min(255, Math.max(0, code)), reason: known, signal, finishTimeMs, ordered };
}

function amountsOf(amounts: Amounts | undefined): ResourceAmounts {
  return amounts === undefined ? NOTHING : { cpuMillis: amounts.cpuMillis, memoryBytes: amounts.memoryBytes, diskBytes: amounts.diskBytes };
}

function unique(uids: readonly string[]): readonly string[] {
  return [...new Set(uids)];
}
