import { describe, expect, it } from '@jest/globals';
import { aResult, aTask } from './a-task.ts';
import type { TaskRecord } from './record.ts';
import { applyTaskRecords, compactTasks, emptyTasks, overdue, resultKeptMs } from './reduce.ts';

const reservation = (id: string) => ({ id, caller: 'alice', ticketID: `t-${id}`, untilMs: 9_000 });
const history: readonly TaskRecord[] = [
  { kind: 'Reserved', reservation: reservation('r1') },
  { kind: 'Reserved', reservation: reservation('r2') },
  { kind: 'Reserved', reservation: reservation('r3') },
  { kind: 'Accepted', task: aTask({ id: 'a', reservationID: 'r1' }) },
  { kind: 'Started', id: 'a', bootID: 'boot', timeMs: 2_000 },
  { kind: 'Unreserved', id: 'r2' },
  { kind: 'Accepted', task: aTask({ id: 'b' }) },
  { kind: 'Started', id: 'b', bootID: 'boot', timeMs: 2_500 },
  { kind: 'Ended', id: 'b', result: aResult({ exitCode: 3, finishMs: 5_000 }) },
  { kind: 'Accepted', task: aTask({ id: 'c' }) },
  { kind: 'Ended', id: 'c', result: aResult({ finishMs: 4_000 }) },
  { kind: 'Forgotten', ids: ['c'] },
  { kind: 'Ended', id: 'never', result: aResult() },
];

describe('the journal of tasks', () => {
  const state = applyTaskRecords(emptyTasks, history);

  it('keeps what was accepted, started and ended, and reservations that no task has', () => {
    expect([...state.reservations.values()]).toEqual([reservation('r3')]);
    expect([...state.tasks]).toEqual([
      ['a', { task: aTask({ id: 'a', reservationID: 'r1' }), started: { bootID: 'boot', timeMs: 2_000 }, result: undefined }],
      ['b', { task: aTask({ id: 'b' }), started: { bootID: 'boot', timeMs: 2_500 }, result: aResult({ exitCode: 3, finishMs: 5_000 }) }],
    ]);
  });

  it('says the same in fewer records', () => {
    const compacted = compactTasks(state);
    expect(applyTaskRecords(emptyTasks, compacted)).toEqual(state);
    expect(compacted).toHaveLength(6);
  });

  it('lets go of a result when it was kept long enough, never of a task that has none', () => {
    expect(overdue(state, 5_000 + resultKeptMs - 1)).toEqual([]);
    expect(overdue(state, 5_000 + resultKeptMs)).toEqual(['b']);
  });
});
