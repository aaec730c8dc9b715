import { describe, expect, it } from '@jest/globals';
import { runnerSchema, sandboxSchema } from '../../../crds/index.ts';
import type { Sandbox } from '../../../crds/index.ts';
import { Random } from '../engine/random.ts';
import { Scheduler } from '../engine/scheduler.ts';
import { Trace } from '../engine/trace.ts';
import { Machine } from '../models/machine.ts';
import type { Condition } from '../models/registry.ts';
import { Calm } from './calm.ts';
import { FleetChecks } from './fleet.ts';
import { LoadChecks } from './load.ts';
import { Violations } from './violation.ts';

const time = '2026-01-01T00:00:00Z';
const hourMs = 3_600_000;
const longMs = 60_000;

interface Given {
  /** `spec.maxStarted` of both runners; three others are started on the first one. */
  readonly maxStarted: number;
  readonly isOtherCordoned: boolean;
  readonly memoryBytes: number;
  /** How long everything has been so. */
  readonly lastedMs: number;
  readonly backupOf: number;
  readonly condition: Condition;
  /** How long ago something went wrong. */
  readonly troubledMs: number;
  /** Another one comes to the other runner just then. */
  readonly isTaken: boolean;
}

const usual: Given = {
  maxStarted: 1,
  isOtherCordoned: false,
  memoryBytes: 2 ** 30,
  lastedMs: longMs,
  backupOf: 1,
  condition: 'Whole',
  troubledMs: 16 * 60_000,
  isTaken: false,
};

function aRunner(name: string, spec: object) {
  return runnerSchema.parse({ metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: time }, spec });
}

function aSandbox(uid: string, status: object): Sandbox {
  const metadata = { namespace: 'n', name: uid, uid, resourceVersion: '1', creationTimestamp: time };
  return sandboxSchema.parse({ metadata, spec: { image: 'i:1', resources: { limits: { memory: '64Mi' } } }, status });
}

/** Starts a stopped sandbox of version 1 where it lies: what is said against it. */
async function judged(given: Given): Promise<readonly string[]> {
  const scheduler = new Scheduler();
  const now = () => scheduler.now;
  const [violations, calm] = [new Violations(now), new Calm(now)];
  const fleet = new FleetChecks(violations, new Trace(scheduler), () => 0, {
    at: () => undefined,
    hasOther: () => false,
    ofBackup: () => undefined,
  });
  const capacity = { cpuMillis: 8000, memoryBytes: given.memoryBytes, diskBytes: 100 * 2 ** 30 };
  const checks = new LoadChecks({
    violations,
    scheduler,
    calm,
    registry: { conditionOf: () => given.condition },
    sandboxes: () => [],
    machine: (name) => new Machine(name, scheduler, new Random(name), fleet, capacity),
    reservedMemory: () => 0,
  });
  await scheduler.run(hourMs - given.troubledMs);
  calm.trouble(0);
  await scheduler.run(hourMs - given.lastedMs);
  for (const name of ['r1', 'r2']) {
    checks.noted(aRunner(name, { maxStarted: given.maxStarted, unschedulable: name === 'r2' && given.isOtherCordoned }));
  }
  for (const uid of ['a', 'b', 'c']) checks.acknowledged(aSandbox(uid, { runnerName: 'r1', state: 'Started' }), undefined);
  await scheduler.run(hourMs);
  const record = {
    digest: `sha256:${'0'.repeat(64)}`,
    repository: 'r.example/s',
    contentVersion: given.backupOf,
    takenWhile: 'Stopped',
    sizeBytes: 1,
    completionTime: time,
    verifiedTime: time,
  };
  const status = { runnerName: 'r1', contentVersion: 1, backup: { history: [record] } };
  checks.acknowledged(aSandbox('s', { ...status, state: 'Starting', contentVersion: 2 }), aSandbox('s', { ...status, state: 'Stopped' }));
  if (given.isTaken) checks.acknowledged(aSandbox('d', { runnerName: 'r2', state: 'Restoring' }), undefined);
  await scheduler.run(hourMs + longMs);
  return violations.found.map(({ text }) => text);
}

describe('a start in place', () => {
  it('is wrong where too many are started, and another runner has fewer and room', async () => {
    expect(await judged(usual)).toEqual(['starts in place on r1, which has 4 started and should have 1, while r2 has 0']);
  });

  it.each([
    { when: 'no more are started than should be, itself not counted', given: { maxStarted: 3 } },
    { when: 'the other runner is cordoned', given: { isOtherCordoned: true } },
    { when: 'the other runner lacks memory', given: { memoryBytes: 2 ** 25 } },
    { when: 'nobody need have known it yet', given: { lastedMs: 1_000 } },
    { when: 'its backup is of another version', given: { backupOf: 2 } },
    { when: 'its backup is damaged', given: { condition: 'Corrupt' } },
    { when: 'something went wrong two minutes ago', given: { troubledMs: 2 * 60_000 } },
    { when: 'another one has been decided for the other runner meanwhile', given: { isTaken: true } },
  ] as const)('is right when $when', async ({ given }) => {
    expect(await judged({ ...usual, ...given })).toEqual([]);
  });
});
