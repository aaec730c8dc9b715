import { describe, expect, it } from '@jest/globals';
import { AnAgent } from './an-agent.ts';
import { aBackup, anOrder, aPreparation, toRemove, toStart, toStop } from './an-order.ts';
import { certainly } from './fake-runtime.ts';

/** The counter-examples that shaped the orders: each is impossible here. */
describe('counter-example', () => {
  const starts = (agent: AnAgent) => agent.machine.done.filter((what) => what.startsWith('start'));
  const again = async (agent: AnAgent) => {
    agent.controller.stop();
    return AnAgent.started({ machine: agent.machine, disk: agent.disk });
  };

  it('V1: a late duplicate of the start does not start what has exited or was stopped, before and after a restart of the agent', async () => {
    const agent = await AnAgent.started();
    agent.controller.deliver(anOrder());
    await agent.rest();
    agent.machine.exit({ uid: 'u1', epoch: 1 });
    await agent.rest();
    agent.controller.deliver(anOrder());
    await agent.rest();
    const second = await again(agent);
    second.controller.deliver(anOrder());
    await second.rest();
    expect(second.last()).toBe('STOPPED #1 v1 Completed Completed');
    second.controller.deliver(toStop(2));
    await second.rest();
    expect(second.controller.deliver(anOrder())).toMatchObject({ code: 'Superseded' });
    const third = await again(second);
    expect(third.controller.deliver(anOrder())).toMatchObject({ code: 'Superseded' });
    await third.rest();
    expect(starts(third)).toEqual(['start u1/1']);
  });

  it('V2: what was rejected once is rejected for ever, before and after a restart of the agent', async () => {
    const full = await AnAgent.started({ capacity: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 } });
    full.controller.deliver(anOrder());
    await full.rest();
    expect(full.last()).toBe('REJECTED #1 v0 InsufficientOnRunner');
    full.controller.stop();
    const roomy = await AnAgent.started({ machine: full.machine, disk: full.disk });
    roomy.controller.deliver(anOrder());
    await roomy.rest();
    expect(roomy.last()).toBe('REJECTED #1 v0 InsufficientOnRunner');
    expect(starts(roomy)).toEqual([]);
  });

  it('V3: after the disk was wiped an order for the old store starts nothing', async () => {
    const wiped = await AnAgent.started();
    expect(wiped.controller.deliver(anOrder({ storeId: 'store-before-the-wipe' }))).toMatchObject({ code: 'StoreMismatch' });
    await wiped.rest();
    expect(wiped.machine.done).toEqual([]);
  });

  it('V4: an order that was decided for an earlier boot starts nothing, whether it comes late or was accepted before', async () => {
    const agent = await AnAgent.started({
      hooks: { before: (call) => (call === 'prepare' ? new Promise<void>(() => undefined) : undefined) },
    });
    agent.controller.deliver(anOrder());
    await agent.rest();
    agent.controller.stop();
    agent.machine.reboot('boot-2');
    const rebooted = await AnAgent.started({ machine: agent.machine, disk: agent.disk });
    expect(rebooted.controller.deliver(anOrder({ order: 2, contentVersion: 2 }))).toMatchObject({ code: 'BootMismatch' });
    await rebooted.rest(60_000);
    expect(starts(rebooted)).toEqual([]);
    rebooted.controller.deliver(anOrder({ order: 3, bootId: 'boot-2' }));
    await rebooted.rest();
    expect(rebooted.last()).toBe('RUNNING #3 v1');
  });

  it('V5: an attempt from an older backup is not what a newer one of the same epoch is started from, also after a restart of the agent', async () => {
    const agent = await AnAgent.started();
    agent.controller.prepareAhead(aPreparation({ epoch: 2, source: aBackup('sha256:1') }));
    await agent.rest();
    const order = toStart(5, 3, { epoch: 2, source: aBackup('sha256:2') });
    agent.controller.deliver(order);
    await agent.rest();
    expect(agent.machine.done).toEqual(['prepare u1/2 Backup', 'remove u1/2', 'prepare u1/2 Backup', 'start u1/2']);
    const second = await AnAgent.started();
    second.controller.prepareAhead(aPreparation({ epoch: 2, source: aBackup('sha256:1') }));
    await second.rest();
    second.controller.stop();
    const third = await AnAgent.started({ machine: second.machine, disk: second.disk });
    third.controller.deliver(order);
    await third.rest();
    expect(third.machine.done).toEqual(['prepare u1/2 Backup', 'remove u1/2', 'prepare u1/2 Backup', 'start u1/2']);
  });

  it('V6: the version of a start that certainly failed is taken back, durably, before the rejection is told', async () => {
    let count = 0;
    const agent = await AnAgent.started({
      hooks: {
        before: (call) => {
          if (call === 'start' && ++count === 2) throw certainly('CommandNotFound');
        },
      },
    });
    for (const order of [anOrder(), toStop(2), toStart(3, 2)]) {
      agent.controller.deliver(order);
      await agent.rest();
    }
    expect(agent.last()).toBe('REJECTED #3 v1 CommandNotFound');
    const second = await again(agent);
    second.controller.deliver(toStop(4));
    await second.rest();
    expect(second.last()).toBe('STOPPED #4 v1 Signaled ordered');
  });

  it('V7: an agent that does not hold the copy answers a start in place with a durable rejection', async () => {
    const agent = await AnAgent.started();
    agent.controller.deliver(toStart(4, 3));
    await agent.rest();
    expect(agent.last()).toBe('REJECTED #4 v0 ContentMissing');
    const second = await again(agent);
    second.controller.deliver(toStart(4, 3));
    await second.rest();
    expect(second.last()).toBe('REJECTED #4 v0 ContentMissing');
    expect(starts(second)).toEqual([]);
  });

  it('V8: the exit of a copy that was never seen running is told with its version, and a release removes exactly its epoch', async () => {
    const agent = await AnAgent.started();
    for (const order of [anOrder(), toStop(2)]) {
      agent.controller.deliver(order);
      await agent.rest();
    }
    agent.reports.length = 0;
    agent.controller.deliver(toStart(3, 2, { epoch: 2, source: aBackup('sha256:1') }));
    await agent.rest(0);
    agent.machine.exit({ uid: 'u1', epoch: 2 });
    await agent.rest();
    expect(agent.last(2)).toBe('STOPPED #3 v2 Completed Completed');
    agent.controller.deliver(toRemove(4, { epoch: 1 }));
    await agent.rest();
    expect([...agent.machine.copies.keys()]).toEqual(['u1/2']);
    expect(agent.last(1)).toBe('ABSENT #4 v0');
  });
});
