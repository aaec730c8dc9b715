import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Runner } from '../harness/runner.ts';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { containerOf, lyingOn } from './lying-on.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('restarts of the parts of Berth', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ runners: ['runner-1', 'runner-2'] });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  /** Its main process on the machine. */
  const mainProcess = async (runner: Runner, uid: string) => {
    const { namespace, id } = await containerOf(runner, uid);
    return (await runner.ctr(namespace, 'tasks', 'ls'))
      .split('\n')
      .find((line) => line.startsWith(id))
      ?.split(/\s+/)[1];
  };
  const agentOf = async (runner: Runner) => (await world.user.runner(runner.name)).status.agentID;
  const connected = (runner: Runner, not: string | undefined) =>
    eventually(`${runner.name} is connected with a new agent id`, async () => {
      const { status } = await world.user.runner(runner.name);
      const condition = status.conditions.find(({ type }) => type.startsWith('connection.berth.dev/'));
      const fresh = status.agentID !== undefined && status.agentID !== not;
      return fresh && condition?.status === 'True' && condition.message.includes(status.agentID) ? status.agentID : undefined;
    });

  it.each([
    { how: 'asked to end', end: (runner: Runner) => runner.agent.stop() },
    { how: 'killed', end: (runner: Runner) => runner.agent.kill() },
  ])('a running sandbox is not restarted when its agent is $how, and obeys the new one', async ({ how, end }) => {
    const ref = { name: how === 'killed' ? 'through-a-kill' : 'through-a-stop' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    const [pid, agent] = [await mainProcess(runner, before.metadata.uid), await agentOf(runner)];
    await end(runner);
    expect(await mainProcess(runner, before.metadata.uid)).toBe(pid);
    await runner.agent.start();
    await connected(runner, agent);
    const { status } = await world.user.untilState(ref, 'Started');
    expect(status).toMatchObject({ contentVersion: before.status.contentVersion, restartCount: 0, startTime: before.status.startTime });
    expect(await mainProcess(runner, before.metadata.uid)).toBe(pid);
    expect(await world.boots(ref.name, 1)).toBe(1);
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.untilState(ref, 'Stopped');
    await world.user.delete(ref);
  });

  it('a running sandbox goes on when the Runner object is deleted, which the agent makes again', async () => {
    const ref = { name: 'over-a-runner' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    const { metadata } = await world.user.runner(runner.name);
    const pid = await mainProcess(runner, before.metadata.uid);
    await world.user.kubectl('delete', 'runner', runner.name);
    await eventually(`${runner.name} has a new object that says which disk it has`, async () => {
      const again = await world.user.runner(runner.name).catch(() => undefined);
      const isMadeAgain = again !== undefined && again.metadata.uid !== metadata.uid && again.status.storeID !== undefined;
      const isUsable = isMadeAgain && again.status.conditions.some(({ type, status }) => type === 'Schedulable' && status === 'True');
      return isUsable || undefined;
    });
    const { status } = await world.user.untilState(ref, 'Started');
    const { order, contentVersion, startTime } = before.status;
    expect(status).toMatchObject({ order, contentVersion, startTime, restartCount: 0 });
    expect(await mainProcess(runner, before.metadata.uid)).toBe(pid);
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.untilState(ref, 'Stopped');
    await world.user.delete(ref);
  });

  it('an exit that nobody watched is reported when the agent is back', async () => {
    const ref = { name: 'unwatched' };
    await world.user.create({
      ...remembering(ref.name, world.image),
      spec: { ...remembering(ref.name, world.image).spec, restartPolicy: 'Never' },
    });
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    const { namespace, id } = await containerOf(runner, before.metadata.uid);
    await runner.agent.kill();
    await runner.ctr(namespace, 'tasks', 'kill', '-s', 'SIGKILL', id);
    await runner.agent.start();
    expect((await world.user.untilState(ref, 'Stopped')).status).toMatchObject({ exitCode: 137, exitReason: 'Signaled' });
    await world.user.delete(ref);
  });

  it('sandboxes that are being started when the operator is killed are started once by the next', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `mid-start-${letter}`);
    const [operator] = world.cluster.operators;
    await world.user.apply(...names.map((name) => remembering(name, world.image)));
    await operator?.kill();
    await operator?.start();
    for (const name of names) await world.user.untilState({ name }, 'Started');
    for (const name of names) expect(await world.boots(name)).toBe(1);
    const uids = (await Promise.all(names.map((name) => world.user.sandbox({ name })))).map(({ metadata }) => metadata.uid);
    for (const uid of uids) {
      const copies = await Promise.all(world.cluster.runners.map((runner) => lyingOn(runner, uid)));
      expect(copies.flatMap(({ containers }) => containers)).toHaveLength(1);
    }
    await world.user.delete(...names.map((name) => ({ name })));
  });

  it('a running sandbox is not restarted when containerd is killed, and obeys afterwards', async () => {
    const ref = { name: 'over-containerd' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    const pid = await mainProcess(runner, before.metadata.uid);
    await runner.containerd.kill();
    await runner.containerd.start();
    expect(await mainProcess(runner, before.metadata.uid)).toBe(pid);
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.untilState(ref, 'Stopped');
    await world.user.patch(ref, { desiredState: 'Started' });
    const again = await world.user.untilState(ref, 'Started');
    expect(again.status.contentVersion).toBe(before.status.contentVersion + 1);
    expect(await world.boots(ref.name, 2)).toBe(2);
    await world.user.delete(ref);
  });

  it('a sandbox comes back with its files when its machine lost power', async () => {
    const ref = { name: 'over-power' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const runner = world.runnerOf(before);
    await runner.powerOff();
    await runner.start({ agent: true });
    const again = await world.user.until(
      ref,
      'runs again',
      (sandbox) => stateOf(sandbox) === 'Started' && sandbox.status.contentVersion > before.status.contentVersion,
    );
    expect(again.status.runnerName).toBe(runner.name);
    expect(again.status.exitReason).toBe('RunnerRebooted');
    expect(await world.boots(ref.name, 2)).toBe(2);
    await world.user.delete(ref);
  });
});
