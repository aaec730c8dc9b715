import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Operator } from '../harness/operator.ts';
import { freePort } from '../harness/ports.ts';
import { remembering } from './a-sandbox.ts';
import { Cuttable } from './cuttable.ts';
import { eventually } from './eventually.ts';
import { lyingOn, nothing } from './lying-on.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a runner that the leader is cut off from and another operator pod is not', () => {
  let world: World;
  const networks = new Map<string, Cuttable>();
  beforeAll(async () => {
    const ports = { 'operator-1': await freePort(), 'operator-2': await freePort() };
    for (const [name, port] of Object.entries(ports)) networks.set(name, await Cuttable.to(port));
    const addresses = [...networks.values()].map(({ address }) => address).join(',');
    // Operator pods tell agents of each other: of these ways and of no others.
    world = await World.start({ operators: 2, ports, operatorEnv: { BERTH_PEERS: addresses }, agentEnv: { BERTH_OPERATORS: addresses } });
  }, startTimeoutMs);
  afterAll(async () => {
    for (const network of networks.values()) await network[Symbol.asyncDispose]();
    await world.stop();
  }, startTimeoutMs);

  const leader = (not?: Operator) =>
    eventually('an operator leads', async () => {
      const lease = JSON.parse(await world.user.kubectl('get', 'lease', '-n', 'berth-system', 'berth-operator', '-o', 'json')) as {
        readonly spec: { readonly holderIdentity?: string };
      };
      return world.cluster.operators.find(({ name }) => name !== not?.name && lease.spec.holderIdentity?.startsWith(`${name}_`) === true);
    });
  const networkOf = ({ name }: Operator) => {
    const network = networks.get(name);
    if (network === undefined) throw new Error(`there is no network to ${name}`);
    return network;
  };
  const schedulable = async () => {
    const { conditions } = (await world.user.runner('runner-1')).status;
    return conditions.find(({ type }) => type === 'Schedulable');
  };
  const logs = (operator: Operator, line: string) =>
    eventually(`${operator.name} logs "${line}"`, () =>
      Promise.resolve(readFileSync(operator.logFile, 'utf8').includes(line) || undefined),
    );

  it('is scheduled, started, stopped, restarted and deleted on through the other pod, and directly again when the network is mended', async () => {
    const ref = { name: 'relayed' };
    const first = await leader();
    const runner = world.cluster.runner('runner-1');
    networkOf(first).cut();
    await logs(first, 'Runner reached through another operator pod');
    await world.user.create(remembering(ref.name, world.image));
    const started = await world.user.untilState(ref, 'Started');
    expect(await world.boots(ref.name)).toBe(1);
    await eventually('the runner is schedulable', async () => ((await schedulable())?.status === 'True' ? true : undefined));
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.untilState(ref, 'Stopped');
    await world.user.patch(ref, { desiredState: 'Started' });
    await world.user.untilState(ref, 'Started');
    expect(await world.boots(ref.name, 2)).toBe(2);
    expect((await leader()).name).toBe(first.name);

    const line = 'connected successfully';
    const before = readFileSync(first.logFile, 'utf8').split(line).length;
    networkOf(first).mend();
    await eventually('the agent is connected to the leader again', () =>
      Promise.resolve(readFileSync(first.logFile, 'utf8').split(line).length > before || undefined),
    );
    await world.user.patch(ref, { restartID: 'again' });
    await world.user.until(ref, 'has done the restart', ({ status }) => status.restartID === 'again' && status.state === 'Started');
    expect(await world.boots(ref.name, 3)).toBe(3);
    await world.user.delete(ref);
    expect(await lyingOn(runner, started.metadata.uid)).toEqual(nothing);
  });

  it('a new leader that never had a stream to the runner goes on through the other pod', async () => {
    const ref = { name: 'inherited' };
    await world.user.create(remembering(ref.name, world.image));
    const before = await world.user.untilState(ref, 'Started');
    const first = await leader();
    const second = world.cluster.operators.find(({ name }) => name !== first.name);
    if (second === undefined) throw new Error('there are two operators');
    networkOf(second).cut();
    await first.kill();
    await leader(first);
    await first.start();
    await logs(second, 'Runner reached through another operator pod');
    await world.user.patch(ref, { restartID: 'by-the-new-one' });
    const after = await world.user.until(
      ref,
      'has done the restart',
      ({ status }) => status.restartID === 'by-the-new-one' && status.state === 'Started',
    );
    expect(after.status.contentVersion).toBe(before.status.contentVersion + 1);
    expect(await world.boots(ref.name, 2)).toBe(2);
    networkOf(second).mend();
    await world.user.delete(ref);
  });
});
