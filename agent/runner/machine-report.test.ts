import { describe, expect, it } from '@jest/globals';
import { isSameMachine, reportMachine, type MachineUse } from './machine-report.ts';

const calm: MachineUse = {
  memory: { used: 1_000, total: 4_000 },
  disk: { used: 500, total: 1_000 },
  inodes: { used: 10, total: 100 },
  pids: { used: 100, total: 2_000 },
};

describe('what is published of a machine', () => {
  it('is told in twentieths', () => {
    const use = { ...calm, memory: { used: 1_090, total: 4_000 }, disk: { used: 526, total: 1_000 } };
    expect(reportMachine(undefined, use, 0)).toMatchObject({ memoryBytes: 1_000, diskBytes: 550, pids: 100 });
  });

  it('stays as it was told until it has moved by a whole step, so that nothing swings around a border', () => {
    const first = reportMachine(undefined, calm, 0);
    const told = [540, 549, 460, 551, 549, 500, 560].reduce<number[]>((all, used) => {
      const before = { ...first, diskBytes: all.at(-1) ?? first.diskBytes };
      return [...all, reportMachine(before, { ...calm, disk: { used, total: 1_000 } }, 0).diskBytes];
    }, []);
    expect(told).toEqual([500, 500, 500, 550, 550, 500, 550]);
    expect(isSameMachine(first, reportMachine(first, { ...calm, memory: { used: 1_199, total: 4_000 } }, 0))).toBe(true);
    expect(isSameMachine(first, reportMachine(first, { ...calm, memory: { used: 1_200, total: 4_000 } }, 0))).toBe(false);
  });

  it.each([
    { when: 'less than a tenth of the disk is free', use: { disk: { used: 901, total: 1_000 } }, want: 'DiskPressure' },
    { when: 'few files can be made', use: { inodes: { used: 96, total: 100 } }, want: 'DiskPressure' },
    { when: 'less than a twentieth of the memory is free', use: { memory: { used: 3_801, total: 4_000 } }, want: 'MemoryPressure' },
    { when: 'few processes can be started', use: { pids: { used: 1_801, total: 2_000 } }, want: 'PIDPressure' },
    { when: 'a file system counts no files', use: { inodes: { used: 0, total: 0 } }, want: '' },
    { when: 'there is enough of everything', use: {}, want: '' },
  ])('is under pressure when $when', ({ use, want }) => {
    const { pressures } = reportMachine(undefined, { ...calm, ...use }, 0);
    const pressed = Object.entries(pressures).flatMap(([type, { isPressed }]) => (isPressed ? [type] : []));
    expect(pressed.join()).toBe(want);
  });

  it('is told to be under pressure for five minutes longer than it is', () => {
    const full = reportMachine(undefined, { ...calm, disk: { used: 950, total: 1_000 } }, 0);
    const [soon, later] = [299_999, 300_000].map((now) => reportMachine(full, calm, now).pressures.DiskPressure.isPressed);
    expect([soon, later]).toEqual([true, false]);
  });
});
