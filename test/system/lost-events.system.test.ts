import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aConfig, anImage, anOrder, toRemove } from '../../agent/copies/an-order.ts';
import { CopyController } from '../../agent/copies/controller.ts';
import { inShort } from '../../agent/copies/an-agent.ts';
import type { CopyRuntime, RuntimeEvent } from '../../agent/copies/runtime.ts';
import { type ContainerdRuntime, createContainerdRuntime } from '../../agent/containerd/runtime.client.ts';
import { JournalDisk, MemoryJournal } from '../../agent/journal/memory-journal.ts';
import type { CopyReport } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage } from '../harness/images.ts';
import type { Runner } from '../harness/runner.ts';
import { after } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { lyingOn, nothing } from './lying-on.ts';
import { startTimeoutMs } from './world.ts';

describe('copies of a real containerd whose events are lost', () => {
  let cluster: Cluster;
  let runner: Runner;
  let runtime: ContainerdRuntime;
  let copies: CopyController;
  let image: string;
  const reports: CopyReport[] = [];
  const dropped: RuntimeEvent['kind'][] = [];

  beforeAll(async () => {
    cluster = await Cluster.start({ operators: 0, agents: false });
    runner = cluster.runner('runner-1');
    image = await cluster.pushImage('demo:1', await demoImage());
    const clock = systemClock();
    runtime = await createContainerdRuntime({
      address: runner.socket,
      installID: 'install',
      storeID: 'store-1',
      bootID: 'boot-1',
      stateDir: runner.agentStateDir,
      runtimeRoot: runner.runtimeRoot,
      cgroups: { parent: runner.cgroupParent },
      clock,
      logger: silentLogger,
    });
    copies = new CopyController({
      runtime: deafTo(runtime, dropped),
      journal: new MemoryJournal(new JournalDisk()),
      clock,
      random: Math.random,
      log: silentLogger,
      storeID: 'store-1',
      bootID: 'boot-1',
      capacity: { cpuMillis: 4_000, memoryBytes: 2 ** 32, diskBytes: 2 ** 36 },
      reserved: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 },
      relistMs: 1_000,
      onFailed: (error) => {
        throw error;
      },
    });
    copies.attach({ copyChanged: (report) => reports.push(report), runnerChanged: () => undefined, relisted: () => undefined });
    await copies.start();
  }, startTimeoutMs);
  afterAll(async () => {
    copies.stop();
    await runtime.close();
    await cluster.stop();
  }, startTimeoutMs);

  const amounts = { cpuMillis: 50, memoryBytes: 64 * 2 ** 20, diskBytes: 2 ** 24 };
  const start = (uid: string, script: string) => {
    const config = aConfig({ image, command: after(script), requests: amounts, limits: { ...amounts, cpuMillis: 500 }, pidsLimit: 64 });
    copies.deliver(anOrder({ uid, config, source: anImage }));
  };
  const told = (uid: string, what: string) =>
    eventually(
      `${uid} is told as ${what}`,
      () => {
        const last = reports.findLast((report) => report.uid === uid);
        return Promise.resolve(last !== undefined && inShort(last) === what ? true : undefined);
      },
      () => reports.filter((report) => report.uid === uid).map(inShort),
    );
  const remove = async (uid: string) => {
    copies.deliver(toRemove(2, { uid, graceSeconds: 1 }));
    await told(uid, 'ABSENT #2 v0');
    expect(await lyingOn(runner, uid)).toEqual(nothing);
  };

  it('are found by the next list: a program that ended, with its code, and files that are gone', async () => {
    const [ended, killed, robbed] = [randomUUID(), randomUUID(), randomUUID()];
    start(ended, 'sleep 2; exit 7');
    start(killed, 'true');
    start(robbed, 'true');
    for (const uid of [ended, killed, robbed]) await told(uid, 'RUNNING #1 v1');
    await runner.ctr('berth', 'tasks', 'kill', '-s', 'SIGKILL', `${killed}-1`);
    await runner.ctr('berth', 'tasks', 'rm', '-f', `${robbed}-1`);
    await runner.ctr('berth', 'containers', 'rm', '--keep-snapshot', `${robbed}-1`);
    await runner.ctr('berth', 'snapshots', 'rm', `${robbed}-1`);
    await told(ended, 'STOPPED #1 v1 Error ExitedWithError');
    await told(killed, 'STOPPED #1 v1 Signaled Signaled');
    await told(robbed, 'MISSING #1 v1 ContentMissing');
    expect(dropped).toContain('Exited');
    for (const uid of [ended, killed, robbed]) await remove(uid);
  });
});

/** The runtime with a subscription that hears nothing. */
function deafTo(runtime: ContainerdRuntime, dropped: RuntimeEvent['kind'][]): CopyRuntime {
  return {
    list: () => runtime.list(),
    prepare: (attempt, progress, signal) => runtime.prepare(attempt, progress, signal),
    start: (key) => runtime.start(key),
    stop: (key, graceSeconds, signal) => runtime.stop(key, graceSeconds, signal),
    remove: (key) => runtime.remove(key),
    readBackup: (request, progress, signal) => runtime.readBackup(request, progress, signal),
    pushBackup: (backup, credentials, progress, signal) => runtime.pushBackup(backup, credentials, progress, signal),
    dropBackup: (backup) => runtime.dropBackup(backup),
    resume: (key) => runtime.resume(key),
    annotate: (key, note) => runtime.annotate(key, note),
    images: () => runtime.images(),
    subscribe: (_, signal) => runtime.subscribe(({ kind }) => void dropped.push(kind), signal),
  };
}
