import type { TaskEntry, TaskJournalState, TaskRecord } from './record.ts';

export const emptyTasks: TaskJournalState = { tasks: new Map(), reservations: new Map() };

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
        tasks: new Map([...state.tasks, [record.task.id, entry]]),
        reservations: without(state.reservations, [record.task.reservationID]),
      };
    }
    case 'Started':
      return change(state, record.id, (entry) => ({ ...entry, started: { bootID: record.bootID, timeMs: record.timeMs } }));
    case 'Ended':
      return change(state, record.id, (entry) => ({ ...entry, result: record.result }));
    case 'Forgotten':
      return { ...state, tasks: without(state.tasks, record.ids) };
    case 'Reserved':
      return { ...state, reservations: new Map([...state.reservations, [record.reservation.id, record.reservation]]) };
    case 'Unreserved':
      return { ...state, reservations: without(state.reservations, [record.id]) };
  }
}

function change(state: TaskJournalState, id: string, by: (entry: TaskEntry) => TaskEntry): TaskJournalState {
  const entry = state.tasks.get(id);
  return entry === undefined ? state : { ...state, tasks: new Map([...state.tasks, [id, by(entry)]]) };
}

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

function recordsOf({ task, started, result }: TaskEntry): readonly TaskRecord[] {
  const { id } = task;
  return [
    { kind: 'Accepted', task },
    ...(started === undefined ? [] : [{ kind: 'Started' as const, id, ...started }]),
    ...(result === undefined ? [] : [{ kind: 'Ended' as const, id, result }]),
  ];
}

/** The tasks whose results were kept long enough. */
export function overdue(state: TaskJournalState, nowMs: number): readonly string[] {
  return [...state.tasks.values()]
    .filter(({ result }) => result !== undefined && nowMs - result.finishMs >= resultKeptMs)
    .map(({ task }) => task.id);
}
