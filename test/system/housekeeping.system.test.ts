import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aConfig, anImage, anOrder, toRemove, whatIsThere } from '../../agent/copies/an-order.ts';
import { CopyState, UnclaimedKind } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { CopyConfig, CopyReport, Hello, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { systemNamespace } from '../harness/identity.ts';
import { freePort } from '../harness/ports.ts';
import type { Runner } from '../harness/runner.ts';
import { after } from './a-sandbox.ts';
import { eventually, neverWithin } from './eventually.ts';
import { LateHub } from './late-hub.ts';
import { containerOf, lyingOn, nothing } from './lying-on.ts';
import { startTimeoutMs, World } from './world.ts';

const kibibyte = 1024;

describe('the housekeeping of an agent with a real containerd', () => {
  let world: World;
  let hub: LateHub;
  let runner: Runner;
  let hello: Hello;

  beforeAll(async () => {
    const port = await freePort();
    const agentEnv = {
      BERTH_OPERATORS: `127.0.0.1:${port}`,
      BERTH_UNCLAIMED_AFTER_SECONDS: '5',
      BERTH_SANDBOX_LOG_MAX_SIZE: '64Ki',
      BERTH_SANDBOX_LOG_MAX_FILES: '3',
      BERTH_DISK_CHECK_SECONDS: '1',
    };
    world = await World.start({ operators: 0, agentEnv });
    const name = `berth-operator.${systemNamespace}.svc`;
    hub = await LateHub.listen(`127.0.0.1:${port}`, await world.cluster.authority.issue('hub', 'berth-operator', [name]));
    runner = world.cluster.runner('runner-1');
    hello = await hub.connected(runner.name);
  }, startTimeoutMs);
  afterAll(async () => {
    hub.close();
    await world.stop();
  }, startTimeoutMs);

  const amounts = { cpuMillis: 50, memoryBytes: 64 * 2 ** 20, diskBytes: 2 ** 20 };
  const config = (of: Partial<CopyConfig> = {}) =>
    aConfig({
      image: world.image,
      command: after('true'),
      requests: amounts,
      limits: { ...amounts, cpuMillis: 500 },
      pidsLimit: 64,
      ...of,
    });
  const here = (uid: string) => ({ uid, name: 'by-hand', storeId: hello.storeId, bootId: hello.bootId });
  const send = (order: Order) => hub.send(runner.name, order);
  const run = (uid: string, order = 1, contentVersion = 1, of: Partial<CopyConfig> = {}) =>
    send(anOrder({ ...here(uid), order, contentVersion, config: config(of), source: contentVersion > 1 ? whatIsThere : anImage }));
  const last = (uid: string) => hub.reports.findLast((report) => report.uid === uid);
  const told = (uid: string, state: CopyState): Promise<CopyReport> =>
    eventually(
      `${uid} is told in state ${state}`,
      () => Promise.resolve(last(uid)?.state === state ? last(uid) : undefined),
      () => last(uid),
    );
  const remove = async (uid: string, order: number) => {
    send(toRemove(order, { ...here(uid), graceSeconds: 1 }));
    await told(uid, CopyState.COPY_STATE_ABSENT);
    expect(await lyingOn(runner, uid)).toEqual(nothing);
  };
  const mainProcess = async (uid: string) => {
    const { namespace, id } = await containerOf(runner, uid);
    const line = (await runner.ctr(namespace, 'tasks', 'ls')).split('\n').find((text) => text.startsWith(id));
    return Number(line?.split(/\s+/)[1]);
  };

  it('stops a copy that nobody claims, keeps and lists it, and touches neither what is claimed nor what another installation made', async () => {
    const [uid, claimed] = [randomUUID(), randomUUID()];
    for (const one of [uid, claimed]) run(one);
    for (const one of [uid, claimed]) await told(one, CopyState.COPY_STATE_RUNNING);
    const { namespace, id } = await containerOf(runner, uid);
    const { image } = world;
    const foreign = `${randomUUID()}-1`;
    const labels = [`berth.dev/install-id=other`, `berth.dev/uid=${foreign.slice(0, -2)}`, 'berth.dev/epoch=1'];
    await runner.ctr(
      namespace,
      'run',
      '-d',
      '--null-io',
      ...labels.flatMap((label) => ['--label', label]),
      image,
      foreign,
      'sleep',
      '3600',
    );
    const say = () =>
      hub.tell(runner.name, {
        storeId: hello.storeId,
        validSeconds: 60,
        copies: [uid, foreign.slice(0, -2)].map((one) => ({ uid: one, epoch: 1, kind: UnclaimedKind.UNCLAIMED_KIND_NO_OBJECT })),
      });
    say();
    const listed = async () => (await world.user.runner(runner.name)).status.unclaimed;
    await eventually('it is listed', async () => ((await listed()).some((one) => one.uid === uid) ? true : undefined));
    await told(uid, CopyState.COPY_STATE_STOPPED);
    await eventually('it is listed as stopped', async () => ((await listed())[0]?.state === 'Stopped' ? true : undefined));
    expect(await listed()).toMatchObject([{ uid, epoch: 1, namespace: 'default', name: 'by-hand', contentVersion: 1 }]);
    expect((await lyingOn(runner, uid)).snapshots).toEqual([id]);
    expect(last(claimed)?.state).toBe(CopyState.COPY_STATE_RUNNING);
    await neverWithin(3_000, async () =>
      (await runner.ctr(namespace, 'tasks', 'ls')).includes(foreign) ? undefined : 'the container of another installation ended',
    );
    await runner.ctr(namespace, 'tasks', 'kill', '-s', 'SIGKILL', foreign);
    await eventually('the other ends', () =>
      runner.ctr(namespace, 'tasks', 'rm', foreign).then(
        () => true as const,
        () => undefined,
      ),
    );
    await runner.ctr(namespace, 'containers', 'rm', foreign);
    run(uid, 2, 2);
    await told(uid, CopyState.COPY_STATE_RUNNING);
    for (const one of [uid, claimed]) await remove(one, 3);
  });

  it('learns from a list how a program ended while no event could tell', async () => {
    const uid = randomUUID();
    run(uid);
    await told(uid, CopyState.COPY_STATE_RUNNING);
    const pid = await mainProcess(uid);
    await runner.containerd.kill();
    process.kill(pid, 'SIGKILL');
    await eventually('its process is gone', () => Promise.resolve(isAlive(pid) ? undefined : true));
    await runner.containerd.start();
    expect(await told(uid, CopyState.COPY_STATE_STOPPED)).toMatchObject({
      contentVersion: 1,
      exit: { code: 137, reason: 'Signaled', ordered: false },
    });
    await remove(uid, 2);
  });

  it('ends a sandbox that writes more than its disk limit, keeps its files, and goes on with them under a larger one', async () => {
    const [uid, modest] = [randomUUID(), randomUUID()];
    const limits = { ...amounts, cpuMillis: 500, diskBytes: 8 * 2 ** 20 };
    run(modest, 1, 1, { command: after('head -c 4194304 /dev/zero > /fits'), limits });
    run(uid, 1, 1, { command: after('echo kept > /kept; head -c 16777216 /dev/zero > /too-much'), limits });
    const ended = await told(uid, CopyState.COPY_STATE_STOPPED);
    expect(ended).toMatchObject({ contentVersion: 1, reason: 'DiskLimitExceeded', exit: { reason: 'DiskLimitExceeded', ordered: false } });
    expect(last(modest)?.state).toBe(CopyState.COPY_STATE_RUNNING);
    run(uid, 2, 2, { hash: 'larger', command: after('cat /kept'), limits: { ...limits, diskBytes: 64 * 2 ** 20 } });
    await told(uid, CopyState.COPY_STATE_RUNNING);
    await eventually('it sees its file', () =>
      Promise.resolve(readFileSync(join(runner.agentStateDir, 'logs', `${uid}-1.log`), 'utf8').includes('kept') ? true : undefined),
    );
    await neverWithin(4_000, () => Promise.resolve(last(uid)?.state === CopyState.COPY_STATE_RUNNING ? undefined : 'it was ended again'));
    for (const one of [uid, modest]) await remove(one, 3);
  });

  it('says how full the machine is', async () => {
    const status = await eventually('the Runner says what is in use', async () => {
      const now = (await world.user.runner(runner.name)).status;
      return now.usage === undefined ? undefined : now;
    });
    expect(status.usage).toMatchObject({ memory: expect.stringMatching(/^\d/) as unknown, disk: expect.stringMatching(/^\d/) as unknown });
    expect(status.usage?.pids).toBeGreaterThanOrEqual(0);
    const pressures = status.conditions.filter(({ type }) => type.endsWith('Pressure')).map(({ type }) => type);
    expect(pressures).toEqual(['DiskPressure', 'MemoryPressure', 'PIDPressure']);
  });

  it('rotates the log of a sandbox that writes all the time, through its own death, without a line lost', async () => {
    const uid = randomUUID();
    const logs = join(runner.agentStateDir, 'logs');
    const files = () => readdirSync(logs).filter((name) => name.startsWith(uid));
    const lines = 40_000;
    const writes = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i"; done; echo finished`;
    run(uid, 1, 1, { command: after(`sleep 1; ${writes}`) });
    await told(uid, CopyState.COPY_STATE_RUNNING);
    await runner.agent.kill();
    const log = join(logs, `${uid}-1.log`);
    await eventually('everything is written while no agent is there', () =>
      Promise.resolve(readFileSync(log, 'utf8').endsWith('finished\n') ? true : undefined),
    );
    const size = statSync(log).size;
    expect(size).toBeGreaterThan(3 * 64 * kibibyte);
    await runner.agent.start();
    await eventually('it is rotated', () => Promise.resolve(files().includes(`${uid}-1.log.1`) ? true : undefined));
    const kept = readFileSync(join(logs, `${uid}-1.log.1`), 'utf8');
    expect(kept.length).toBe(3 * 64 * kibibyte);
    expect(kept.endsWith(`line ${lines}\nfinished\n`)).toBe(true);
    expect(statSync(log).size).toBe(0);
    hello = await eventually('the new agent connects', async () => {
      const now = await hub.connected(runner.name);
      return now.agentId === hello.agentId ? undefined : now;
    });
    await told(uid, CopyState.COPY_STATE_RUNNING);
    await remove(uid, 2);
    expect(files()).toEqual([]);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
