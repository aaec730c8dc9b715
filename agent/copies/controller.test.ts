import { describe, expect, it } from '@jest/globals';
import { SourceKind } from '../proto/gen/berth/agent/v1/agent.ts';
import { AnAgent } from './an-agent.ts';
import { aBackup, aConfig, anOrder, aPreparation, toPrepare, toRemove, toStart, toStop, whatIsThere } from './an-order.ts';
import { ambiguous, certainly } from './fake-runtime.ts';
import type { FakeCall } from './fake-runtime.ts';

/** Throws once, at the n-th such call. */
function once(call: FakeCall, error: () => Error, at = 1) {
  let count = 0;
  return (made: FakeCall) => {
    if (made === call && ++count === at) throw error();
  };
}

/** A call that waits until it is let go or its signal is aborted. */
function held(call: FakeCall) {
  const waiting: (() => void)[] = [];
  return {
    before: (made: FakeCall, _: unknown, signal?: AbortSignal) =>
      made !== call
        ? undefined
        : new Promise<void>((resolve, reject) => {
            waiting.push(resolve);
            signal?.addEventListener('abort', () => reject(signal.reason as Error));
          }),
    release: () => {
      for (const go of waiting.splice(0)) go();
    },
  };
}

describe('copies of a runner', () => {
  describe('an order', () => {
    it('is prepared, started and told as running', async () => {
      const agent = await AnAgent.started();
      expect(agent.controller.deliver(anOrder())).toBeUndefined();
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
      expect(agent.last()).toBe('RUNNING #1 v1');
      expect(agent.runners.at(-1)).toMatchObject({ startedSandboxes: 1, allocated: { cpuMillis: 100, memoryBytes: 100, diskBytes: 100 } });
    });

    it('that comes again starts nothing and is answered again', async () => {
      const agent = await AnAgent.started();
      for (let n = 0; n < 3; n++) {
        agent.controller.deliver(anOrder());
        await agent.rest();
      }
      expect(agent.machine.done.filter((what) => what.startsWith('start'))).toHaveLength(1);
      expect(agent.told().filter((report) => report === 'RUNNING #1 v1').length).toBeGreaterThanOrEqual(3);
    });

    it('to stop ends the process, once proven gone', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(toStop(2));
      await agent.rest();
      expect(agent.machine.done.at(-1)).toBe('stop u1/1 10');
      expect(agent.last()).toBe('STOPPED #2 v1 Signaled ordered');
      expect(agent.runners.at(-1)).toMatchObject({ startedSandboxes: 0, allocated: { cpuMillis: 0, memoryBytes: 0, diskBytes: 100 } });
    });

    it('to start in place uses what is there, also when it names the image', async () => {
      const agent = await AnAgent.started();
      for (const order of [anOrder(), toStop(2), anOrder({ order: 3, contentVersion: 2 })]) {
        agent.controller.deliver(order);
        await agent.rest();
      }
      expect(agent.machine.done.slice(-2)).toEqual(['prepare u1/1 Local', 'start u1/1']);
      expect(agent.last()).toBe('RUNNING #3 v2');
    });

    it('to start a newer version ends the older process first', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(toStart(2, 2, { config: aConfig({ hash: 'c2' }) }));
      await agent.rest();
      expect(agent.machine.done.slice(2)).toEqual(['stop u1/1 10', 'prepare u1/1 Local', 'start u1/1']);
      expect(agent.machine.get('u1')?.configHash).toBe('c2');
    });

    it('under a raised number and hash for the same version starts nothing', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(anOrder({ order: 2, config: aConfig({ hash: 'c2' }) }));
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
      expect(agent.last()).toBe('RUNNING #2 v1');
    });

    it('to remove leaves a tombstone and nothing else', async () => {
      const agent = await AnAgent.started();
      for (const order of [anOrder(), toRemove(2)]) {
        agent.controller.deliver(order);
        await agent.rest();
      }
      expect(agent.machine.copies.size).toBe(0);
      expect(agent.last()).toBe('ABSENT #2 v0');
      expect(agent.controller.inventory().copies).toEqual([]);
    });

    it('to remove what was never here is answered with absent', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(toRemove(7));
      await agent.rest();
      expect(agent.last()).toBe('ABSENT #7 v0');
      agent.controller.deliver(toRemove(8));
      await agent.rest();
      expect(agent.last()).toBe('ABSENT #8 v0');
    });

    it('to stop what was never here is answered with stopped', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(toStop(1));
      await agent.rest();
      expect(agent.last()).toBe('STOPPED #1 v0');
    });

    it('that cannot be understood is refused', async () => {
      const agent = await AnAgent.started();
      expect(agent.controller.deliver(anOrder({ config: undefined }))).toMatchObject({ code: 'Malformed' });
      expect(agent.controller.deliver(anOrder({ wanted: 99 as never }))).toMatchObject({ code: 'Malformed' });
    });

    it.each([
      { when: 'another store', order: anOrder({ storeId: 'other' }), code: 'StoreMismatch' },
      { when: 'another boot', order: anOrder({ bootId: 'other' }), code: 'BootMismatch' },
      { when: 'a lower number', order: anOrder({ order: 1 }), code: 'Superseded' },
      { when: 'the number of another content', order: toStart(2, 5), code: 'ContentConflict' },
    ])('for $when is refused as $code and leaves no trace', async ({ order, code }) => {
      const agent = await AnAgent.started();
      agent.controller.deliver(toStop(2));
      await agent.rest();
      const records = agent.disk.records.length;
      expect(agent.controller.deliver(order)).toMatchObject({ code, highestOrder: 2 });
      await agent.rest();
      expect(agent.disk.records).toHaveLength(records);
      expect(agent.machine.done).toEqual([]);
    });
  });

  describe('an interrupted order', () => {
    it('to prepare ends when the sandbox is to stop, and nothing is left of it', async () => {
      const prepare = held('prepare');
      const agent = await AnAgent.started({ hooks: prepare });
      agent.controller.deliver(anOrder());
      await agent.rest();
      expect(agent.last()).toBe('PREPARING #1 v0');
      agent.controller.deliver(toStop(2));
      await agent.rest();
      expect(agent.machine.done).toEqual(['remove u1/1']);
      expect(agent.last()).toBe('STOPPED #2 v0');
    });

    it('whose start was recorded but not asked for is taken back', async () => {
      let count = 0;
      const prepare = held('prepare');
      const second = (call: FakeCall, key: unknown, signal?: AbortSignal) =>
        call === 'prepare' && ++count === 2 ? prepare.before(call, key, signal) : undefined;
      const agent = await AnAgent.started({ hooks: { before: second } });
      agent.controller.deliver(anOrder());
      await agent.rest();
      expect(agent.disk.records.map(({ kind }) => kind)).toEqual(['Accepted', 'Starting']);
      agent.controller.deliver(toStop(2));
      await agent.rest();
      expect(agent.last()).toBe('STOPPED #2 v0');
      expect(agent.machine.done).toEqual(['remove u1/1']);
      agent.controller.deliver(anOrder({ order: 3 }));
      await agent.rest();
      expect(agent.last()).toBe('RUNNING #3 v1');
    });

    it('goes on preparing when a newer one wants the same', async () => {
      const prepare = held('prepare');
      const agent = await AnAgent.started({ hooks: prepare });
      agent.controller.deliver(toPrepare(1));
      await agent.rest();
      agent.controller.deliver(anOrder({ order: 2 }));
      await agent.rest();
      prepare.release();
      await agent.rest();
      prepare.release();
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
    });

    it('does not end a start half done', async () => {
      const start = held('start');
      const agent = await AnAgent.started({ hooks: start });
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(toStop(2));
      await agent.rest();
      expect(agent.last()).toBe('STARTING #2 v1');
      start.release();
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1', 'stop u1/1 10']);
      expect(agent.last()).toBe('STOPPED #2 v1 Signaled ordered');
    });

    it('to stop is hurried by one with less patience', async () => {
      const stop = held('stop');
      const agent = await AnAgent.started({ hooks: stop });
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(toStop(2, { graceSeconds: 3600 }));
      await agent.rest();
      expect(agent.last()).toBe('STOPPING #2 v1');
      agent.controller.deliver(toRemove(3, { graceSeconds: 0 }));
      await agent.rest();
      stop.release();
      await agent.rest();
      expect(agent.machine.done.slice(2)).toEqual(['stop u1/1 0', 'remove u1/1']);
    });
  });

  describe('what fails', () => {
    it.each(['ImageNotFound', 'CommandNotFound'] as const)(
      'for certain (%s) rejects the order for ever, and is cleaned up',
      async (code) => {
        const call = code === 'ImageNotFound' ? 'prepare' : 'start';
        const agent = await AnAgent.started({ hooks: { before: once(call, () => certainly(code)) } });
        agent.controller.deliver(anOrder());
        await agent.rest();
        expect(agent.last()).toBe(`REJECTED #1 v0 ${code}`);
        expect(agent.machine.copies.size).toBe(0);
        agent.controller.deliver(anOrder());
        await agent.rest();
        expect(agent.last()).toBe(`REJECTED #1 v0 ${code}`);
        expect(agent.machine.done.filter((what) => what.startsWith('start'))).toEqual([]);
        agent.controller.deliver(toStop(2));
        await agent.rest();
        expect(agent.last()).toBe('STOPPED #2 v0');
      },
    );

    it('for certain at a second start keeps the content and its version', async () => {
      const agent = await AnAgent.started({ hooks: { before: once('start', () => certainly('CommandNotFound'), 2) } });
      for (const order of [anOrder(), toStop(2), toStart(3, 2)]) {
        agent.controller.deliver(order);
        await agent.rest();
      }
      expect(agent.last()).toBe('REJECTED #3 v1 CommandNotFound');
      expect(agent.machine.get('u1')).toMatchObject({ hasContent: true, task: { state: 'None' } });
    });

    it('without certainty is looked up: a start that happened is running', async () => {
      const agent = await AnAgent.started({ hooks: { after: once('start', ambiguous) } });
      agent.controller.deliver(anOrder());
      await agent.rest(1000);
      expect(agent.last()).toBe('RUNNING #1 v1');
      expect(agent.machine.done.filter((what) => what.startsWith('start'))).toHaveLength(1);
    });

    it('without certainty is looked up: a task that is only created never ran and is started', async () => {
      const agent = await AnAgent.started({ hooks: { before: once('start', ambiguous) } });
      agent.controller.deliver(anOrder());
      await agent.rest(1000);
      expect(agent.last()).toBe('RUNNING #1 v1');
    });

    it('without certainty and without a task has ended, and nobody saw how', async () => {
      const agent = await AnAgent.started();
      agent.machine.done.length = 0;
      const failing = await AnAgent.started({
        machine: agent.machine,
        hooks: {
          after: (call, key) => {
            if (call !== 'start' || key === undefined) return;
            agent.machine.change(key, { task: { state: 'None' } });
            throw ambiguous();
          },
        },
      });
      failing.controller.deliver(anOrder());
      await failing.rest(1000);
      expect(failing.last()).toBe('STOPPED #1 v1 Lost ExitLost');
    });

    it('while preparing is tried again with the reason in the report', async () => {
      const agent = await AnAgent.started({ hooks: { before: once('prepare', ambiguous) } });
      agent.controller.deliver(anOrder());
      await agent.rest(100);
      expect(agent.last()).toBe('PREPARING #1 v0 RuntimeFailed');
      await agent.rest(1000);
      expect(agent.last()).toBe('RUNNING #1 v1');
    });

    it('while stopping or removing is tried again with the reason in the report', async () => {
      const failures = [once('stop', ambiguous), once('remove', ambiguous)];
      const agent = await AnAgent.started({ hooks: { before: (call) => failures.forEach((fail) => fail(call)) } });
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.deliver(toRemove(2));
      await agent.rest(5000);
      expect(agent.told()).toContain('STOPPING #2 v1 StopFailed');
      expect(agent.told()).toContain('STOPPED #2 v1 Signaled ordered RemoveFailed');
      expect(agent.last()).toBe('ABSENT #2 v0');
    });

    it('of the journal ends everything', async () => {
      const agent = await AnAgent.started({ write: () => Promise.reject(new Error('no space')) });
      agent.controller.deliver(anOrder());
      await agent.rest();
      expect(agent.failures).toHaveLength(1);
      expect(agent.machine.done.filter((what) => what.startsWith('start'))).toEqual([]);
      expect(agent.reports).toEqual([]);
    });
  });

  describe('what is told', () => {
    it('is durable: neither a rejection nor a new number is told before it is', async () => {
      const persists: (() => void)[] = [];
      const write = (persist: () => void) =>
        new Promise<void>((resolve) => {
          persists.push(() => {
            persist();
            resolve();
          });
        });
      const agent = await AnAgent.started({ write, capacity: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 } });
      agent.controller.deliver(anOrder());
      await agent.rest();
      expect(agent.reports).toEqual([]);
      persists.shift()?.();
      await agent.rest();
      expect(agent.last()).toBe('REJECTED #1 v0 InsufficientOnRunner');
    });

    it('is nothing when nothing changed', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      const [copies, runners] = [agent.reports.length, agent.runners.length];
      await agent.rest(600_000);
      expect([agent.reports.length, agent.runners.length]).toEqual([copies, runners]);
    });

    it('waits for the record of the start, and the start does', async () => {
      const persists: (() => void)[] = [];
      const write = (persist: () => void) =>
        new Promise<void>((resolve) => {
          persists.push(() => {
            persist();
            resolve();
          });
        });
      const agent = await AnAgent.started({ write });
      agent.controller.deliver(anOrder());
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image']);
      while (persists.length > 0) {
        persists.shift()?.();
        await agent.rest();
      }
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
      expect(agent.last()).toBe('RUNNING #1 v1');
    });
  });

  describe('an exit', () => {
    const running = async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      return agent;
    };

    it.each([
      { how: {}, want: 'STOPPED #1 v1 Completed Completed' },
      { how: { code: 3 }, want: 'STOPPED #1 v1 Error ExitedWithError' },
      { how: { code: 137, signal: 9, oomKilled: true }, want: 'STOPPED #1 v1 OOMKilled OOMKilled' },
      { how: { code: 137, signal: 9 }, want: 'STOPPED #1 v1 Signaled Signaled' },
    ])('is told as $want, and nothing is started', async ({ how, want }) => {
      const agent = await running();
      agent.machine.exit({ uid: 'u1', epoch: 1 }, how);
      await agent.rest();
      expect(agent.last()).toBe(want);
      expect(agent.machine.done.filter((what) => what.startsWith('start'))).toHaveLength(1);
    });

    it('whose event was lost is seen by listing', async () => {
      const agent = await running();
      agent.machine.exit({ uid: 'u1', epoch: 1 }, { code: 1 }, false);
      await agent.rest(31_000);
      expect(agent.last()).toBe('STOPPED #1 v1 Error ExitedWithError');
    });

    it('whose task is gone is told from its event', async () => {
      const agent = await running();
      agent.machine.exit({ uid: 'u1', epoch: 1 }, { code: 137, signal: 9 });
      agent.machine.change({ uid: 'u1', epoch: 1 }, { task: { state: 'None' } });
      await agent.rest();
      expect(agent.last()).toBe('STOPPED #1 v1 Signaled Signaled');
    });

    it('of an older process that is told late does not end a newer one', async () => {
      const agent = await running();
      const exit = { code: 1, signal: 0, oomKilled: false, finishTimeMs: 1, lost: false };
      agent.machine.emit({ kind: 'Exited', key: { uid: 'u1', epoch: 1 }, exit });
      await agent.rest();
      expect(agent.last()).toBe('RUNNING #1 v1');
    });
  });

  describe('what is not as it should be', () => {
    it('is missing when content that something ran on is gone', async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.machine.copies.clear();
      agent.machine.emit({ kind: 'Removed', key: { uid: 'u1', epoch: 1 } });
      await agent.rest();
      expect(agent.last()).toBe('MISSING #1 v1 ContentMissing');
      agent.controller.deliver(toStart(2, 2));
      await agent.rest();
      expect(agent.last()).toBe('REJECTED #2 v1 ContentMissing');
    });

    it('is not replaced by the image', async () => {
      const agent = await AnAgent.started();
      for (const order of [anOrder(), toStop(2)]) {
        agent.controller.deliver(order);
        await agent.rest();
      }
      agent.machine.copies.clear();
      agent.controller.deliver(anOrder({ order: 3, contentVersion: 2 }));
      await agent.rest();
      expect(agent.last()).toBe('REJECTED #3 v1 ContentMissing');
    });

    it('is left alone and listed when nobody claims it', async () => {
      const first = await AnAgent.started();
      first.controller.deliver(anOrder());
      await first.rest(1_000);
      const agent = await AnAgent.started({ machine: first.machine });
      await agent.rest(3_600_000);
      expect(agent.controller.inventory().copies).toMatchObject([{ uid: 'u1', order: 0, contentVersion: 1 }]);
      expect(agent.machine.done).toHaveLength(2);
      agent.controller.deliver(toPrepare(1, { config: aConfig({ requests: { cpuMillis: 5000, memoryBytes: 0, diskBytes: 0 } }) }));
      await agent.rest();
      expect(agent.machine.copies.size).toBe(1);
    });

    it('tells sinks to list anew when events were interrupted', async () => {
      const agent = await AnAgent.started();
      agent.machine.emit({ kind: 'Resubscribed' });
      await agent.rest();
      expect(agent.relists).toBe(1);
    });
  });

  describe('capacity', () => {
    const small = { cpuMillis: 250, memoryBytes: 250, diskBytes: 350 };

    it('is for what runs or is prepared; what is stopped has its disk only', async () => {
      const agent = await AnAgent.started({ capacity: small });
      for (const uid of ['u1', 'u2', 'u3']) agent.controller.deliver(anOrder({ uid }));
      await agent.rest();
      expect([agent.last(1, 'u1'), agent.last(1, 'u2'), agent.last(1, 'u3')]).toEqual([
        'RUNNING #1 v1',
        'RUNNING #1 v1',
        'REJECTED #1 v0 InsufficientOnRunner',
      ]);
      agent.controller.deliver(toStop(2));
      await agent.rest();
      agent.controller.deliver(anOrder({ uid: 'u3', order: 2 }));
      await agent.rest();
      expect(agent.last(1, 'u3')).toBe('RUNNING #2 v1');
      agent.controller.deliver(anOrder({ uid: 'u4' }));
      await agent.rest();
      expect(agent.last(1, 'u4')).toBe('REJECTED #1 v0 InsufficientOnRunner');
    });

    it('counts what is on the way at once', async () => {
      const agent = await AnAgent.started({ capacity: small });
      for (const uid of ['u1', 'u2', 'u3']) agent.controller.deliver(anOrder({ uid }));
      await agent.rest();
      expect(agent.runners.every(({ allocated }) => (allocated?.cpuMillis ?? 0) <= 250)).toBe(true);
    });
  });

  describe('a preparation', () => {
    it('makes the start of the order that names it a start only', async () => {
      const agent = await AnAgent.started();
      agent.controller.prepareAhead(aPreparation());
      await agent.rest();
      expect(agent.runners.at(-1)).toMatchObject({ allocated: { cpuMillis: 100 } });
      expect(agent.last()).toBe('PREPARED #0 v0');
      agent.controller.deliver(anOrder());
      await agent.rest(60_000);
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
      expect(agent.last()).toBe('RUNNING #1 v1');
    });

    it('is under way when its order comes: goes on, and is started', async () => {
      const prepare = held('prepare');
      const agent = await AnAgent.started({ hooks: prepare });
      agent.controller.prepareAhead(aPreparation());
      await agent.rest();
      agent.controller.deliver(anOrder());
      await agent.rest();
      for (let n = 0; n < 2; n++) {
        prepare.release();
        await agent.rest();
      }
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
    });

    it('is removed when no order names it in time', async () => {
      const agent = await AnAgent.started();
      agent.controller.prepareAhead(aPreparation());
      await agent.rest(31_000);
      expect(agent.machine.copies.size).toBe(0);
      expect(agent.runners.at(-1)).toMatchObject({ allocated: { cpuMillis: 0, diskBytes: 0 } });
    });

    it('is removed after a restart of the agent', async () => {
      const first = await AnAgent.started();
      first.controller.prepareAhead(aPreparation());
      await first.rest();
      first.controller.stop();
      const agent = await AnAgent.started({ machine: first.machine, disk: first.disk });
      expect(agent.machine.copies.size).toBe(0);
    });

    it('from another source than the order names is removed first (an attempt is epoch and source)', async () => {
      const agent = await AnAgent.started();
      agent.controller.prepareAhead(aPreparation({ source: aBackup('sha256:1') }));
      await agent.rest();
      agent.controller.deliver(anOrder({ source: aBackup('sha256:2') }));
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Backup', 'remove u1/1', 'prepare u1/1 Backup', 'start u1/1']);
    });

    it('creates the task of a stopped copy ahead, and takes only the task away again', async () => {
      const agent = await AnAgent.started();
      for (const order of [anOrder(), toStop(2)]) {
        agent.controller.deliver(order);
        await agent.rest();
      }
      agent.controller.prepareAhead(aPreparation({ source: whatIsThere }));
      await agent.rest();
      expect(agent.machine.get('u1')?.task.state).toBe('Created');
      await agent.rest(31_000);
      expect(agent.machine.get('u1')).toMatchObject({ hasContent: true, task: { state: 'None' } });
      expect(agent.last()).toBe('STOPPED #2 v1 Signaled ordered');
    });

    it.each([
      { when: 'for another store', preparation: aPreparation({ storeId: 'other' }) },
      { when: 'for an epoch with an order', preparation: aPreparation({ source: { kind: SourceKind.SOURCE_KIND_IMAGE, digest: 'x' } }) },
      {
        when: 'that does not fit',
        preparation: aPreparation({ epoch: 2, config: aConfig({ requests: { cpuMillis: 9999, memoryBytes: 0, diskBytes: 0 } }) }),
      },
      { when: 'for an older epoch', preparation: aPreparation({ epoch: 0 }) },
    ])('$when is left out', async ({ preparation }) => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      await agent.rest();
      agent.controller.prepareAhead(preparation);
      await agent.rest();
      expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1']);
    });
  });

  it('two epochs of one sandbox never run at once: the older is stopped before the newer is started', async () => {
    const agent = await AnAgent.started();
    agent.controller.deliver(anOrder());
    await agent.rest();
    agent.controller.deliver(toStart(2, 2, { epoch: 2, source: aBackup('sha256:1') }));
    await agent.rest();
    expect(agent.machine.done.slice(2)).toEqual(['prepare u1/2 Backup', 'stop u1/1 10', 'start u1/2']);
    expect([agent.last(1), agent.last(2)]).toEqual(['STOPPED #2 v1 Signaled ordered', 'RUNNING #2 v2']);
  });

  it('removes exactly the epoch that is named', async () => {
    const agent = await AnAgent.started();
    for (const order of [anOrder(), toStop(2), toStart(3, 2, { epoch: 2, source: aBackup('sha256:1') }), toRemove(3)]) {
      agent.controller.deliver(order);
      await agent.rest();
    }
    expect([...agent.machine.copies.keys()]).toEqual(['u1/2']);
    expect([agent.last(1), agent.last(2)]).toEqual(['ABSENT #3 v0', 'RUNNING #3 v2']);
  });

  it('ends a program beyond its disk limit, says so, keeps its files and starts it again when it is ordered to', async () => {
    const agent = await AnAgent.started();
    agent.controller.deliver(anOrder());
    await agent.rest();
    for (let n = 0; n < 2; n++) {
      agent.machine.emit({ kind: 'DiskLimitExceeded', key: { uid: 'u1', epoch: 1 }, usedBytes: 101, limitBytes: 100 });
      await agent.rest();
    }
    expect(agent.machine.done).toEqual(['prepare u1/1 Image', 'start u1/1', 'stop u1/1 1']);
    expect([agent.last(), agent.machine.get('u1')?.hasContent]).toEqual(['STOPPED #1 v1 DiskLimitExceeded DiskLimitExceeded', true]);
    agent.controller.deliver(toStart(2, 2));
    await agent.rest();
    expect(agent.last()).toBe('RUNNING #2 v2');
    agent.controller.deliver(toStop(3));
    await agent.rest();
    expect(agent.last()).toMatch(/^STOPPED #3 v2 \w+ ordered$/);
  });

  describe('a copy that nobody claims', () => {
    const minute = 60_000;
    const say = (agent: AnAgent, copies: readonly { uid: string; epoch: number }[], storeId = 'store-1') =>
      agent.controller.unclaimed({ storeId, validSeconds: 180, copies: copies.map((copy) => ({ ...copy, kind: 1 })) });
    const sayFor = async (agent: AnAgent, minutes: number, copies: readonly { uid: string; epoch: number }[], storeId?: string) => {
      for (let passed = 0; passed < minutes; passed++) {
        say(agent, copies, storeId);
        await agent.clock.run(minute);
      }
    };
    const u1 = { uid: 'u1', epoch: 1 };
    const running = async () => {
      const agent = await AnAgent.started();
      agent.controller.deliver(anOrder());
      agent.controller.deliver(anOrder({ uid: 'u2' }));
      await agent.rest();
      return agent;
    };

    it('is stopped after ten minutes, kept and listed', async () => {
      const agent = await running();
      await sayFor(agent, 9, [u1]);
      expect(agent.last()).toBe('RUNNING #1 v1');
      expect(agent.controller.inventory().unclaimed).toMatchObject([u1]);
      await sayFor(agent, 2, [u1]);
      expect(agent.last()).toBe('STOPPED #1 v1 Signaled ordered');
      expect([agent.machine.get('u1')?.hasContent, agent.last(1, 'u2')]).toEqual([true, 'RUNNING #1 v1']);
      expect(agent.machine.done.filter((what) => what.startsWith('remove'))).toEqual([]);
      await sayFor(agent, 30, [u1]);
      expect(agent.machine.get('u1')?.hasContent).toBe(true);
    });

    it('runs on when nobody says so any more, when another store is meant, or when an order came for it', async () => {
      const agent = await running();
      await sayFor(agent, 5, [u1]);
      await agent.clock.run(20 * minute);
      await sayFor(agent, 15, [u1], 'store-2');
      await sayFor(agent, 9, [u1]);
      agent.controller.deliver(anOrder());
      await sayFor(agent, 9, [u1]);
      expect(agent.machine.done.filter((what) => what.startsWith('stop'))).toEqual([]);
    });

    it('is stopped though this agent knows no order about it, and obeys one that comes later', async () => {
      const before = await running();
      const agent = await AnAgent.started({ machine: before.machine });
      expect(agent.last()).toBe('RUNNING #0 v1');
      await sayFor(agent, 11, [u1]);
      expect([agent.last(), agent.last(1, 'u2')]).toEqual(['STOPPED #0 v1', 'RUNNING #0 v1']);
      agent.controller.deliver(toStart(5, 2));
      await agent.rest();
      expect(agent.last()).toBe('RUNNING #5 v2');
      await sayFor(agent, 2, []);
      agent.controller.deliver(toRemove(6));
      await agent.rest();
      expect(agent.last()).toBe('ABSENT #6 v0');
    });
  });
});
