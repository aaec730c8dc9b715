import { describe, expect, it } from '@jest/globals';
import { look, parseStat, rootedAt, type ProcessStat } from './process-tree.ts';

const stat = (pid: number, parent: number, ticks = 0, of: Partial<ProcessStat> = {}): ProcessStat => ({
  ...{ pid, parent, ticks, childTicks: 0, started: 100 },
  ...of,
});
const pidsOf = (known: readonly ProcessStat[]) => known.map(({ pid }) => pid);

describe('a process and its descendants', () => {
  it.each([
    {
      when: 'a plain line',
      line: '42 (sh) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 5555 4096 100 18446744073709551615',
      want: { pid: 42, parent: 7, ticks: 33, childTicks: 77, started: 5555 },
    },
    {
      when: 'a program that is called like the line itself',
      line: '42 (a) S 1 ) R 7 42 42 0 -1 4194560 100 200 0 0 1 2 3 4 20 0 1 0 5555 4096 100',
      want: { pid: 42, parent: 7, ticks: 3, childTicks: 7, started: 5555 },
    },
    { when: 'nothing', line: '', want: undefined },
    { when: 'half a line', line: '42 (sh) S 7 42', want: undefined },
  ])('reads $when', ({ line, want }) => expect(parseStat(line)).toEqual(want));

  it('are who descends from it at whatever depth, and nobody else', () => {
    const tree = look(rootedAt(10), [stat(1, 0, 5), stat(12, 11, 3), stat(11, 10, 2), stat(10, 1, 1), stat(20, 1, 50)]);
    expect(pidsOf(tree.known).toSorted()).toEqual([10, 11, 12]);
    expect(tree.ticks).toBe(6);
  });

  it('stay known when another process adopts them, and a stranger with the number of one that has gone does not become one', () => {
    const first = look(rootedAt(10), [stat(10, 1), stat(11, 10), stat(12, 11)]);
    const second = look(first, [stat(12, 1, 7), stat(11, 1, 9, { started: 300 }), stat(13, 12, 1)]);
    expect(pidsOf(second.known)).toEqual([12, 13]);
    expect(second.ticks).toBe(8);
  });

  it('count the time of those that were waited for, and never less than before', () => {
    const first = look(rootedAt(10), [stat(10, 1, 1), stat(11, 10, 40)]);
    expect(look(first, [stat(10, 1, 1, { childTicks: 42 })]).ticks).toBe(43);
    expect(look(first, []).ticks).toBe(41);
  });
});
