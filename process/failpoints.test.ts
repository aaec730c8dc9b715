import { mkdtempSync, existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { failpoints } from './failpoints.ts';

const names = ['written', 'sent'] as const;

function armed(variable: string | undefined) {
  const acts: string[] = [];
  const host = { variable: () => variable, act: (name: string, action: string) => void acts.push(`${action} at ${name}`) };
  return { reach: failpoints(names, host), acts };
}

describe('a failpoint', () => {
  it.each([
    { when: undefined, reached: ['written', 'sent'], want: [] },
    { when: 'sent', reached: ['written', 'sent', 'sent'], want: ['kill at sent'] },
    { when: 'sent:2', reached: ['sent'], want: [] },
    { when: 'sent:2', reached: ['sent', 'written', 'sent', 'sent'], want: ['kill at sent'] },
    { when: 'written=freeze', reached: ['written'], want: ['freeze at written'] },
  ] as const)('armed as $when, reached as $reached, does $want', ({ when, reached, want }) => {
    const { reach, acts } = armed(when);
    for (const name of reached) reach(name);
    expect(acts).toEqual(want);
  });

  it('armed by a file is armed while the process runs, and once', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'failpoint-')), 'armed');
    const { reach, acts } = armed(`@${path}`);
    reach('sent');
    expect(acts).toEqual([]);
    writeFileSync(path, 'sent\n');
    reach('sent');
    reach('sent');
    expect(acts).toEqual(['kill at sent']);
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, 'sent\n');
    reach('sent');
    expect(acts).toHaveLength(2);
  });

  it.each(['no-such-place', 'sent:x', ':::'])('armed as %p says which there are', (when) => {
    expect(() => armed(when).reach('sent')).toThrow(expect.objectContaining({ code: 'UnknownFailpoint' }));
  });
});
