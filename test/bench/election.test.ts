import { describe, expect, it } from '@jest/globals';
import { expiryOf } from './election.ts';

describe('when the Lease of the leader may be taken', () => {
  it('is its duration after the last renewal, to the millisecond', () => {
    const spec = { holderIdentity: 'a', renewTime: '2026-01-01T00:00:04.250000Z', leaseDurationSeconds: 15 };
    expect(expiryOf({ metadata: { name: 'berth-operator' }, spec })).toBe(Date.UTC(2026, 0, 1, 0, 0, 19, 250));
  });

  it('is not known without a Lease', () => expect(expiryOf(undefined)).toBeNaN());
});
