import { describe, expect, it } from '@jest/globals';
import { aResult, aTask } from './a-task.ts';
import type { TaskRecord } from './record.ts';
import { applyTaskRecords, compactTasks, emptyTasks, overdue, resultKeptMs, taskOfKey, taskUnder } from './reduce.ts';

const reservation = (id: string) => ({ id, caller: 'alice', ticketID: `t-${id}`, untilMs: 9_000 });
const history: readonly TaskRecord[] = [
  { kind: 'Reserved', reservation: reservation('r1') },
  { kind: 'Reserved', reservation: reservation('r2') },
  { kind: 'Reserved', reservation: reservation('r3') },
  { kind: 'Accepted', task: aTask({ id: 'a', reservationID: 'r1' }) },
  { kind: 'Started', id: 'a', bootID: 'boot', timeMs: 2_000 },
  { kind: 'Cancelled', id: 'a' },
  { kind: 'Unreserved', id: 'r2' },
  { kind: 'Accepted', task: aTask({ id: 'b', keyHash: 'k' }) },
  { kind: 'Started', id: 'b', bootID: 'boot', timeMs: 2_500 },
  { kind: 'Ended', id: 'b', result: aResult({ exitCode: 3, finishMs: 5_000 }) },
  { kind: 'Accepted', task: aTask({ id: 'c', keyHash: 'kc', reservationID: 'rc' }) },
  { kind: 'Ended', id: 'c', result: aResult({ finishMs: 4_000 }) },
  { kind: 'Forgotten', ids: ['c'] },
  { kind: 'Ended', id: 'never', result: aResult() },
];

describe('the journal of tasks', () => {
  const state = applyTaskRecords(emptyTasks, history);

  it('keeps what was accepted, started and ended, and reservations that no task has', () => {
    expect([...state.reservations.values()]).toEqual([reservation('r3')]);
    expect([...state.tasks].toSorted(([one], [other]) => (one < other ? -1 : 1))).toEqual([
      [
        'a',
        { task: aTask({ id: 'a', reservationID: 'r1' }), started: { bootID: 'boot', timeMs: 2_000 }, result: undefined, isCancelled: true },
      ],
      [
        'b',
        {
          task: aTask({ id: 'b', keyHash: 'k' }),
          started: { bootID: 'boot', timeMs: 2_500 },
          result: aResult({ exitCode: 3, finishMs: 5_000 }),
        },
      ],
    ]);
  });

  it('finds them by their reservation and their key for as long as it has them', () => {
    expect(taskUnder(state, 'r1')?.task.id).toBe('a');
    expect(taskOfKey(state, 'k')?.task.id).toBe('b');
    expect([taskUnder(state, 'rc'), taskOfKey(state, 'kc'), taskUnder(state, 'k')]).toEqual([undefined, undefined, undefined]);
  });

  it('says the same in fewer records', () => {
    const compacted = compactTasks(state);
    expect(applyTaskRecords(emptyTasks, compacted)).toEqual(state);
    expect(compacted).toHaveLength(7);
  });

  it('lets go of a result when it was kept long enough, never of a task that has none', () => {
    expect(overdue(state, 5_000 + resultKeptMs - 1)).toEqual([]);
    expect(overdue(state, 5_000 + resultKeptMs)).toEqual(['b']);
  });
});
