import { describe, expect, it } from '@jest/globals';
import { findCondition, setCondition } from './conditions.ts';
import type { Condition } from './types.ts';

const ready: Condition = {
  type: 'Ready',
  status: 'False',
  reason: 'Starting',
  message: 'm',
  lastTransitionTime: '2026-01-01T00:00:00Z',
  observedGeneration: 1,
};
const other: Condition = { type: 'Assigned', status: 'True', reason: 'Placed', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' };
const later = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const state = { type: 'Ready', status: 'False', reason: 'Starting', message: 'm', observedGeneration: 1 } as const;

describe('set condition', () => {
  it.each([
    { when: 'it is new', given: [other], set: state, want: [other, { ...state, lastTransitionTime: '2026-01-02T03:04:05Z' }] },
    {
      when: 'its status changes',
      given: [ready, other],
      set: { ...state, status: 'True' as const },
      want: [{ ...ready, status: 'True', lastTransitionTime: '2026-01-02T03:04:05Z' }, other],
    },
    {
      when: 'only its reason changes',
      given: [ready, other],
      set: { ...state, reason: 'Pulling' },
      want: [{ ...ready, reason: 'Pulling' }, other],
    },
    {
      when: 'only its generation changes',
      given: [ready],
      set: { ...state, observedGeneration: 2 },
      want: [{ ...ready, observedGeneration: 2 }],
    },
  ])('when $when', ({ given, set, want }) => {
    const frozen = Object.freeze(given.map((condition) => Object.freeze(condition)));
    expect(setCondition(frozen, set, later)).toEqual(want);
  });

  it('returns the very same conditions when nothing changes', () => {
    const given = [other, ready];
    expect(setCondition(given, state, later)).toBe(given);
  });
});

describe('conditions', () => {
  it('are found by their type', () => {
    const both = [ready, other];
    expect(findCondition(both, 'Assigned')).toBe(other);
    expect(findCondition(both, 'None')).toBeUndefined();
    expect(findCondition(undefined, 'Assigned')).toBeUndefined();
  });
});
