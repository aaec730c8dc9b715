import { describe, expect, it } from '@jest/globals';
import { chooseAnchor, chooseGroup, restoreGroups, type ShimGroup } from './shim-groups.ts';

const group = (id: string, members: string[], more: Partial<ShimGroup> = {}): ShimGroup => ({
  id,
  members,
  joining: [],
  anchor: members[0] ?? '',
  ...more,
});

describe('chooseGroup', () => {
  it.each([
    { when: 'there is none', groups: [], want: undefined },
    { when: 'one has room', groups: [group('a', ['1'])], want: 'a' },
    { when: 'two have room', groups: [group('a', ['1']), group('b', ['2', '3'])], want: 'b' },
    { when: 'the fuller one is full', groups: [group('a', ['1']), group('b', ['2', '3', '4'])], want: 'a' },
    { when: 'those that are joining fill it', groups: [group('a', ['1'], { joining: ['2', '3'] })], want: undefined },
    { when: 'it has no anchor', groups: [group('a', ['1'], { anchor: '' })], want: undefined },
    { when: 'both are equal', groups: [group('b', ['1']), group('a', ['2'])], want: 'a' },
  ])('when $when: $want', ({ groups, want }) => {
    expect(chooseGroup(groups, 3)?.id).toBe(want);
  });
});

it('chooseAnchor takes a member that stays', () => {
  expect(chooseAnchor(group('a', ['1', '2']), new Set(['1']))).toBe('2');
  expect(chooseAnchor(group('a', ['1']), new Set(['1']))).toBeUndefined();
});

it('restoreGroups reads them from what runs', () => {
  const members = [
    { id: '1', group: 'a' },
    { id: '2', group: 'a' },
    { id: '3', group: 'gone' },
    { id: '4', group: '' },
  ];
  expect(restoreGroups(members, new Set(['2', 'stale']))).toEqual([
    { id: 'a', members: ['1', '2'], joining: [], anchor: '2' },
    { id: 'gone', members: ['3'], joining: [], anchor: '' },
  ]);
});
