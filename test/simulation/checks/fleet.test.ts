import { describe, expect, it } from '@jest/globals';
import { sandboxSchema } from '../../../crds/index.ts';
import type { Sandbox } from '../../../crds/index.ts';
import { Random } from '../engine/random.ts';
import { Scheduler } from '../engine/scheduler.ts';
import { Trace } from '../engine/trace.ts';
import { fromImage } from '../models/content.ts';
import { Machine, idOfKey } from '../models/machine.ts';
import type { StoredCopy } from '../models/machine.ts';
import { FleetChecks } from './fleet.ts';
import type { Holders } from './fleet.ts';
import { Violations } from './violation.ts';

const amounts = { cpuMillis: 100, memoryBytes: 100, diskBytes: 100 };

/** Nobody else has anything. */
const holders: Holders = { at: () => undefined, hasOther: () => false, ofBackup: () => undefined };

function fleet() {
  const scheduler = new Scheduler();
  const violations = new Violations(() => scheduler.now);
  const checks = new FleetChecks(violations, new Trace(scheduler), (_, copy) => copy.note.contentVersion, holders);
  const machine = (name: string) =>
    new Machine(name, scheduler, new Random(name), checks, { cpuMillis: 150, memoryBytes: 150, diskBytes: 1000 });
  const copy = (on: Machine, contentVersion: number, epoch = 1): StoredCopy => {
    const key = { uid: 'uid-1', epoch };
    const made: StoredCopy = {
      key,
      namespace: 'n',
      name: 's',
      note: { order: 1, contentVersion },
      configHash: 'h',
      command: ['serve'],
      requests: amounts,
      baseDigest: '',
      bootID: on.bootID,
      content: fromImage,
      task: { state: 'Created' },
    };
    on.copies.set(idOfKey(key), made);
    return made;
  };
  return { checks, machine, copy, found: () => violations.found.map(({ rule }) => rule) };
}

function aSandbox(status: object): Sandbox {
  const metadata = { namespace: 'n', name: 's', uid: 'uid-1', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  const assignment = {
    epoch: 1,
    storeID: 's',
    bootID: 'b',
    phase: 'Committed',
    source: { kind: 'Image' },
    reason: 'FirstPlacement',
    startTime: '2026-01-01T00:00:00Z',
    configHash: 'h',
  };
  const transition = { startTime: '2026-01-01T00:00:00Z', deadlineTime: '2026-01-01T00:00:30Z', attempts: 0 };
  return sandboxSchema.parse({
    metadata,
    spec: { image: 'i:1' },
    status: { runnerName: 'r1', order: 1, contentVersion: 1, assignment, transition, ...status },
  });
}

describe('FleetChecks', () => {
  it('has nothing against a start, an end and a start of the next version in place', () => {
    const { checks, machine, copy, found } = fleet();
    const r1 = machine('r1');
    const one = copy(r1, 1);
    checks.acknowledged(aSandbox({ state: 'Creating' }), undefined);
    r1.start(one);
    checks.acknowledged(aSandbox({ state: 'Started' }), aSandbox({ state: 'Creating' }));
    if (one.task.state === 'Running') r1.end(one, one.task.run, { code: 0, signal: 0, oomKilled: false });
    checks.acknowledged(aSandbox({ state: 'Stopped', order: 2 }), aSandbox({ state: 'Started' }));
    checks.acknowledged(aSandbox({ state: 'Starting', order: 3, contentVersion: 2 }), aSandbox({ state: 'Stopped', order: 2 }));
    one.note = { order: 3, contentVersion: 2 };
    r1.start(one);
    expect(found()).toEqual([]);
  });

  it('finds two running copies, also on different content', () => {
    const { checks, machine, copy, found } = fleet();
    checks.acknowledged(aSandbox({ state: 'Started', contentVersion: 0 }), undefined);
    checks.acknowledged(aSandbox({ state: 'Creating' }), undefined);
    checks.acknowledged(aSandbox({ state: 'Creating', contentVersion: 2, runnerName: 'r2' }), undefined);
    const r1 = machine('r1');
    r1.start(copy(r1, 1));
    const r2 = machine('r2');
    r2.start(copy(r2, 2));
    expect(found()).toEqual(['HonestStarted', 'OneRunningCopy', 'NewestContent']);
  });

  it('finds a second start under one version, and a start that nothing permitted', () => {
    const { checks, machine, copy, found } = fleet();
    checks.acknowledged(aSandbox({ state: 'Creating' }), undefined);
    const r1 = machine('r1');
    const one = copy(r1, 1);
    r1.start(one);
    if (one.task.state === 'Running') r1.end(one, one.task.run, { code: 0, signal: 0, oomKilled: false });
    r1.start(one);
    expect(found()).toEqual(['StartedOnce']);
    if (one.task.state === 'Running') r1.end(one, one.task.run, { code: 0, signal: 0, oomKilled: false });
    one.note = { order: 9, contentVersion: 9 };
    r1.start(one);
    expect(found()).toEqual(['StartedOnce', 'StartPermitted']);
  });

  it('finds content removed without a record, and allows it with a release or a deletion', () => {
    for (const [status, metadata, want] of [
      [{ state: 'Stopped' }, {}, ['RemovalRecorded']],
      [{ state: 'Stopped', releases: [{ runnerName: 'r1', storeID: 's', epoch: 1, contentVersion: 1 }] }, {}, []],
      [{ state: 'Deleting' }, { deletionTimestamp: '2026-01-01T00:00:00Z' }, []],
    ] as const) {
      const { checks, machine, copy, found } = fleet();
      const r1 = machine('r1');
      checks.acknowledged(aSandbox({ state: 'Creating' }), undefined);
      const one = copy(r1, 1);
      r1.start(one);
      if (one.task.state === 'Running') r1.end(one, one.task.run, { code: 0, signal: 0, oomKilled: false });
      const now = aSandbox(status);
      checks.acknowledged({ ...now, metadata: { ...now.metadata, ...metadata } }, aSandbox({ state: 'Creating' }));
      checks.removing(r1, one);
      expect(found()).toEqual(want);
    }
  });

  it('finds dishonest status, orders that go down, versions taken back after they ran', () => {
    const { checks, machine, copy, found } = fleet();
    const r1 = machine('r1');
    checks.acknowledged(aSandbox({ state: 'Creating', order: 5 }), undefined);
    r1.start(copy(r1, 1));
    checks.acknowledged(aSandbox({ state: 'Stopped', order: 4, contentVersion: 0 }), aSandbox({ state: 'Creating', order: 5 }));
    expect(found()).toEqual(['OrderRises', 'VersionTakenBackOnProof', 'HonestStopped']);
  });

  it('finds more prepared and running than fits, and an object that goes before its copy', () => {
    const { checks, machine, copy, found } = fleet();
    const r1 = machine('r1');
    checks.acknowledged(aSandbox({ state: 'Creating' }), undefined);
    r1.start(copy(r1, 1));
    checks.taskCreated(r1, copy(r1, 1, 2));
    expect(found()).toEqual(['CapacityKept', 'CapacityKept']);
    checks.gone(aSandbox({ state: 'Deleting' }), [r1], () => true);
    expect(found()).toHaveLength(2);
    checks.gone(aSandbox({ state: 'Deleting' }), [r1], () => false);
    expect(found()).toEqual(['CapacityKept', 'CapacityKept', 'GoneMeansGone']);
  });
});
