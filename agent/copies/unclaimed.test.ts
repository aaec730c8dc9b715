import { describe, expect, it } from '@jest/globals';
import { abandoned, claimed, heard, nextAbandoned, type UnclaimedWatch } from './unclaimed.ts';

const a = { uid: 'a', epoch: 1 };
const b = { uid: 'b', epoch: 2 };
const minutes = (count: number) => count * 60_000;
const afterMs = minutes(10);
const validMs = minutes(3);

/** The leader says this, one minute after the other. */
function said(...lists: readonly (readonly { uid: string; epoch: number }[] | undefined)[]): UnclaimedWatch {
  return lists.reduce<UnclaimedWatch>(
    (watch, list, minute) => (list === undefined ? watch : heard(watch, list, validMs, minutes(minute))),
    { copies: [], validUntil: -1 },
  );
}

const often = <T>(count: number, value: T) => Array.from({ length: count }, () => value);

describe('a copy that nobody claims', () => {
  it.each([
    { when: 'it was named for nine minutes', given: said(...often(10, [a])), at: minutes(9), want: [] },
    { when: 'it was named for ten minutes', given: said(...often(11, [a])), at: minutes(10), want: [a] },
    { when: 'another was named for as long', given: said(...often(5, [b]), ...often(6, [a, b])), at: minutes(10), want: [b] },
    { when: 'it was claimed in between', given: said(...often(5, [a]), [], ...often(5, [a])), at: minutes(10), want: [] },
    { when: 'nobody knew in between', given: said(...often(2, [a]), ...often(4, undefined), ...often(5, [a])), at: minutes(10), want: [] },
    { when: 'a word in between was lost', given: said(...often(5, [a]), undefined, ...often(5, [a])), at: minutes(10), want: [a] },
    { when: 'nobody knows any more', given: said(...often(11, [a])), at: minutes(14), want: [] },
    { when: 'an order has just claimed it', given: claimed(said(...often(11, [a])), a), at: minutes(10), want: [] },
  ])('is given up or left alone: $when', ({ given, at, want }) => {
    expect(abandoned(given, at, afterMs).map(({ uid, epoch }) => ({ uid, epoch }))).toEqual(want);
  });

  it.each([
    { when: 'none is named', given: said([]), want: undefined },
    { when: 'one is new', given: said([a]), want: minutes(10) },
    { when: 'the older one counts', given: said([a], [a, b]), want: minutes(10) },
    { when: 'what is given up already does not count', given: said(...often(10, [a]), [a, b], [a, b]), want: minutes(20) },
  ])('is looked at again: $when', ({ given, want }) => {
    const at = want === minutes(20) ? minutes(11) : 0;
    expect(nextAbandoned(given, at, afterMs)).toBe(want === undefined ? undefined : want - at);
  });
});
