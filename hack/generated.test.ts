import { describe, expect, it } from '@jest/globals';
import { differences, staleFiles, summarize } from './generated.ts';

describe('generated files', () => {
  const generated = new Map([
    ['a', 'one\ntwo\n'],
    ['b', 'same\n'],
    ['c', 'new\n'],
  ]);
  const found = new Map([
    ['a', 'one\n2\n'],
    ['b', 'same\n'],
    ['c', undefined],
    ['old', 'gone\n'],
  ]);

  it('differ where a file is missing, changed or not generated any more', () =>
    expect(differences(generated, found)).toEqual([
      { path: 'a', found: 'one\n2\n', wanted: 'one\ntwo\n' },
      { path: 'c', found: undefined, wanted: 'new\n' },
      { path: 'old', found: 'gone\n', wanted: undefined },
    ]));

  it('are summarized by the first line that differs', () =>
    expect(summarize(differences(generated, found))).toBe('a:2: found "2", generated "two"\n  c: missing\n  old: not generated any more'));

  it('are shown from a little before the first difference in a long line', () => {
    const line = 'x'.repeat(100);
    const change = { path: 'a', found: `${line}old${line}`, wanted: `${line}new${line}` };
    expect(summarize([change])).toBe(
      `a:1: found "…${'x'.repeat(20)}old${'x'.repeat(57)}", generated "…${'x'.repeat(20)}new${'x'.repeat(57)}"`,
    );
  });

  it('that only end earlier are told so', () =>
    expect(summarize([{ path: 'a', found: 'one\ntwo', wanted: 'one' }])).toBe('a:2: found "two", generated the end of the file'));

  it('are stale where a generator owns the folder and does not make them', () =>
    expect(staleFiles(generated, ['a', 'old'])).toEqual(['old']));
});
