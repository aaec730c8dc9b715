import { describe, expect, it } from '@jest/globals';
import { allocated, misfit } from './capacity.ts';

const one = { cpuMillis: 100, memoryBytes: 200, diskBytes: 300 };

describe('capacity', () => {
  it('counts everything of what is active, and the disk of the rest', () => {
    expect(
      allocated([
        { requests: one, isActive: true },
        { requests: one, isActive: true },
        { requests: one, isActive: false },
      ]),
    ).toEqual({ cpuMillis: 200, memoryBytes: 400, diskBytes: 900 });
  });

  it.each([
    { when: 'it fits exactly', wanted: one, want: undefined },
    { when: 'cpu lacks', wanted: { ...one, cpuMillis: 101 }, want: 'The runner has no room: cpu 101m wanted and 100m free.' },
    {
      when: 'memory and disk lack',
      wanted: { ...one, memoryBytes: 201, diskBytes: 301 },
      want: 'The runner has no room: memory 201 bytes wanted and 200 bytes free, disk 301 bytes wanted and 300 bytes free.',
    },
  ])('when $when says $want', ({ wanted, want }) => {
    const capacity = { cpuMillis: 200, memoryBytes: 400, diskBytes: 600 };
    expect(misfit(capacity, [{ requests: one, isActive: true }], wanted)).toBe(want);
  });
});
