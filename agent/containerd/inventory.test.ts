import { describe, expect, it } from '@jest/globals';
import { Container } from './gen/services/containers/v1/containers.ts';
import { Info } from './gen/services/snapshots/v1/snapshots.ts';
import { Process, Status } from './gen/types/task/task.ts';
import { copiesOf, type RuntimeRecords } from './inventory.ts';
import { type CopyLabels, copyLabels, snapshotLabels } from './labels.ts';
import { lostExit } from './exit-status.ts';

const copy: CopyLabels = {
  key: { uid: 'u', epoch: 1 },
  namespace: 'team',
  name: 'box',
  note: { order: 7, contentVersion: 3 },
  configHash: 'abc',
  baseDigest: 'sha256:1',
  requests: { cpuMillis: 1, memoryBytes: 2, diskBytes: 3 },
  diskLimitBytes: 4096,
  bootID: 'boot',
  startTimeMs: 1000,
  shimGroup: '',
};
const container = Container.fromPartial({ id: 'u-1', labels: copyLabels('install', copy) });
const snapshot = Info.fromPartial({ name: 'u-1', labels: snapshotLabels('install', copy) });
const task = (status: Status) => Process.fromPartial({ id: 'u-1', status });
const records = (some: Partial<RuntimeRecords>): RuntimeRecords => ({
  containers: [container],
  snapshots: [snapshot],
  tasks: [],
  exits: new Map(),
  ...some,
});

describe('copiesOf', () => {
  it('joins container, snapshot and task', () => {
    expect(copiesOf('install', records({ tasks: [task(Status.RUNNING)] }))).toEqual([
      {
        key: { uid: 'u', epoch: 1 },
        namespace: 'team',
        name: 'box',
        note: { order: 7, contentVersion: 3 },
        configHash: 'abc',
        baseDigest: 'sha256:1',
        requests: { cpuMillis: 1, memoryBytes: 2, diskBytes: 3 },
        hasContent: true,
        bootID: 'boot',
        task: { state: 'Running', startTimeMs: 1000 },
      },
    ]);
  });

  it.each([
    { tasks: [], want: { state: 'None' } },
    { tasks: [task(Status.CREATED)], want: { state: 'Created' } },
    { tasks: [task(Status.PAUSED)], want: { state: 'Paused' } },
    { tasks: [task(Status.PAUSING)], want: { state: 'Paused' } },
    { tasks: [task(Status.STOPPED)], want: { state: 'Stopped', exit: lostExit(5) } },
    { tasks: [task(Status.UNKNOWN)], want: { state: 'Running', startTimeMs: 1000 } },
  ])('a task that is $want.state', ({ tasks, want }) => {
    const [found] = copiesOf('install', records({ tasks, exits: new Map([['u-1', lostExit(5)]]) }));
    expect(found?.task).toEqual(want);
  });

  it('a container without its snapshot has no content', () => {
    expect(copiesOf('install', records({ snapshots: [] }))[0]).toMatchObject({ hasContent: false });
  });

  it('a snapshot whose container is gone is a copy all the same', () => {
    expect(copiesOf('install', records({ containers: [] }))).toMatchObject([
      { key: copy.key, hasContent: true, configHash: '', task: { state: 'None' } },
    ]);
  });

  it('leaves out what is not a copy, or is another installation', () => {
    const probe = Container.fromPartial({ id: 'probe-1', labels: {} });
    const misnamed = Container.fromPartial({ id: 'x', labels: container.labels });
    expect(copiesOf('install', records({ containers: [probe, misnamed], snapshots: [] }))).toEqual([]);
    expect(copiesOf('other', records({}))).toEqual([]);
  });
});
