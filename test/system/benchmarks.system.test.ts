import { describe, expect, it } from '@jest/globals';
import { ScaleBed, withoutLeases } from '../bench/scale-bed.ts';
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
