import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { equalJson, mergePatch } from './diff.ts';

/** RFC 7386, written down as it stands there. */
function applyPatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result = new Map(
    Object.entries(typeof target === 'object' && target !== null && !Array.isArray(target) ? target : {}) as [string, unknown][],
  );
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) result.delete(name);
    else result.set(name, applyPatch(result.get(name), value));
  }
  return Object.fromEntries(result);
}

describe('merge patch', () => {
  it.each([
    { when: 'nothing differs', from: { a: 1, b: { c: [1, { d: 2 }] } }, to: { b: { c: [1, { d: 2 }] }, a: 1 }, want: undefined },
    { when: 'what is undefined is absent', from: { a: undefined, b: 1 }, to: { b: 1, c: undefined }, want: undefined },
    { when: 'a member comes', from: {}, to: { a: { b: 1 } }, want: { a: { b: 1 } } },
    { when: 'a member goes', from: { a: 1, b: { c: 1, d: 2 } }, to: { b: { d: 2 } }, want: { a: null, b: { c: null } } },
    {
      when: 'a member deep inside changes',
      from: { a: { b: { c: 1, d: 2 } } },
      to: { a: { b: { c: 3, d: 2 } } },
      want: { a: { b: { c: 3 } } },
    },
    { when: 'an item changes: the array goes as a whole', from: { a: [1, 2] }, to: { a: [1, 3] }, want: { a: [1, 3] } },
    { when: 'an object becomes something else', from: { a: { b: 1 } }, to: { a: 'x' }, want: { a: 'x' } },
    { when: 'an object becomes empty', from: { a: { b: 1 } }, to: { a: {} }, want: { a: { b: null } } },
  ])('when $when', ({ from, to, want }) => expect(mergePatch(from, to)).toEqual(want));

  it('makes the one into the other, and is nothing exactly when they are the same', () => {
    const leaf = fc.oneof(fc.integer({ min: 0, max: 2 }), fc.constantFrom('x', 'y'), fc.boolean());
    const { object } = fc.letrec((tie) => ({
      value: fc.oneof({ depthSize: 'small' }, leaf, tie('object'), fc.array(leaf, { maxLength: 2 })),
      object: fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value'), { maxKeys: 3, noNullPrototype: true }),
    }));
    fc.assert(
      fc.property(object, object, (from, to) => {
        const patch = mergePatch(from, to);
        expect(patch === undefined).toBe(equalJson(from, to));
        expect(applyPatch(from, patch ?? {})).toEqual(to);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('equal JSON', () => {
  it.each([
    { a: { x: 1, y: [1] }, b: { y: [1], x: 1 }, want: true },
    { a: { x: undefined }, b: {}, want: true },
    { a: [1, 2], b: [2, 1], want: false },
    { a: [], b: {}, want: false },
    { a: null, b: {}, want: false },
    { a: { x: null }, b: {}, want: false },
    { a: '1', b: 1, want: false },
  ])('$a and $b: $want', ({ a, b, want }) => expect([equalJson(a, b), equalJson(b, a)]).toEqual([want, want]));
});
