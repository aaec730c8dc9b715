import type { TaskEntry, TaskFacts, TaskJournalState, TaskRecord } from './record.ts';
import { Table } from './table.ts';

export const emptyTasks: TaskJournalState = { tasks: new Table(), names: new Table(), reservations: new Map() };

/** How long a result is kept, with its output and files. */
export const resultKeptMs = 15 * 60_000;

/** The state after `records`, in their sequence. */
export function applyTaskRecords(state: TaskJournalState, records: readonly TaskRecord[]): TaskJournalState {
  return records.reduce(applyRecord, state);
}

function applyRecord(state: TaskJournalState, record: TaskRecord): TaskJournalState {
  switch (record.kind) {
    case 'Accepted': {
      const entry = { task: record.task, started: undefined, result: undefined };
      // The task has what its reservation had.
      return {
        tasks: state.tasks.with(record.task.id, entry),
        names: namesOf(record.task).reduce((names, name) => names.with(name, record.task.id), state.names),
        reservations: without(state.reservations, [record.task.reservationID]),
      };
    }
    case 'Started':
      return change(state, record.id, (entry) => ({ ...entry, started: { bootID: record.bootID, timeMs: record.timeMs } }));
    case 'Cancelled':
      return change(state, record.id, (entry) => ({ ...entry, isCancelled: true }));
    case 'Ended':
      return change(state, record.id, (entry) => ({ ...entry, result: record.result }));
    case 'Forgotten':
      return record.ids.reduce(forget, state);
    case 'Reserved':
      return { ...state, reservations: new Map([...state.reservations, [record.reservation.id, record.reservation]]) };
    case 'Unreserved':
      return { ...state, reservations: without(state.reservations, [record.id]) };
  }
}

function change(state: TaskJournalState, id: string, by: (entry: TaskEntry) => TaskEntry): TaskJournalState {
  const entry = state.tasks.get(id);
  return entry === undefined ? state : { ...state, tasks: state.tasks.with(id, by(entry)) };
}

function forget(state: TaskJournalState, id: string): TaskJournalState {
  const entry = state.tasks.get(id);
  if (entry === undefined) return state;
  const own = namesOf(entry.task).filter((name) => state.names.get(name) === id);
  return { ...state, tasks: state.tasks.without(id), names: own.reduce((names, name) => names.without(name), state.names) };
}

/** The task that was run under a reservation. */
export function taskUnder({ tasks, names }: TaskJournalState, reservationID: string): TaskEntry | undefined {
  return tasks.get(names.get(reservationName(reservationID)) ?? '');
}

/** The task that claims a key. */
export function taskOfKey({ tasks, names }: TaskJournalState, keyHash: string): TaskEntry | undefined {
  return tasks.get(names.get(keyName(keyHash)) ?? '');
}

function namesOf({ reservationID, keyHash }: TaskFacts): readonly string[] {
  return [...(reservationID === '' ? [] : [reservationName(reservationID)]), ...(keyHash === '' ? [] : [keyName(keyHash)])];
}

const reservationName = (id: string) => `reservation/${id}`;
const keyName = (hash: string) => `key/${hash}`;

function without<T>(all: ReadonlyMap<string, T>, ids: readonly string[]): ReadonlyMap<string, T> {
  return ids.some((id) => all.has(id)) ? new Map([...all].filter(([id]) => !ids.includes(id))) : all;
}

/** The shortest list of records that gives the same state. What is over is forgotten by whoever removes its files. */
export function compactTasks(state: TaskJournalState): readonly TaskRecord[] {
  return [
    ...[...state.reservations.values()].map((reservation) => ({ kind: 'Reserved' as const, reservation })),
    ...[...state.tasks.values()].flatMap(recordsOf),
  ];
}

function recordsOf({ task, started, result, isCancelled }: TaskEntry): readonly TaskRecord[] {
  const { id } = task;
  return [
    { kind: 'Accepted', task },
    ...(started === undefined ? [] : [{ kind: 'Started' as const, id, ...started }]),
    ...(isCancelled === undefined ? [] : [{ kind: 'Cancelled' as const, id }]),
    ...(result === undefined ? [] : [{ kind: 'Ended' as const, id, result }]),
  ];
}

/** The tasks whose results were kept long enough. */
export function overdue(state: TaskJournalState, nowMs: number): readonly string[] {
  return [...state.tasks.values()]
    .filter(({ result }) => result !== undefined && nowMs - result.finishMs >= resultKeptMs)
    .map(({ task }) => task.id);
}
