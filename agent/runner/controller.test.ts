import { describe, expect, it } from '@jest/globals';
import type { Runner } from '../../crds/index.ts';
import { KubeError } from '../../kube/errors.ts';
import { FakeApi } from '../../kube/fake-api.ts';
import type { Resource } from '../../kube/types.ts';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { RunnerPublisher } from './controller.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { RunnerFacts } from './status.ts';

const runners: Resource = { group: 'berth.dev', version: 'v1alpha1', plural: 'runners', kind: 'Runner', namespaced: false };

const facts: RunnerFacts = {
  identity: { storeID: 'store-1', incarnation: 3, agentID: 'agent-1', bootID: 'boot-1', version: '0.1.0' },
  report: {
    capacity: { cpuMillis: 4000, memoryBytes: 8 * 2 ** 30, diskBytes: 100 * 2 ** 30 },
    allocated: { cpuMillis: 125, memoryBytes: 512 * 2 ** 20, diskBytes: 4 * 2 ** 30 },
    startedSandboxes: 1,
    images: [],
    tasks: undefined,
  },
  taskSlots: 4,
  connections: [{ id: '10-0-0-1-3001', isConnected: true, reason: 'Connected', message: 'agent-1-10-0-0-1-3001' }],
  copies: [],
  unclaimed: undefined,
  machine: undefined,
};

function setUp() {
  const api = new FakeApi();
  const clock = new FakeClock(Date.UTC(2026, 0, 1));
  const stop = new AbortController();
  const specs: Runner['spec'][] = [];
  const now = { facts };
  const publisher = new RunnerPublisher({
    transport: api,
    name: 'runner-1',
    clock,
    random: () => 0,
    log: silentLogger,
    facts: () => now.facts,
    specChanged: (spec) => specs.push(spec),
  });
  const done = publisher.run(stop.signal);
  const writes = () => api.requests.filter(({ verb }) => verb === 'patch' || verb === 'create').map(({ verb }) => verb);
  const status = () => api.objects(runners)[0] as unknown as Runner | undefined;
  return { api, clock, stop, specs, now, publisher, done, writes, status };
}

describe('the agent publishes its Runner', () => {
  it('creates the object, writes its part of the status, and then nothing while nothing changes', async () => {
    const { clock, stop, specs, done, writes, status } = setUp();
    await clock.run(100);
    expect(status()?.status).toMatchObject({
      storeID: 'store-1',
      incarnation: 3,
      capacity: { cpu: '4', memory: '8Gi', disk: '100Gi' },
      allocated: { cpu: '125m', memory: '512Mi', disk: '4Gi' },
      startedSandboxes: 1,
      tasks: { slots: 4, used: 0, queued: 0, summary: '0/4' },
      connections: { connected: 1, known: 1, summary: '1/1' },
    });
    expect(specs.map(({ taskSlots }) => taskSlots)).toEqual([4]);
    const before = writes();
    await clock.run(20_000);
    expect(writes()).toEqual(before);
    stop.abort();
    await done;
  });

  it('writes numbers a moment after they change and at most every two seconds, and a lost connection at once', async () => {
    const { clock, stop, now, publisher, done, writes, status } = setUp();
    await clock.run(5_000);
    const before = writes().length;
    const become = (startedSandboxes: number) => {
      now.facts = { ...facts, report: { ...facts.report, startedSandboxes } };
      publisher.numbersChanged();
    };
    const seen = () => [writes().length - before, status()?.status.startedSandboxes];
    become(2);
    await clock.run(200);
    expect(seen()).toEqual([0, 1]);
    become(3);
    await clock.run(100);
    expect(seen()).toEqual([1, 3]);
    become(4);
    await clock.run(1_500);
    expect(seen()).toEqual([1, 3]);
    await clock.run(500);
    expect(seen()).toEqual([2, 4]);
    now.facts = { ...now.facts, connections: [{ id: '10-0-0-1-3001', isConnected: false, reason: 'ConnectionLost', message: 'gone' }] };
    publisher.conditionsChanged();
    const written = writes().length;
    await clock.run(0);
    expect(status()?.status).toMatchObject({
      connections: { summary: '0/1' },
      conditions: [{ status: 'False', reason: 'ConnectionLost' }],
    });
    await clock.run(5_000);
    expect(writes().length - written).toBe(1);
    stop.abort();
    await done;
  });

  it('lists copies that nobody claims, with the time when that was first said, and keeps them listed while nobody knows', async () => {
    const { clock, stop, now, publisher, done, status } = setUp();
    const copy = {
      ...{ uid: 'u1', namespace: 'default', name: 'a', epoch: 1, order: 3, contentVersion: 2, state: CopyState.COPY_STATE_RUNNING },
      ...{ exit: undefined, reason: '', message: '', progress: undefined, baseDigest: '', startTimeMs: 0, backup: undefined },
    };
    const known = { uid: 'u1', namespace: 'default', name: 'a', epoch: 1, contentVersion: 2 };
    now.facts = { ...facts, copies: [copy, { ...copy, uid: 'u2' }], unclaimed: [{ uid: 'u1', epoch: 1 }] };
    await clock.run(10_000);
    expect(status()?.status.unclaimed).toEqual([{ ...known, state: 'Running', startTime: '2026-01-01T00:00:00Z' }]);
    now.facts = { ...now.facts, copies: [{ ...copy, state: CopyState.COPY_STATE_STOPPED }], unclaimed: undefined };
    publisher.numbersChanged();
    await clock.run(10_000);
    expect(status()?.status.unclaimed).toEqual([{ ...known, state: 'Stopped', startTime: '2026-01-01T00:00:00Z' }]);
    now.facts = { ...now.facts, unclaimed: [] };
    publisher.numbersChanged();
    await clock.run(10_000);
    expect(status()?.status.unclaimed).toEqual([]);
    stop.abort();
    await done;
  });

  it('says what the machine is short of, beside its connections, and writes nothing while that stays', async () => {
    const { clock, stop, now, publisher, done, writes, status } = setUp();
    const calm = { isPressed: false, seenAt: undefined };
    const machine = { memoryBytes: 2 ** 30, diskBytes: 50 * 2 ** 30, pids: 400 };
    const pressures = { DiskPressure: calm, MemoryPressure: calm, PIDPressure: calm };
    now.facts = { ...facts, machine: { ...machine, pressures } };
    await clock.run(5_000);
    const shown = () => status()?.status.conditions.map(({ type, status: is, reason }) => `${type}=${is} ${reason}`);
    expect(status()?.status.usage).toEqual({ memory: '1Gi', disk: '50Gi', pids: 400 });
    expect(shown()).toEqual([
      'connection.berth.dev/10-0-0-1-3001=True Connected',
      'DiskPressure=False SufficientDisk',
      'MemoryPressure=False SufficientMemory',
      'PIDPressure=False SufficientPIDs',
    ]);
    const before = writes().length;
    publisher.conditionsChanged();
    await clock.run(10_000);
    expect(writes().length).toBe(before);
    now.facts = { ...facts, machine: { ...machine, pressures: { ...pressures, DiskPressure: { isPressed: true, seenAt: 1 } } } };
    publisher.conditionsChanged();
    await clock.run(100);
    expect([writes().length, shown()?.[1]]).toEqual([before + 1, 'DiskPressure=True DiskAlmostFull']);
    stop.abort();
    await done;
  });

  it('says again that it is connected when somebody called that unknown', async () => {
    const { api, clock, stop, done, status } = setUp();
    await clock.run(1_000);
    const conditions = (status()?.status.conditions ?? []).map((condition) => ({ ...condition, status: 'Unknown', reason: 'Unknown' }));
    await api.patch(runners, { name: 'runner-1' }, { type: 'merge', body: { status: { conditions } } }, { subresource: 'status' });
    await clock.run(5_000);
    expect(status()?.status.conditions).toMatchObject([{ status: 'True', reason: 'Connected' }]);
    stop.abort();
    await done;
  });

  it('tries again after a failure, and creates the object again when it was deleted', async () => {
    const { api, clock, stop, done, status } = setUp();
    api.intercept = ({ verb }) => {
      if (verb === 'patch') throw new KubeError('Unreachable', 'no');
    };
    await clock.run(1_000);
    expect(status()?.status).toBeUndefined();
    api.intercept = () => undefined;
    await clock.run(10_000);
    expect(status()?.status.storeID).toBe('store-1');
    await api.delete(runners, { name: 'runner-1' });
    await clock.run(10_000);
    expect(status()?.status.storeID).toBe('store-1');
    stop.abort();
    await done;
  });
});
