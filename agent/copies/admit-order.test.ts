import { describe, expect, it } from '@jest/globals';
import { aRejection, anAcceptance } from '../journal/a-record.ts';
import type { JournalRecord } from '../journal/record.ts';
import { applyRecords, emptyJournal } from '../journal/reduce.ts';
import type { Order } from '../proto/gen/berth/agent/v1/agent.ts';
import { admitOrder } from './admit-order.ts';
import { aConfig, anOrder, toPrepare, toRemove, toStart, toStop, whatIsThere } from './an-order.ts';
import { readOrder } from './order.ts';
import { acceptedRecord, rejectedRecord } from './records.ts';

/** What an agent answers that has these records, on store-1 under boot-1. */
function answer(order: Order, records: readonly JournalRecord[], misfit?: string, isDiskFull = false): string {
  const read = readOrder(order);
  if (typeof read === 'string') return read;
  const sandbox = applyRecords(emptyJournal, records).sandboxes.get('u1');
  const admission = admitOrder(read, { storeID: 'store-1', bootID: 'boot-1', sandbox, misfit, isDiskFull });
  if (admission.kind === 'Refuse') return `Refuse ${admission.code}`;
  return admission.kind === 'Reject' ? `Reject ${admission.reason}` : admission.kind;
}

function accepted(order: Order): JournalRecord {
  const read = readOrder(order);
  if (typeof read === 'string') throw new Error(read);
  return acceptedRecord(read, 1000);
}

function rejected(order: Order): JournalRecord {
  const read = readOrder(order);
  if (typeof read === 'string') throw new Error(read);
  return rejectedRecord(read, { kind: 'Reject', reason: 'InsufficientOnRunner', message: 'no room' }, 1000);
}

const started = (contentVersion: number): JournalRecord => ({ kind: 'Starting', uid: 'u1', epoch: 1, contentVersion });
const absent: JournalRecord = { kind: 'Absent', uid: 'u1', epoch: 1, timeMs: 1000 };
const otherConfig = { config: aConfig({ hash: 'c2' }) };

describe('an order', () => {
  it.each<{ when: string; order: Order; given: readonly JournalRecord[]; misfit?: string; isDiskFull?: boolean; want: string }>([
    // Rule 1
    { when: 'it is for another store', order: anOrder({ storeId: 'other' }), given: [], want: 'Refuse StoreMismatch' },
    { when: 'it is for another boot', order: anOrder({ bootId: 'other' }), given: [], want: 'Refuse BootMismatch' },
    { when: 'it is for no boot', order: anOrder({ bootId: '' }), given: [], want: 'Refuse BootMismatch' },
    { when: 'it removes what is left of a deleted object', order: toRemove(1, { bootId: '' }), given: [], want: 'Accept' },
    { when: 'it removes under another boot', order: toRemove(1, { bootId: 'other' }), given: [], want: 'Refuse BootMismatch' },
    // Rule 2
    { when: 'a higher number is known', order: anOrder({ order: 4 }), given: [accepted(toStop(5))], want: 'Refuse Superseded' },
    {
      when: 'a higher number was rejected',
      order: anOrder({ order: 4 }),
      given: [rejected(anOrder({ order: 5 }))],
      want: 'Refuse Superseded',
    },
    {
      when: 'a higher number is known of another epoch',
      order: anOrder({ order: 4, epoch: 2 }),
      given: [accepted(toStop(5))],
      want: 'Refuse Superseded',
    },
    { when: 'its number is known with another wish', order: toStop(1), given: [accepted(anOrder())], want: 'Refuse ContentConflict' },
    {
      when: 'its number is known with another version',
      order: toStart(1, 2),
      given: [accepted(anOrder())],
      want: 'Refuse ContentConflict',
    },
    {
      when: 'its number is known with another source',
      order: anOrder({ source: whatIsThere }),
      given: [accepted(anOrder())],
      want: 'Refuse ContentConflict',
    },
    {
      when: 'its number is known with another configuration',
      order: anOrder(otherConfig),
      given: [accepted(anOrder())],
      want: 'Refuse ContentConflict',
    },
    {
      when: 'its number was rejected with another content',
      order: toStop(1),
      given: [rejected(anOrder())],
      want: 'Refuse ContentConflict',
    },
    { when: 'its number is known of another epoch', order: toStop(1), given: [accepted(anOrder({ epoch: 2 }))], want: 'Accept' },
    { when: 'only the grace differs', order: toStop(1, { graceSeconds: 99 }), given: [accepted(toStop(1))], want: 'Resume' },
    {
      when: 'only the credentials differ',
      order: anOrder({ credentials: [{ host: 'h', username: 'u', password: 'p' }] }),
      given: [accepted(anOrder())],
      want: 'Resume',
    },
    // Rule 3
    {
      when: 'it removes what was removed under the same number',
      order: toRemove(2),
      given: [accepted(toRemove(2)), absent],
      want: 'Repeat',
    },
    {
      when: 'it removes what was removed, under a higher number',
      order: toRemove(3),
      given: [accepted(toRemove(2)), absent],
      want: 'Accept',
    },
    {
      when: 'it starts what was removed',
      order: anOrder({ order: 3 }),
      given: [accepted(toRemove(2)), absent],
      want: 'Reject OrderRejected',
    },
    {
      when: 'it starts in place what was removed',
      order: toStart(3, 2),
      given: [accepted(toRemove(2)), absent],
      want: 'Reject ContentMissing',
    },
    { when: 'it stops what was removed', order: toStop(3), given: [accepted(toRemove(2)), absent], want: 'Reject OrderRejected' },
    { when: 'it was rejected before, and would fit now', order: anOrder(), given: [rejected(anOrder())], want: 'Repeat' },
    {
      when: 'it was rejected because of a tombstone',
      order: anOrder({ order: 3 }),
      given: [accepted(toRemove(2)), absent, rejected(anOrder({ order: 3 }))],
      want: 'Repeat',
    },
    // Rule 4
    { when: 'its version was started, under the same number', order: anOrder(), given: [accepted(anOrder()), started(1)], want: 'Resume' },
    {
      when: 'its version was started, under a lower number',
      order: anOrder({ order: 2, ...otherConfig }),
      given: [accepted(anOrder()), started(1)],
      want: 'Accept',
    },
    {
      when: 'a newer version was started',
      order: anOrder({ order: 9 }),
      given: [accepted(anOrder()), started(7)],
      misfit: 'full',
      want: 'Accept',
    },
    // Rule 5
    { when: 'it starts and there is no room', order: anOrder(), given: [], misfit: 'full', want: 'Reject InsufficientOnRunner' },
    { when: 'it prepares and there is no room', order: toPrepare(1), given: [], misfit: 'full', want: 'Reject InsufficientOnRunner' },
    {
      when: 'it comes again and there is no room any more',
      order: anOrder(),
      given: [accepted(anOrder())],
      misfit: 'full',
      want: 'Resume',
    },
    { when: 'it stops and there is no room', order: toStop(1), given: [], misfit: 'full', want: 'Accept' },
    { when: 'it starts and the disk is full', order: anOrder(), given: [], isDiskFull: true, want: 'Reject OutOfDisk' },
    { when: 'it prepares and the disk is full', order: toPrepare(1), given: [], isDiskFull: true, want: 'Reject OutOfDisk' },
    { when: 'it comes again and the disk is full', order: anOrder(), given: [accepted(anOrder())], isDiskFull: true, want: 'Resume' },
    { when: 'it stops and the disk is full', order: toStop(1), given: [], isDiskFull: true, want: 'Accept' },
    { when: 'it removes and the disk is full', order: toRemove(1), given: [], isDiskFull: true, want: 'Accept' },
    // Rule 6
    { when: 'it is new', order: anOrder(), given: [], want: 'Accept' },
    { when: 'it is newer', order: toStart(3, 2), given: [accepted(anOrder()), started(1), accepted(toStop(2))], want: 'Accept' },
    { when: 'a lower one was rejected', order: anOrder({ order: 2 }), given: [aRejection()], want: 'Accept' },
    // Not understood
    { when: 'it names no sandbox', order: anOrder({ uid: '' }), given: [], want: 'it names no sandbox, epoch or number' },
    { when: 'it has no number', order: anOrder({ order: 0 }), given: [], want: 'it names no sandbox, epoch or number' },
    { when: 'it has no source', order: anOrder({ source: undefined }), given: [], want: 'it names no source' },
    { when: 'it permits no version', order: anOrder({ contentVersion: 0 }), given: [], want: 'it permits no contentVersion' },
  ])('when $when → $want', ({ order, given, misfit, isDiskFull, want }) => {
    expect(answer(order, given, misfit, isDiskFull)).toBe(want);
  });

  it('is admitted from a frozen record without changing it', () => {
    const state = applyRecords(emptyJournal, [anAcceptance()]);
    const before = structuredClone(state);
    answer(anOrder({ order: 2 }), [anAcceptance()]);
    expect(state).toEqual(before);
  });
});
