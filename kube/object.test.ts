import { describe, expect, it } from '@jest/globals';
import { deepFreeze, isGone, keyOf, withoutManagedFields } from './object.ts';
import { compareVersions } from './resource-version.ts';
import { microTimestamp, timestamp } from './time.ts';

const metadata = { name: 'a', uid: 'u', resourceVersion: '1' };

describe('objects', () => {
  it.each([
    { ref: { name: 'a' }, key: 'a' },
    { ref: { namespace: 'ns', name: 'a' }, key: 'ns/a' },
  ])('$key names an object', ({ ref, key }) => expect(keyOf({ metadata: ref })).toBe(key));

  it.each([
    { when: 'it lives', over: {}, want: false },
    { when: 'a finalizer holds it', over: { deletionTimestamp: 't', finalizers: ['f'] }, want: false },
    { when: 'its grace has not passed', over: { deletionTimestamp: 't', deletionGracePeriodSeconds: 30 }, want: false },
    { when: 'nothing holds it', over: { deletionTimestamp: 't', deletionGracePeriodSeconds: 0 }, want: true },
  ])('is gone: $want when $when', ({ over, want }) => expect(isGone({ ...metadata, ...over })).toBe(want));

  it('is freed of managedFields without being changed', () => {
    const object = deepFreeze({ apiVersion: 'v1', kind: 'K', metadata: { ...metadata, managedFields: [1] } });
    expect(withoutManagedFields(object)).toEqual({ apiVersion: 'v1', kind: 'K', metadata });
    const without = { apiVersion: 'v1', kind: 'K', metadata };
    expect(withoutManagedFields(without)).toBe(without);
  });

  it('is frozen all the way down, also where it is empty, shared or very long', () => {
    const shared = { x: [] };
    const value = deepFreeze({ a: [{ b: null, c: undefined, d: shared }], e: shared, long: Array.from({ length: 300_000 }, () => 0) });
    expect([value, value.a, value.a[0], shared, shared.x, value.long].every(Object.isFrozen)).toBe(true);
  });
});

describe('versions', () => {
  it.each([
    { a: '9', b: '10', want: -1 },
    { a: '10', b: '9', want: 1 },
    { a: '123', b: '123', want: 0 },
    { a: '99999999999999999999', b: '100000000000000000000', want: -1 },
    { a: '99999999999999999998', b: '99999999999999999999', want: -1 },
    { a: 'x', b: 'x', want: 0 },
    { a: 'x', b: '1', want: undefined },
    { a: '01', b: '2', want: undefined },
    { a: '', b: '2', want: undefined },
  ])('$a against $b: $want', ({ a, b, want }) => {
    const order = compareVersions(a, b);
    expect(order === undefined ? undefined : Math.sign(order)).toBe(want);
  });
});

describe('times', () => {
  it('have whole seconds, or exactly six digits', () => {
    expect([timestamp(1_767_225_600_007), microTimestamp(1_767_225_600_007)]).toEqual([
      '2026-01-01T00:00:00Z',
      '2026-01-01T00:00:00.007000Z',
    ]);
  });
});
