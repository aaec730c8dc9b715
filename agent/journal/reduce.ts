import type { AcceptedRecord, CopyEntry, JournalRecord, JournalState, RejectedRecord, SandboxEntry, SandboxRecord } from './record.ts';

export const emptyJournal: JournalState = { storeID: '', incarnation: 0, sandboxes: new Map() };

/** Rejections kept for an epoch: lower numbers are refused as superseded anyhow. */
const keptRejections = 8;

/** The state after `records`, in their sequence. */
export function applyRecords(state: JournalState, records: readonly JournalRecord[]): JournalState {
  const last = records.findLast((record) => record.kind === 'Incarnation');
  const changes = Map.groupBy(
    records.filter((record) => record.kind !== 'Incarnation'),
    uidOf,
  );
  const changed = [...changes].map(([uid, some]) => [uid, some.reduce(applyToSandbox, state.sandboxes.get(uid))] as const);
  return {
    storeID: last?.storeID ?? state.storeID,
    incarnation: last?.incarnation ?? state.incarnation,
    sandboxes: changed.length === 0 ? state.sandboxes : new Map([...state.sandboxes, ...changed.filter(isKnown)]),
  };
}

/** What is recorded of one epoch, or undefined. */
export function copyEntry(sandbox: SandboxEntry | undefined, epoch: number): CopyEntry | undefined {
  return sandbox?.copies.find((copy) => copy.epoch === epoch);
}

/** The rejection of this very order, or undefined. */
export function rejectionOf(copy: CopyEntry | undefined, order: number) {
  return copy?.rejections.find((rejection) => rejection.order === order);
}

/** The order that was accepted last will not be carried out: it, or a newer one, was rejected. */
export function isRejected(copy: CopyEntry): boolean {
  return (copy.rejections.at(-1)?.order ?? 0) >= (copy.accepted?.order ?? 1);
}

function isKnown(entry: readonly [string, SandboxEntry | undefined]): entry is [string, SandboxEntry] {
  return entry[1] !== undefined;
}

function uidOf(record: SandboxRecord): string {
  return record.kind === 'Compacted' ? record.sandbox.uid : record.uid;
}

function applyToSandbox(sandbox: SandboxEntry | undefined, record: SandboxRecord): SandboxEntry {
  if (record.kind === 'Compacted') return record.sandbox;
  const known = sandbox ?? { uid: record.uid, namespace: '', name: '', order: 0, copies: [] };
  const copy = copyEntry(known, record.epoch) ?? newCopy(record.epoch);
  const others = known.copies.filter(({ epoch }) => epoch !== record.epoch);
  const next = { ...known, copies: [...others, applyToCopy(copy, record)].toSorted((a, b) => a.epoch - b.epoch) };
  if (record.kind !== 'Accepted' && record.kind !== 'Rejected' && record.kind !== 'Preparing') return next;
  const order = record.kind === 'Preparing' ? known.order : Math.max(known.order, record.order);
  return { ...next, namespace: record.namespace, name: record.name, order };
}

function newCopy(epoch: number): CopyEntry {
  return {
    epoch,
    accepted: undefined,
    started: 0,
    exit: undefined,
    before: undefined,
    rejections: [],
    absentSinceMs: undefined,
    attempt: undefined,
    madeFrom: undefined,
    touchedMs: 0,
  };
}

function applyToCopy(copy: CopyEntry, record: Exclude<SandboxRecord, { kind: 'Compacted' }>): CopyEntry {
  switch (record.kind) {
    case 'Accepted':
      return {
        ...copy,
        accepted: acceptedOf(record),
        attempt: undefined,
        madeFrom: copy.madeFrom ?? record.source,
        touchedMs: record.timeMs,
      };
    case 'Starting':
      if (copy.started === record.contentVersion) return copy;
      return {
        ...copy,
        started: record.contentVersion,
        exit: undefined,
        before: { started: copy.started, exit: copy.exit },
      };
    case 'TakenBack':
      return takeBack(copy, record.contentVersion);
    case 'Exited':
      return copy.started === record.contentVersion ? { ...copy, exit: record.exit } : copy;
    case 'Rejected':
      return { ...takeBack(copy, record.takenBack), rejections: reject(copy, record), attempt: undefined, touchedMs: record.timeMs };
    case 'Absent':
      return {
        ...newCopy(copy.epoch),
        accepted: copy.accepted,
        rejections: copy.rejections,
        absentSinceMs: record.timeMs,
        touchedMs: record.timeMs,
      };
    case 'Preparing':
      return {
        ...copy,
        attempt: { source: record.source, configHash: record.configHash },
        madeFrom: copy.madeFrom ?? record.source,
        touchedMs: record.timeMs,
      };
    case 'Forgotten':
      return { ...copy, attempt: record.next === undefined ? undefined : copy.attempt, madeFrom: record.next };
  }
}

function acceptedOf({ order, content, wanted, contentVersion, source, configHash, graceSeconds, bootID }: AcceptedRecord) {
  return { order, content, wanted, contentVersion, source, configHash, graceSeconds, bootID };
}

function takeBack(copy: CopyEntry, contentVersion: number): CopyEntry {
  if (contentVersion === 0 || copy.started !== contentVersion || copy.before === undefined) return copy;
  return { ...copy, ...copy.before, before: undefined };
}

function reject(copy: CopyEntry, { order, content, reason, message }: RejectedRecord) {
  const others = copy.rejections.filter((rejection) => rejection.order !== order);
  return [...others, { order, content, reason, message }].toSorted((a, b) => a.order - b.order).slice(-keptRejections);
}
