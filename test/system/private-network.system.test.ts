import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { metricOf } from '../harness/metric.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

interface Fleet {
  readonly instances: readonly { readonly runnerName: string }[];
  readonly fleet: { readonly slots: number; readonly reserved: number; readonly free: number };
}

/** One that no pod has. */
const serviceAddress = '10.252.255.250';

describe('three operator pods without TLS and tokens, in a private network in which everybody is trusted', () => {
  let world: World;
  let home: string;
  /** In the network of a runner: not on the machine of any operator. */
  const shell = async (script: string) => {
    const { network } = world.cluster.runner('runner-1');
    if (network === undefined) throw new Error('the runner has a network of its own');
    return network.run('bash', ['-c', script], { CURL_HOME: home });
  };
  const statusOf = async (address: string) => JSON.parse(await shell(`curl -sS ${address}/sandbox/status`)) as Fleet;
  const everywhere = (what: string, holds: (fleet: Fleet) => boolean) =>
    eventually(what, async () => {
      const told = await Promise.all(world.cluster.operators.map(({ address }) => statusOf(address)));
      return told.every(holds) ? told : undefined;
    });

  beforeAll(async () => {
    world = await World.start({
      ...{ operators: 3, runners: ['runner-1', 'runner-2', 'runner-3'], dns: true, networks: true, unsafe: true },
    });
    await world.connected();
    home = await mkdtemp(join(tmpdir(), 'berth-curl-'));
    const [port = ''] = world.cluster.operators.map(({ address }) => address.split(':')[1]);
    await writeFile(join(home, '.curlrc'), `resolve = "berth-operator:${port}:${serviceAddress}"\n`);
    await world.cluster.runner('runner-1').network?.balance(
      serviceAddress,
      world.cluster.operators.map(({ host }) => host),
    );
  }, startTimeoutMs);
  afterAll(async () => {
    await rm(home, { recursive: true, force: true });
    await world.stop();
  }, startTimeoutMs);

  it('give ten slots to ten callers that ask at once through a balanced address, each pod some, and all tell of the same fleet', async () => {
    const [port = ''] = world.cluster.operators.map(({ address }) => address.split(':')[1]);
    await everywhere('every pod has every runner', ({ instances, fleet }) => instances.length === 3 && fleet.free === 12);
    const made = () => Promise.all(world.cluster.operators.map(({ healthUrl }) => metricOf(healthUrl, 'berth_http_requests_total')));
    const before = await made();

    const answers = await shell(
      [
        'for i in {1..10}; do',
        `  curl -X POST http://berth-operator:${port}/sandbox/reserve \\`,
        '    -H "Content-Type: application/json" \\',
        `    -d '{"test": "data"}' &`,
        'done',
        'wait',
      ].join('\n'),
    );

    const ids = [...answers.matchAll(/"id":\s*"([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(10);
    const after = await made();
    expect(after.map((count, index) => count > (before[index] ?? 0))).toEqual([true, true, true]);
    const told = await everywhere('ten of twelve are reserved', ({ fleet }) => fleet.reserved === 10 && fleet.free === 2);
    expect(told.map(({ instances }) => instances.map(({ runnerName }) => runnerName).toSorted())).toEqual(
      told.map(() => ['runner-1', 'runner-2', 'runner-3']),
    );
  });
});
