import { describe, expect, it } from '@jest/globals';
import { add, larger, NOTHING, setAsideForTasks, subtract, takenBy } from './resources.ts';
import { runnerSpecSchema } from './runner.ts';

const one = { cpuMillis: 100, memoryBytes: 200, diskBytes: 300 };
const other = { cpuMillis: 300, memoryBytes: 200, diskBytes: 100 };

describe('amounts', () => {
  it.each([
    { what: 'the sum of each', got: add(one, other), want: { cpuMillis: 400, memoryBytes: 400, diskBytes: 400 } },
    {
      what: 'the difference, and never less than nothing',
      got: subtract(one, other),
      want: { cpuMillis: 0, memoryBytes: 0, diskBytes: 200 },
    },
    { what: 'the larger of each', got: larger(one, other), want: { cpuMillis: 300, memoryBytes: 200, diskBytes: 300 } },
    { what: 'all requests of what is active', got: takenBy(one, true), want: one },
    { what: 'the disk of what lies there', got: takenBy(one, false), want: { ...NOTHING, diskBytes: 300 } },
  ])('$what', ({ got, want }) => expect(got).toEqual(want));

  it.each([
    { when: 'nothing is said', spec: {}, want: { cpuMillis: 400, memoryBytes: 512 * 1024 ** 2, diskBytes: 0 } },
    { when: 'there are no slots', spec: { taskSlots: 0 }, want: NOTHING },
    {
      when: 'there are three of a size',
      spec: { taskSlots: 3, taskSlotResources: { cpu: '1500m', memory: '1Gi' } },
      want: { cpuMillis: 4500, memoryBytes: 3 * 1024 ** 3, diskBytes: 0 },
    },
  ])('set aside for tasks when $when', ({ spec, want }) => expect(setAsideForTasks(runnerSpecSchema.parse(spec))).toEqual(want));
});
