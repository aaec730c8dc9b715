import { describe, expect, it } from '@jest/globals';
import { aRejection, anAcceptance, anExit } from './a-record.ts';
import { compact, neverStartedKeptMs, tombstoneKeptMs } from './compaction.ts';
import type { JournalRecord } from './record.ts';
import { applyRecords, copyEntry, emptyJournal, isRejected, rejectionOf } from './reduce.ts';

const after = (...records: JournalRecord[]) => applyRecords(emptyJournal, records);
const copyAfter = (...records: JournalRecord[]) => {
  const copy = copyEntry(after(...records).sandboxes.get('u1'), 1);
  if (copy === undefined) throw new Error('no copy');
  return copy;
};

describe('journal state', () => {
  it('keeps the highest order of a sandbox over all its epochs', () => {
    const state = after(anAcceptance({ order: 5 }), anAcceptance({ epoch: 2, order: 7 }), aRejection({ epoch: 1, order: 6 }));
    expect(state.sandboxes.get('u1')?.order).toBe(7);
    expect(state.sandboxes.get('u1')?.copies.map(isRejected)).toEqual([true, false]);
  });

  it('knows the store and the newest incarnation', () => {
    const state = after({ kind: 'Incarnation', storeID: 's', incarnation: 1 }, anAcceptance(), {
      kind: 'Incarnation',
      storeID: 's',
      incarnation: 2,
    });
    expect(state).toMatchObject({ storeID: 's', incarnation: 2 });
  });

  it('takes a start back to what was before it, with its exit', () => {
    const exit = anExit({ code: 3 });
    const ran: JournalRecord[] = [
      anAcceptance(),
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 1 },
      { kind: 'Exited', uid: 'u1', epoch: 1, contentVersion: 1, exit },
      anAcceptance({ order: 2, contentVersion: 2 }),
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 2 },
    ];
    expect(copyAfter(...ran)).toMatchObject({ started: 2, exit: undefined });
    expect(copyAfter(...ran, { kind: 'TakenBack', uid: 'u1', epoch: 1, contentVersion: 2 })).toMatchObject({ started: 1, exit });
    expect(copyAfter(...ran, aRejection({ order: 2, takenBack: 2 }))).toMatchObject({ started: 1, exit });
  });

  it('takes back nothing when another version was started since', () => {
    const copy = copyAfter(
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 2 },
      { kind: 'TakenBack', uid: 'u1', epoch: 1, contentVersion: 1 },
    );
    expect(copy.started).toBe(2);
  });

  it('ignores the exit of an older version', () => {
    const copy = copyAfter(
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 2 },
      { kind: 'Exited', uid: 'u1', epoch: 1, contentVersion: 1, exit: anExit() },
    );
    expect(copy.exit).toBeUndefined();
  });

  it('an order takes over the attempt that was made ahead', () => {
    const preparing: JournalRecord = {
      kind: 'Preparing',
      uid: 'u1',
      epoch: 1,
      namespace: 'default',
      name: 'a',
      source: { kind: 'Image', digest: '' },
      configHash: 'c1',
      timeMs: 1,
    };
    expect(copyAfter(preparing).attempt).toEqual({ source: { kind: 'Image', digest: '' }, configHash: 'c1' });
    expect(after(preparing).sandboxes.get('u1')?.order).toBe(0);
    expect(copyAfter(preparing, anAcceptance()).attempt).toBeUndefined();
    expect(copyAfter(preparing, { kind: 'Forgotten', uid: 'u1', epoch: 1, next: undefined }).attempt).toBeUndefined();
  });

  it('keeps a tombstone, and with it nothing that was started', () => {
    const copy = copyAfter(
      anAcceptance(),
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 1 },
      { kind: 'Absent', uid: 'u1', epoch: 1, timeMs: 9 },
    );
    expect(copy).toMatchObject({ absentSinceMs: 9, started: 0 });
  });

  it('remembers the newest rejections', () => {
    const copy = copyAfter(...Array.from({ length: 20 }, (_, n) => aRejection({ order: n + 1 })));
    expect(rejectionOf(copy, 20)).toMatchObject({ reason: 'ImageNotFound' });
    expect(copy.rejections).toHaveLength(8);
  });

  it('does not change the state it is given', () => {
    const before = after(anAcceptance());
    const frozen = structuredClone(before);
    applyRecords(before, [aRejection({ order: 2 })]);
    expect(before).toEqual(frozen);
  });
});

describe('compaction', () => {
  const now = 1_000_000_000_000;
  const compacted = (...records: JournalRecord[]) => applyRecords(emptyJournal, compact(after(...records), now)).sandboxes.get('u1');

  it('gives the same state in fewer records', () => {
    const state = after(
      { kind: 'Incarnation', storeID: 's', incarnation: 4 },
      anAcceptance({ timeMs: now }),
      { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 1 },
      anAcceptance({ order: 2, wanted: 'Stopped', timeMs: now }),
    );
    const records = compact(state, now);
    expect(records).toHaveLength(2);
    expect(applyRecords(emptyJournal, records)).toEqual(state);
  });

  it.each([
    { what: 'a tombstone of seven days', keeps: true, records: [{ kind: 'Absent', uid: 'u1', epoch: 1, timeMs: now - tombstoneKeptMs }] },
    { what: 'an older tombstone', keeps: false, records: [{ kind: 'Absent', uid: 'u1', epoch: 1, timeMs: now - tombstoneKeptMs - 1 }] },
    {
      what: 'an old copy that was started once',
      keeps: true,
      records: [anAcceptance({ timeMs: 0, wanted: 'Stopped' }), { kind: 'Starting', uid: 'u1', epoch: 1, contentVersion: 1 }],
    },
    { what: 'an old order to run', keeps: true, records: [anAcceptance({ timeMs: 0 })] },
    { what: 'a fresh rejection', keeps: true, records: [aRejection({ timeMs: now - neverStartedKeptMs })] },
    { what: 'an old rejection of what never ran', keeps: false, records: [aRejection({ timeMs: now - neverStartedKeptMs - 1 })] },
  ] as { what: string; keeps: boolean; records: JournalRecord[] }[])('$what: kept $keeps', ({ keeps, records }) => {
    expect(compacted(...records) !== undefined).toBe(keeps);
  });
});
