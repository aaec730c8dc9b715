import { describe, expect, it } from '@jest/globals';
import { rankFree, rankQueues, tieBreaker, type SlotView } from './choose-agents.ts';

const runner = (
  runnerName: string,
  slots: number,
  used: number,
  more: { reserved?: number; queued?: number; assumed?: number } = {},
): SlotView => ({
  runnerName,
  slots: { slots, used, reserved: more.reserved ?? 0, queued: more.queued ?? 0, seq: 1 },
  assumed: more.assumed ?? 0,
});
const byName = (name: string) => name.charCodeAt(1) / 256;

describe('rankFree', () => {
  it.each([
    { when: 'one is taken less', runners: [runner('r1', 4, 2), runner('r2', 4, 1)], want: ['r2', 'r1'] },
    { when: 'one is larger', runners: [runner('r1', 2, 1), runner('r2', 8, 2)], want: ['r2', 'r1'] },
    { when: 'all are alike, in the order that was drawn', runners: [runner('r2', 4, 1), runner('r1', 4, 1)], want: ['r1', 'r2'] },
    { when: 'one has slots that are reserved', runners: [runner('r1', 4, 0, { reserved: 2 }), runner('r2', 4, 1)], want: ['r2', 'r1'] },
    { when: 'this pod has just asked one', runners: [runner('r1', 4, 0, { assumed: 3 }), runner('r2', 4, 2)], want: ['r2', 'r1'] },
    { when: 'one is full, with what this pod has asked for', runners: [runner('r1', 4, 2, { reserved: 1, assumed: 1 })], want: [] },
    { when: 'others wait there', runners: [runner('r1', 4, 2, { queued: 1 })], want: [] },
    { when: 'slots were taken away that are held', runners: [runner('r1', 1, 3)], want: [] },
  ])('$when', ({ runners, want }) => expect(rankFree(runners, byName)).toEqual(want));

  it('compares a few that were drawn, and names the others after them', () => {
    const full = Array.from({ length: 9 }, (_, index) => runner(`r${index}`, 10, 9 - index));
    const ranked = rankFree(full, byName);
    expect([ranked[0], ranked.at(-1), ranked.length]).toEqual(['r4', 'r5', 9]);
  });
});

describe('rankQueues', () => {
  it.each([
    {
      when: 'the queue of one is shorter',
      runners: [runner('r1', 4, 4, { queued: 2 }), runner('r2', 4, 4, { queued: 1 })],
      want: ['r2', 'r1'],
    },
    { when: 'one is larger', runners: [runner('r1', 2, 2, { queued: 2 }), runner('r2', 8, 8, { queued: 4 })], want: ['r2', 'r1'] },
    { when: 'one has no slots at all', runners: [runner('r1', 0, 0), runner('r2', 1, 1)], want: ['r2'] },
    {
      when: 'there are more than may be',
      runners: [1, 2, 3, 4].map((n) => runner(`r${n}`, 1, 1, { queued: n })),
      want: ['r1', 'r2', 'r3'],
    },
  ])('$when', ({ runners, want }) => expect(rankQueues(runners, 3, byName)).toEqual(want));
});

describe('tieBreaker', () => {
  it('draws evenly, and for each seed anew', () => {
    const firsts = Array.from({ length: 2_000 }, (_, seed) => {
      const tie = tieBreaker(String(seed));
      return ['a', 'b', 'c', 'd'].toSorted((one, other) => tie(one) - tie(other))[0] ?? '';
    });
    for (const name of ['a', 'b', 'c', 'd']) expect(Math.abs(firsts.filter((first) => first === name).length - 500)).toBeLessThan(100);
  });
});
