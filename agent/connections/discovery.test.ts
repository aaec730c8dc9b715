import { describe, expect, it } from '@jest/globals';
import {
  addressesOf,
  alsoNames,
  forgetUnnamed,
  namesNothing,
  nothingNamed,
  nowNames,
  untilForgotten,
  type Discovery,
} from './discovery.ts';

type Step = (discovery: Discovery) => Discovery;
const names =
  (source: string, addresses: readonly string[], at = 0): Step =>
  (discovery) =>
    nowNames(discovery, source, addresses, at);
const also =
  (source: string, addresses: readonly string[], at = 0): Step =>
  (discovery) =>
    alsoNames(discovery, source, addresses, at);
const gone =
  (source: string, at = 0): Step =>
  (discovery) =>
    namesNothing(discovery, source, at);
const later =
  (at: number): Step =>
  (discovery) =>
    forgetUnnamed(discovery, at, 1_000);
const after = (...steps: readonly Step[]) => steps.reduce<Discovery>((discovery, step) => step(discovery), nothingNamed);

describe('the operator pods to be connected to', () => {
  it.each([
    { when: 'nobody has named any', steps: [], want: [] },
    {
      when: 'several sources name some',
      steps: [names('dns', ['a:2', 'a:10']), names('peer', ['a:2', 'a:1'])],
      want: ['a:1', 'a:2', 'a:10'],
    },
    {
      when: 'DNS names others now, a moment ago',
      steps: [names('dns', ['a', 'b']), names('dns', ['b', 'c'], 500), later(1_400)],
      want: ['a', 'b', 'c'],
    },
    {
      when: 'DNS names others now, long ago',
      steps: [names('dns', ['a', 'b']), names('dns', ['b', 'c'], 500), later(1_500)],
      want: ['b', 'c'],
    },
    {
      when: 'DNS still names what a peer names no more',
      steps: [names('dns', ['a']), names('p', ['a']), names('p', []), later(9_000)],
      want: ['a'],
    },
    { when: 'a peer names what DNS does not name yet', steps: [names('dns', ['a']), names('p', ['b']), later(9_000)], want: ['a', 'b'] },
    { when: 'the peer that named it is gone', steps: [names('dns', ['a']), names('p', ['b']), gone('p', 10), later(1_010)], want: ['a'] },
    {
      when: 'it is named again before it is forgotten',
      steps: [names('dns', ['a']), names('dns', [], 100), names('dns', ['a'], 900), later(2_000)],
      want: ['a'],
    },
    {
      when: 'it is named again and then no more: from then on',
      steps: [names('dns', ['a']), names('dns', [], 100), names('dns', ['a'], 900), names('dns', [], 1_000), later(1_999)],
      want: ['a'],
    },
    { when: 'DNS could not say all', steps: [names('dns', ['a', 'b']), also('dns', ['b', 'c'], 10), later(9_000)], want: ['a', 'b', 'c'] },
    {
      when: 'what others learn in between does not begin the time anew',
      steps: [names('dns', ['a']), gone('dns', 10), names('p', ['b'], 900), later(1_010)],
      want: ['b'],
    },
  ])('$when: $want', ({ steps, want }) => {
    expect(addressesOf(after(...steps))).toEqual(want);
  });

  it.each([
    { when: 'all are named', steps: [names('dns', ['a'])], want: undefined },
    {
      when: 'two are not named any more: until the first of them',
      steps: [names('dns', ['a', 'b']), names('dns', ['b'], 100), gone('dns', 300)],
      want: 700,
    },
  ])('is looked at again when $when', ({ steps, want }) => {
    expect(untilForgotten(after(...steps), 400, 1_000)).toBe(want);
  });
});
