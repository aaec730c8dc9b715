import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { effectiveResources, sandboxSpecSchema } from './sandbox-spec.ts';

const MI = 1024 ** 2;
const GI = 1024 ** 3;
const resourcesOf = (resources?: unknown) => effectiveResources(sandboxSpecSchema.parse({ image: 'debian', resources }));

describe('a spec with nothing but an image', () => {
  it('gets every default', () =>
    expect(sandboxSpecSchema.parse({ image: 'debian' })).toEqual({
      desiredState: 'Started',
      image: 'debian',
      imagePullPolicy: 'IfNotPresent',
      resources: { limits: { cpu: '1', memory: '512Mi', disk: '4Gi', pids: 512 } },
      restartPolicy: 'Always',
      backup: { policy: 'OnStop', intervalSeconds: 3600, retain: 3, reclaimPolicy: 'Delete' },
      recovery: { policy: 'Wait' },
      terminationGracePeriodSeconds: 10,
    }));
});

describe('effective resources', () => {
  it('of nothing are the default limits, and requests of them and an eighth of the cpu', () =>
    expect(resourcesOf()).toEqual({
      requests: { cpuMillis: 125, memoryBytes: 512 * MI, diskBytes: 4 * GI },
      limits: { cpuMillis: 1000, memoryBytes: 512 * MI, diskBytes: 4 * GI, pids: 512 },
    }));

  it('request what the limits are when only limits are given', () =>
    expect(resourcesOf({ limits: { cpu: '2.5', memory: '1Gi', pids: 64 } })).toEqual({
      requests: { cpuMillis: 313, memoryBytes: GI, diskBytes: 4 * GI },
      limits: { cpuMillis: 2500, memoryBytes: GI, diskBytes: 4 * GI, pids: 64 },
    }));

  it('are what is given, one by one', () =>
    expect(resourcesOf({ requests: { cpu: 0, disk: '1Gi' }, limits: { cpu: '50m' } })).toEqual({
      requests: { cpuMillis: 0, memoryBytes: 512 * MI, diskBytes: GI },
      limits: { cpuMillis: 50, memoryBytes: 512 * MI, diskBytes: 4 * GI, pids: 512 },
    }));

  it('never request more than the limits', () => {
    const limits = fc.record({
      cpu: fc.integer({ min: 10, max: 1_024_000 }).map((n) => `${n}m`),
      memory: fc.integer({ min: 8 * MI, max: 2 ** 44 }),
    });
    fc.assert(
      fc.property(limits, (given) => {
        const { requests, limits: effective } = resourcesOf({ limits: given });
        expect(requests.cpuMillis).toBeLessThanOrEqual(effective.cpuMillis);
        expect(requests.memoryBytes).toBe(effective.memoryBytes);
        expect(requests.diskBytes).toBe(effective.diskBytes);
      }),
    );
  });
});
