import { describe, expect, it } from '@jest/globals';
import { ScaleBed, withoutLeases } from '../bench/scale-bed.ts';
import { SlotsBed } from '../bench/slots-bed.ts';
import { TasksBed } from '../bench/tasks-bed.ts';
import { startTimeoutMs } from './world.ts';

describe('the benchmark of scale, with a small fleet', () => {
  it(
    'starts every sandbox, sees no write while nothing changes, and a restarted operator that writes nothing either',
    async () => {
      await using bed = await ScaleBed.make({ sandboxes: 30, runners: 3, created: 6, etcdFsync: false, nodeOptions: undefined });
      await bed.fill();
      await bed.settle();
      const filled = await bed.idle(3);
      expect([...withoutLeases(filled.writes)]).toEqual([]);
      expect(filled.residentMiB).toHaveLength(3);
      const restart = await bed.restart();
      expect(restart.reconciled).toBeGreaterThanOrEqual(restart.synced);
      await bed.settle();
      const restarted = await bed.idle(3);
      expect([...withoutLeases(restarted.writes)]).toEqual([]);
    },
    startTimeoutMs,
  );
});

describe('the benchmark of tasks, made small', () => {
  it(
    'runs the same through Berth and by containerd alone, in a sandbox and alone, several at once',
    async () => {
      await using bed = await TasksBed.make({ etcdFsync: false, slots: 5 });
      const places = [0, 1, 2, 3];
      await Promise.all(places.map(() => bed.run()));
      await Promise.all(places.map((place) => bed.runBare(place)));
      await Promise.all(places.map(() => bed.runAlone()));
      const removals = await Promise.all(places.map((place) => bed.runAloneBare(place)));
      await Promise.all(removals.map((remove) => remove()));
    },
    startTimeoutMs,
  );

  it(
    'reserves slots of a modelled fleet through several pods, and gives them all back',
    async () => {
      await using bed = await SlotsBed.make({ pods: 2, runners: 4, slots: 10, etcdFsync: false });
      const { times, bytes } = await bed.status(3);
      expect([times.length, bytes > 100]).toEqual([3, true]);
      for (const pods of [1, 2]) {
        const { perRunner, variation } = await bed.spread(pods, 20, 4);
        expect(perRunner.reduce((sum, reserved) => sum + reserved, 0)).toBe(20);
        expect(variation).toBeLessThan(1);
      }
    },
    startTimeoutMs,
  );
});
