import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { aConfig, anImage, anOrder, aPreparation, toRemove, toStop, whatIsThere } from '../../agent/copies/an-order.ts';
import { CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { CopyConfig, CopyReport, Hello, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { cgroupExists, cgroupProcesses, freezeCgroup, thawCgroup } from '../harness/cgroups.ts';
import { systemNamespace } from '../harness/identity.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { bundlesOf } from '../harness/manifests.ts';
import { freePort } from '../harness/ports.ts';
import { sendSignal } from '../harness/processes.ts';
import type { Runner } from '../harness/runner.ts';
import { after } from './a-sandbox.ts';
import { eventually, neverWithin } from './eventually.ts';
import { containerOf, lyingOn, nothing, written } from './lying-on.ts';
import { LateHub } from './late-hub.ts';
import { startTimeoutMs, World } from './world.ts';

describe('an agent that gets its orders from a test, with a real containerd', () => {
  let world: World;
  let hub: LateHub;
  let runner: Runner;
  let hello: Hello;

  beforeAll(async () => {
    const port = await freePort();
    world = await World.start({ operators: 0, agentEnv: { BERTH_OPERATORS: `127.0.0.1:${port}` } });
    const name = `berth-operator.${systemNamespace}.svc`;
    hub = await LateHub.listen(`127.0.0.1:${port}`, await world.cluster.authority.issue('hub', 'berth-operator', [name]));
    runner = world.cluster.runner('runner-1');
    hello = await hub.connected(runner.name);
  }, startTimeoutMs);
  afterAll(async () => {
    hub.close();
    await world.stop();
  }, startTimeoutMs);

  /** Waits for an agent that was started after the one known so far. */
  const another = async () => {
    hello = await eventually('a new agent connects', async () => {
      const now = await hub.connected(runner.name);
      return now.agentId === hello.agentId ? undefined : now;
    });
  };
  const amounts = { cpuMillis: 50, memoryBytes: 64 * 2 ** 20, diskBytes: 2 ** 20 };
  const config = (of: Partial<CopyConfig> = {}) =>
    aConfig({
      image: world.image,
      command: after('mkdir -p /data; echo boot >> /data/boots'),
      requests: amounts,
      limits: { ...amounts, cpuMillis: 500 },
      pidsLimit: 64,
      ...of,
    });
  const here = (uid: string) => ({ uid, name: 'by-hand', storeId: hello.storeId, bootId: hello.bootId });
  const start = (uid: string, order: number, contentVersion: number, of: Partial<Order> = {}) =>
    anOrder({ ...here(uid), order, contentVersion, config: config(), source: contentVersion > 1 ? whatIsThere : anImage, ...of });
  const last = (uid: string) => hub.reports.findLast((report) => report.uid === uid);
  const told = async (uid: string, state: CopyState, order: number): Promise<CopyReport> =>
    eventually(
      `${uid} is told in state ${state} under order ${order}`,
      () => {
        const report = last(uid);
        return Promise.resolve(report?.state === state && report.order === order ? report : undefined);
      },
      () => last(uid),
    );
  const send = (order: Order) => hub.send(runner.name, order);
  /** How often its main program was started. A program that runs may not have come so far yet: waits for `atLeast`. */
  const boots = async (uid: string, atLeast = 1) => {
    const count = (text: string) => text.split('\n').filter((line) => line === 'boot').length;
    return count(await written(runner, uid, '/data/boots', (text) => count(text) >= atLeast));
  };
  const mainProcess = async (uid: string) => {
    const { namespace, id } = await containerOf(runner, uid);
    const listed = await runner.ctr(namespace, 'tasks', 'ls');
    return listed
      .split('\n')
      .find((line) => line.startsWith(id))
      ?.split(/\s+/)[1];
  };
  const nothingAdded = async (before: readonly string[]) => {
    const last: { left: readonly string[] } = { left: [] };
    const look = async () => {
      last.left = added(before, await livingOn(runner));
      return last.left.length === 0 ? true : undefined;
    };
    await eventually('nothing is left', look, () => last.left);
  };
  const stopAndRemove = async (uid: string, order: number) => {
    send(toRemove(order, { ...here(uid), graceSeconds: 1 }));
    await told(uid, CopyState.COPY_STATE_ABSENT, order);
    expect(await lyingOn(runner, uid)).toEqual(nothing);
  };

  it('greets with its store, boot and the instance id of the address that it dialled', () => {
    expect(hello).toMatchObject({ runnerName: 'runner-1', minVersion: 1, maxVersion: 1, incarnation: 1 });
    expect(hello.instanceId).toMatch(new RegExp(`^${hello.agentId}-127-0-0-1-\\d+$`));
  });

  it('starts, stops, starts again with the files, and removes what it was ordered to', async () => {
    const uid = randomUUID();
    send(start(uid, 1, 1));
    expect(await told(uid, CopyState.COPY_STATE_RUNNING, 1)).toMatchObject({
      contentVersion: 1,
      baseDigest: expect.stringMatching(/^sha256:/) as unknown,
    });
    send(toStop(2, { ...here(uid), graceSeconds: 1 }));
    expect(await told(uid, CopyState.COPY_STATE_STOPPED, 2)).toMatchObject({ contentVersion: 1, exit: { ordered: true } });
    send(start(uid, 3, 2));
    await told(uid, CopyState.COPY_STATE_RUNNING, 3);
    expect(await boots(uid, 2)).toBe(2);
    await stopAndRemove(uid, 4);
  });

  it('starts what was prepared ahead without making it again', async () => {
    const uid = randomUUID();
    hub.prepare(runner.name, aPreparation({ ...here(uid), config: config() }));
    await eventually('the attempt is told', () => Promise.resolve(last(uid)?.state === CopyState.COPY_STATE_PREPARED ? true : undefined));
    const prepared = await mainProcess(uid);
    send(start(uid, 1, 1));
    await told(uid, CopyState.COPY_STATE_RUNNING, 1);
    expect(await mainProcess(uid)).toBe(prepared);
    await stopAndRemove(uid, 2);
  });

  it.each([
    { how: 'asked to end', end: () => runner.agent.stop() },
    { how: 'killed', end: () => runner.agent.kill() },
  ])('when it is $how its sandboxes run on, and the next agent adopts them', async ({ end }) => {
    const [uid, ended] = [randomUUID(), randomUUID()];
    send(start(uid, 1, 1));
    send(start(ended, 1, 1, { config: config({ command: ['sh', '-c', 'sleep 1; exit 7'] }) }));
    const before = await told(uid, CopyState.COPY_STATE_RUNNING, 1);
    const pid = await mainProcess(uid);
    await end();
    await eventually('the other ends while nobody looks', async () => {
      const { namespace, id } = await containerOf(runner, ended);
      const line = (await runner.ctr(namespace, 'tasks', 'ls')).split('\n').find((text) => text.startsWith(id));
      return line?.includes('STOPPED') === true ? true : undefined;
    });
    hub.reports.length = 0;
    const { incarnation } = hello;
    await runner.agent.start();
    await another();
    expect(hello.incarnation).toBe(incarnation + 1);
    expect(await told(uid, CopyState.COPY_STATE_RUNNING, 1)).toMatchObject({ contentVersion: 1, startTimeMs: before.startTimeMs });
    expect(await told(ended, CopyState.COPY_STATE_STOPPED, 1)).toMatchObject({ exit: { code: 7, reason: 'Error', ordered: false } });
    send(start(uid, 1, 1));
    send(start(ended, 1, 1, { config: config({ command: ['sh', '-c', 'sleep 1; exit 7'] }) }));
    await neverWithin(2_000, () =>
      Promise.resolve(last(ended)?.state === CopyState.COPY_STATE_STOPPED ? undefined : 'it was started again'),
    );
    expect(await mainProcess(uid)).toBe(pid);
    expect(await boots(uid)).toBe(1);
    await stopAndRemove(uid, 2);
    await stopAndRemove(ended, 2);
  });

  it('killed again and again in the middle of its work it starts each version at most once', async () => {
    const uids = Array.from({ length: 6 }, () => randomUUID());
    const versions = new Map(uids.map((uid) => [uid, 1]));
    const orders = new Map(uids.map((uid) => [uid, 1]));
    for (let kills = 0; kills < 6; kills++) {
      for (const uid of uids) send(start(uid, orders.get(uid) ?? 1, versions.get(uid) ?? 1));
      await new Promise((resolve) => setTimeout(resolve, 60 * kills));
      await runner.agent.kill();
      await runner.agent.start();
      await another();
    }
    for (const uid of uids) {
      await eventually(`${uid} runs`, () => {
        const report = last(uid);
        const [order, version] = [orders.get(uid) ?? 1, versions.get(uid) ?? 1];
        if (report?.state === CopyState.COPY_STATE_RUNNING) return Promise.resolve(true);
        // What nobody can say has run is started as the next version, as an operator would.
        if (report?.state === CopyState.COPY_STATE_STOPPED && report.order === order && report.contentVersion === version) {
          orders.set(uid, order + 1);
          versions.set(uid, version + 1);
        }
        send(start(uid, orders.get(uid) ?? 1, versions.get(uid) ?? 1));
        return Promise.resolve(undefined);
      });
      expect(await boots(uid)).toBeLessThanOrEqual(versions.get(uid) ?? 1);
      await stopAndRemove(uid, 100);
    }
  });

  it.each([
    { what: 'an image that is not there', of: () => ({ image: world.cluster.image('not-there:1') }), reason: 'ImageNotFound' },
    { what: 'a program that is not there', of: () => ({ command: ['/not/there'] }), reason: 'CommandNotFound' },
  ])('rejects the order to run $what, and leaves nothing behind', async ({ of, reason }) => {
    const uid = randomUUID();
    send(start(uid, 1, 1, { config: config(of()) }));
    expect(await told(uid, CopyState.COPY_STATE_REJECTED, 1)).toMatchObject({ reason, contentVersion: 0 });
    await eventually('nothing is left', async () =>
      JSON.stringify(await lyingOn(runner, uid)) === JSON.stringify(nothing) ? true : undefined,
    );
  });

  it('killed while containerd makes a task, it leaves one that nobody can reach: the next starts it again, or removes it with or without its record', async () => {
    const before = await livingOn(runner);
    const [member, started, removed, unrecorded] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
    const making = [started, removed, unrecorded];
    send(start(member, 1, 1));
    await told(member, CopyState.COPY_STATE_RUNNING, 1);
    const { namespace } = await containerOf(runner, member);
    await eventually('others may join its shim', async () =>
      (await runner.ctr(namespace, 'sandboxes', 'ls')).includes(member) ? true : undefined,
    );
    const bundles = () => making.filter((uid) => existsSync(join(runner.taskStateDir, namespace, `${uid}-1`)));
    // The OCI runtime waits for the first process of the container.
    freezeCgroup(runner.cgroupParent);
    for (const uid of making) send(start(uid, 1, 1));
    await eventually('all are being made', () =>
      Promise.resolve(making.every((uid) => cgroupProcesses(`${runner.cgroupParent}/${uid}-1`).length > 0) || undefined),
    );
    expect(bundles()).toHaveLength(3);
    await runner.agent.kill();
    await eventually('containerd has given them up', () => Promise.resolve(bundles().length === 0 || undefined));
    await runner.ctr(namespace, 'containers', 'rm', `${unrecorded}-1`);
    thawCgroup(runner.cgroupParent);
    await runner.agent.start();
    await another();
    send(toRemove(2, { ...here(removed), graceSeconds: 1 }));
    await told(removed, CopyState.COPY_STATE_ABSENT, 2);
    // Nobody can say that it never ran: it is started again under the next version only.
    send(start(started, 2, 2));
    await told(started, CopyState.COPY_STATE_RUNNING, 2);
    expect(await boots(started)).toBe(1);
    send(start(member, 1, 1));
    await told(member, CopyState.COPY_STATE_RUNNING, 1);
    for (const uid of [member, started]) await stopAndRemove(uid, 3);
    // Nobody asks for it: it is found.
    await eventually('nothing is kept of the one without a record', () =>
      Promise.resolve(!cgroupExists(`${runner.cgroupParent}/${unrecorded}-1`) || undefined),
    );
    send(toRemove(2, { ...here(unrecorded), graceSeconds: 1 }));
    await told(unrecorded, CopyState.COPY_STATE_ABSENT, 2);
    await nothingAdded(before);
  });

  it('ends a shim that containerd has forgotten', async () => {
    const before = await livingOn(runner);
    const uid = randomUUID();
    send(start(uid, 1, 1));
    await told(uid, CopyState.COPY_STATE_RUNNING, 1);
    const { namespace, id } = await containerOf(runner, uid);
    await runner.containerd.kill();
    await rm(join(runner.taskStateDir, namespace, id), { recursive: true });
    for (const found of cgroupProcesses(`${runner.cgroupParent}/${id}`)) sendSignal(found, 'SIGKILL');
    await runner.containerd.start();
    await told(uid, CopyState.COPY_STATE_STOPPED, 1);
    await stopAndRemove(uid, 2);
    await nothingAdded(before);
  });

  it('notices that a container is removed behind its back', async () => {
    const uid = randomUUID();
    send(start(uid, 1, 1));
    await told(uid, CopyState.COPY_STATE_RUNNING, 1);
    const { namespace, id } = await containerOf(runner, uid);
    await runner.ctr(namespace, 'tasks', 'kill', '-s', 'SIGKILL', id);
    await told(uid, CopyState.COPY_STATE_STOPPED, 1);
    await runner.ctr(namespace, 'tasks', 'rm', id).catch(() => undefined);
    await runner.ctr(namespace, 'containers', 'rm', id);
    expect(await told(uid, CopyState.COPY_STATE_MISSING, 1)).toMatchObject({ reason: 'ContentMissing' });
    await stopAndRemove(uid, 2);
  });

  it('refuses to share its state directory with a second agent', async () => {
    const second = await execa(process.execPath, [bundlesOf({ failpoints: false }).agent], {
      reject: false,
      env: { BERTH_NODE_NAME: 'second', BERTH_STATE_DIR: runner.agentStateDir, NODE_NO_WARNINGS: '1' },
    });
    expect(second.exitCode).toBe(1);
    expect(second.stderr).toContain(`Another agent uses the state directory ${runner.agentStateDir}`);
  });

  it('dials no operator on another machine without a CA', async () => {
    const open = await execa(process.execPath, [bundlesOf({ failpoints: false }).agent], {
      reject: false,
      env: { BERTH_NODE_NAME: 'open', BERTH_STATE_DIR: '/nonexistent', BERTH_OPERATORS: '10.0.0.1:3001', NODE_NO_WARNINGS: '1' },
    });
    expect(open.exitCode).toBe(1);
    expect(open.stderr).toContain('BERTH_OPERATOR_CA');
  });
});
