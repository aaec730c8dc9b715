import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { operatorAudience, writeSecretFile } from '../harness/identity.ts';
import type { Operator } from '../harness/operator.ts';
import { operatorName } from '../harness/pod-network.ts';
import { metricOf } from '../harness/metric.ts';
import type { Runner } from '../harness/runner.ts';
import { remembering } from './a-sandbox.ts';
import { baseOf, count, linesOf, SeenConnections, untilLogged } from './connections.ts';
import { eventually, neverWithin } from './eventually.ts';
import { expired } from './expired-token.ts';
import { LyingAgent } from './lying-agent.ts';
import { startTimeoutMs, World } from './world.ts';

const idOf = ({ address }: Operator) => address.replaceAll(/[.:]/g, '-');

describe('agents and three operator pods that DNS names', () => {
  let world: World;
  let seen: SeenConnections;
  let first: Runner;

  beforeAll(async () => {
    world = await World.start({
      operators: 3,
      runners: ['runner-1', 'runner-2'],
      dns: true,
      networks: true,
      operatorEnv: { BERTH_TOKEN_RECHECK_SECONDS: '4' },
      agentEnv: { BERTH_OPERATOR_LOOKUP_SECONDS: '1', BERTH_OPERATOR_FORGET_SECONDS: '4' },
    });
    seen = new SeenConnections(world);
    first = world.cluster.runner('runner-1');
  }, startTimeoutMs);
  afterAll(async () => {
    await world.stop();
  }, startTimeoutMs);

  const pods = () => world.cluster.operators;
  /** By the agents that run now: what one that was killed has said stays until the next one speaks. */
  const connected = async (operators: readonly Operator[] = pods().slice(0, 3)) => {
    for (const runner of world.cluster.runners)
      for (const operator of operators)
        await seen.until(runner.name, operator, 'True', { message: new RegExp(`^${baseOf(runner)}-${idOf(operator)}: `) });
  };
  /** Conditions of connections that must not change while something else happens. */
  const steady = async (operators: readonly Operator[], act: () => Promise<void>) => {
    const before = await Promise.all(operators.map((operator) => seen.of('runner-1', operator)));
    const ends = operators.map(({ address }) => count(first.agent, `Disconnected from scheduler at ${address}`));
    await act();
    expect(await Promise.all(operators.map((operator) => seen.of('runner-1', operator)))).toEqual(before);
    expect(operators.map(({ address }) => count(first.agent, `Disconnected from scheduler at ${address}`))).toEqual(ends);
  };
  const leader = () =>
    eventually('an operator leads', async () => {
      const lease = JSON.parse(await world.user.kubectl('get', 'lease', '-n', 'berth-system', 'berth-operator', '-o', 'json')) as {
        readonly spec: { readonly holderIdentity?: string };
      };
      return pods().find(({ name }) => lease.spec.holderIdentity?.startsWith(`${name}_`));
    });

  it('agents say in the words that people search for whom they connect to, and each pod has its own instance of each agent', async () => {
    await connected();
    expect([...(await world.cluster.dns.resolve(operatorName))]).toEqual(
      pods()
        .map(({ host }) => host)
        .toSorted(),
    );
    for (const runner of world.cluster.runners) {
      const base = baseOf(runner);
      const addresses = pods().map(({ address }) => address);
      const lines = linesOf(runner.agent);
      expect(base).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      for (const address of addresses)
        expect(lines).toEqual(
          expect.arrayContaining([`Connecting to new scheduler at ${address}`, `Connected to scheduler at ${address}`]),
        );
      await untilLogged(runner.agent, `Managing connections to 3 scheduler(s): [${addresses.join(' ')}]`);
      for (const operator of pods()) {
        expect(await seen.of(runner.name, operator)).toMatchObject({
          reason: 'Connected',
          message: `${base}-${idOf(operator)}: Connected to operator ${operator.name}.`,
        });
        await untilLogged(operator, `Sandbox ${base}-${idOf(operator)} connected successfully`);
      }
      expect(Object.keys(await seen.all(runner.name))).toHaveLength(3);
      await seen.untilSummary(runner.name, '3/3');
    }
    for (const operator of pods()) {
      const greetings = linesOf(operator).filter((line) => line.endsWith('connected successfully'));
      expect(greetings.filter((line) => !line.includes(`-${idOf(operator)} `))).toEqual([]);
    }
  });

  it('a pod that is added or removed is followed also while DNS repeats old answers, and no other connection notices', async () => {
    const three = pods().slice(0, 3);
    const { dns } = world.cluster;
    await dns.repeatAnswers(true);
    await eventually('DNS has an answer to repeat', () =>
      dns.resolve(operatorName).then((found) => (found.length === 3 ? true : undefined)),
    );
    const fourth = await world.cluster.addOperator();
    await steady(three, async () => {
      await world.cluster.publishOperators();
      await seen.until('runner-1', fourth, 'True');
      await seen.untilSummary('runner-1', '4/4');
      expect(await dns.resolve(operatorName)).not.toContain(fourth.host);

      await dns.repeatAnswers(false);
      await eventually('DNS names the new pod', () => dns.resolve(operatorName).then((found) => (found.length === 4 ? true : undefined)));
      await dns.repeatAnswers(true);
      await eventually('and repeats it', () => dns.resolve(operatorName).then((found) => (found.length === 4 ? true : undefined)));
      await world.cluster.publishOperators(three);
      await fourth.stop();
      await seen.until('runner-1', fourth, 'False', { reason: 'ConnectionLost' });
      await neverWithin(6_000, async () =>
        (await seen.of('runner-1', fourth)) === undefined ? 'the condition is gone although DNS still names the pod' : undefined,
      );

      await dns.repeatAnswers(false);
      await seen.until('runner-1', fourth, 'None');
      await seen.untilSummary('runner-1', '3/3');
      await untilLogged(first.agent, `Removing connection to scheduler at ${fourth.address}`);
    });
  });

  it('while DNS names nobody and while there is no DNS all connections are kept, which is said once', async () => {
    const line = 'DNS names no operators any more, their connections are kept';
    const [said, again] = [count(first.agent, line), count(first.agent, 'DNS names operators again')];
    await steady(pods().slice(0, 3), async () => {
      await world.cluster.publishOperators([]);
      await untilLogged(first.agent, line, said + 1);
      await world.cluster.dns.stop();
      await neverWithin(8_000, async () =>
        Object.keys(await seen.all('runner-1')).length === 3 ? undefined : 'a connection was given up',
      );
      await world.cluster.dns.start();
      await world.cluster.publishOperators(pods().slice(0, 3));
      await untilLogged(first.agent, 'DNS names operators again', again + 1);
    });
    expect(count(first.agent, line)).toBe(said + 1);
    await seen.untilSummary('runner-1', '3/3');
  });

  it('a leader whose network drops packets silently is noticed, reaches the runner through the others, and alone is connected again', async () => {
    const ref = { name: 'silent' };
    await world.user.patchRunner('runner-2', { unschedulable: true });
    const lost = await leader();
    const others = pods()
      .slice(0, 3)
      .filter((operator) => operator !== lost);
    await steady(others, async () => {
      await first.network?.loseTo(lost.host);
      const condition = await seen.until('runner-1', lost, 'False', { reason: 'ConnectionLost' });
      expect(condition?.message).toMatch(new RegExp(`^${baseOf(first)}-${idOf(lost)}: .+`));
      await seen.untilSummary('runner-1', '2/3');
      await untilLogged(lost, 'Runner reached through another operator pod');
      await world.user.create(remembering(ref.name, world.image));
      await world.user.untilState(ref, 'Started');
      expect((await leader()).name).toBe(lost.name);
      await first.network?.mend();
      await seen.until('runner-1', lost, 'True');
      await seen.untilSummary('runner-1', '3/3');
    });
    await world.user.patchRunner('runner-2', { unschedulable: false });
    expect(await world.boots(ref.name)).toBe(1);
  });

  it('an agent that starts again is another instance everywhere and the old one is gone, also when nobody was told of its end', async () => {
    const [ref, base] = [{ name: 'silent' }, baseOf(first)];
    await first.network?.lose();
    await first.agent.kill();
    await first.network?.mend();
    await first.agent.start();
    await eventually('another base id', () => Promise.resolve(baseOf(first) === base ? undefined : true));
    await connected();
    for (const operator of pods().slice(0, 3)) {
      await untilLogged(operator, `Sandbox ${base}-${idOf(operator)} disconnected`);
      await untilLogged(operator, `Sandbox ${baseOf(first)}-${idOf(operator)} connected successfully`);
      expect(await metricOf(operator.healthUrl, 'berth_hub_connected_agents')).toBe(2);
      expect((await seen.of('runner-1', operator))?.message).toContain(`${baseOf(first)}-${idOf(operator)}: `);
    }
    await world.user.untilState(ref, 'Started');
    expect(await world.boots(ref.name)).toBe(1);
  });

  it('what an agent says about copies that are not its own changes nothing and is counted', async () => {
    const ref = { name: 'silent' };
    const before = await world.user.untilState(ref, 'Started');
    const ahead = await leader();
    const reports = () => metricOf(ahead.healthUrl, 'berth_foreign_reports_total');
    const counted = await reports();
    await world.cluster.runner('runner-2').agent.stop();
    const token = await world.cluster.token({ serviceAccount: 'berth-agent', audience: operatorAudience, node: 'runner-2' });
    using liar = await LyingAgent.connect({
      address: ahead.address,
      caFile: world.cluster.authority.caFile,
      token,
      runnerName: 'runner-2',
    });
    liar.claimsExit(before);
    await eventually('the report is counted', async () => ((await reports()) > counted ? true : undefined));
    const { status } = await world.user.sandbox(ref);
    expect(status).toEqual(before.status);
    await world.cluster.runner('runner-2').agent.start();
    await world.user.delete(ref);
  });

  it('an agent without a valid token of its own node is refused and said so, and no other agent notices', async () => {
    await connected();
    const third = await world.cluster.addRunner('runner-3');
    const tokenFile = join(third.dataDir, 'credentials', 'operator.token');
    const own = await world.cluster.token({ serviceAccount: 'berth-agent', audience: operatorAudience, node: 'runner-3' });
    const refused = async (reason: RegExp, act: () => Promise<void>) => {
      const said = pods()
        .slice(0, 3)
        .map((operator) => count(operator, 'Agent refused'));
      await act();
      await third.agent.start();
      for (const [index, operator] of pods().slice(0, 3).entries()) {
        await seen.until('runner-3', operator, 'False', { reason: 'ConnectionRefused', message: reason });
        await untilLogged(operator, 'Agent refused', (said[index] ?? 0) + 1);
      }
      await third.agent.stop();
    };
    await steady(pods().slice(0, 3), async () => {
      await third.agent.stop();
      await refused(/PERMISSION_DENIED.*node "runner-2"/, async () =>
        writeSecretFile(
          tokenFile,
          await world.cluster.token({ serviceAccount: 'berth-agent', audience: operatorAudience, node: 'runner-2' }),
        ),
      );
      await refused(/UNAUTHENTICATED/, async () =>
        writeSecretFile(tokenFile, await expired(own, await world.cluster.authority.serviceAccountKey())),
      );
      await refused(/UNAUTHENTICATED.*no bearer token/, () => {
        third.agent.setEnvironment({ BERTH_OPERATOR_TOKEN_FILE: '' });
        return Promise.resolve();
      });

      third.agent.setEnvironment({});
      await writeSecretFile(tokenFile, own);
      await third.agent.start();
      for (const operator of pods().slice(0, 3)) await seen.until('runner-3', operator, 'True');
      const base = baseOf(third);
      await world.user.kubectl('delete', 'node', 'runner-3');
      for (const operator of pods().slice(0, 3)) {
        await untilLogged(operator, `Sandbox ${base}-${idOf(operator)} disconnected`);
        await untilLogged(third.agent, `Disconnected from scheduler at ${operator.address}`);
      }
      await third.agent.stop();
    });
  });
});
