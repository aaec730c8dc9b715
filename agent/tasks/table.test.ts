import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Table } from './table.ts';

const change = fc.record({ key: fc.stringMatching(/^[a-z]{0,2}$/), value: fc.option(fc.nat(), { nil: undefined }) });

describe('a table', () => {
  it('has what a map has after the same changes, and never changes itself', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
        const map = new Map<string, number>();
        let table = new Table<number>();
        for (const { key, value } of changes) {
          const before = [table, new Map(table)] as const;
          if (value === undefined) map.delete(key);
          else map.set(key, value);
          table = value === undefined ? table.without(key) : table.with(key, value);
          expect(new Map(before[0])).toEqual(before[1]);
        }
        expect(new Map(table)).toEqual(map);
        expect([...table.values()].toSorted((a, b) => a - b)).toEqual([...map.values()].toSorted((a, b) => a - b));
        for (const { key } of changes) expect([table.get(key), table.has(key)]).toEqual([map.get(key), map.has(key)]);
      }),
    );
  });
});
