import { describe, expect, it } from '@jest/globals';
import { decideRotation } from './rotation.ts';

const limits = { maxBytes: 100, maxFiles: 4 };

describe('a log', () => {
  it.each([
    { when: 'it is as large as it may be', given: { current: 100, rotated: [100, 100, 100] }, want: undefined },
    { when: 'it is too large for the first time', given: { current: 101, rotated: [] }, want: { skip: 0, keep: 0 } },
    { when: 'older ones fit beside it', given: { current: 110, rotated: [90, 100] }, want: { skip: 0, keep: 2 } },
    { when: 'the oldest does not fit beside it', given: { current: 250, rotated: [100, 100] }, want: { skip: 0, keep: 1 } },
    { when: 'there are as many as there may be', given: { current: 101, rotated: [1, 1, 1] }, want: { skip: 0, keep: 2 } },
    { when: 'it grew while nobody looked', given: { current: 390, rotated: [100] }, want: { skip: 0, keep: 0 } },
    { when: 'it grew beyond all that is kept', given: { current: 1000, rotated: [100] }, want: { skip: 600, keep: 0 } },
  ])('is left or rotated: $when', ({ given, want }) => {
    expect(decideRotation(given, limits)).toEqual(want);
  });
});
