import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { demoImage, pushImage } from '../harness/images.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import type { Registry } from '../harness/registry.ts';
import { holdsSecret, secretMarker } from '../harness/secret-marker.ts';
import { aSandbox } from './a-sandbox.ts';
import { pullSecret, startTimeoutMs, World } from './world.ts';

/** No other text in a cluster looks like these. */
const secrets = { password: `${secretMarker}right`, wrong: `${secretMarker}wrong` };

describe('no secret', () => {
  let world: World;
  let guarded: Registry;
  beforeAll(async () => {
    world = await World.start();
    guarded = await world.cluster.addRegistry('guarded', { credentials: { username: 'puller', password: secrets.password } });
    await pushImage(guarded, 'private:1', await demoImage());
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  /** What nobody may see, by what it is. */
  const forbidden = (): ReadonlyMap<string, string> => {
    const runner = world.cluster.runner('runner-1');
    const credentials = join(runner.dataDir, 'credentials');
    const operator = join(world.cluster.dataDir, 'operators', 'operator-1', 'kubeconfig');
    return new Map([
      ['the password of the registry', secrets.password],
      ['a wrong password', secrets.wrong],
      ['the password as it is sent', Buffer.from(`puller:${secrets.password}`).toString('base64')],
      ["the operator's token", readKubeconfig(operator).token],
      ["the agent's token for the API server", readKubeconfig(join(credentials, 'kubeconfig')).token],
      ["the agent's token for operators", readFileSync(join(credentials, 'operator.token'), 'utf8').trim()],
    ]);
  };

  /** Everything that people and programs other than the owner of a secret read. */
  const published = async (): Promise<ReadonlyMap<string, string>> => {
    const runner = world.cluster.runner('runner-1');
    const logs = readdirSync(world.cluster.logDir).map(
      (name) => [`log ${name}`, readFileSync(join(world.cluster.logDir, name), 'utf8')] as const,
    );
    const kinds = ['sandboxes', 'runners', 'events.events.k8s.io', 'leases', 'configmaps'];
    const objects = await Promise.all(
      kinds.map(
        async (kind) => [`object ${kind}`, await world.user.kubectl('get', kind, '-A', '-o', 'yaml', '--show-managed-fields')] as const,
      ),
    );
    const namespaces = (await runner.ctr('default', 'namespaces', 'ls', '-q')).split('\n');
    const containers = await Promise.all(
      namespaces.flatMap(async (namespace) => {
        const ids = (await runner.ctr(namespace, 'containers', 'ls', '-q')).split('\n').filter((id) => id !== '');
        const infos = await Promise.all(ids.map((id) => runner.ctr(namespace, 'containers', 'info', id)));
        const images = await runner.ctr(namespace, 'images', 'ls');
        return [[`containers of ${namespace}`, infos.join('\n')] as const, [`images of ${namespace}`, images] as const];
      }),
    );
    const journal = [['journal', readFileSync(join(runner.agentStateDir, 'journal'), 'utf8')] as const];
    return new Map([...logs, ...objects, ...containers.flat(), ...journal]);
  };

  it('is in a log, status, Event, label, container or journal, after a pull that succeeded and one that did not', async () => {
    const { password, wrong } = secrets;
    await world.user.apply(pullSecret('good', guarded.address, { username: 'puller', password }));
    await world.user.apply(pullSecret('bad', guarded.address, { username: 'puller', password: wrong }));
    const image = `${guarded.address}/private:1`;
    await world.user.create(aSandbox('refused', { image, imagePullSecrets: [{ name: 'bad' }] }));
    await world.user.until({ name: 'refused' }, 'is refused', ({ status: { reason } }) => reason === 'ImageUnauthorized');
    await world.user.create(aSandbox('pulled', { image, imagePullSecrets: [{ name: 'good' }] }));
    await world.user.untilState({ name: 'pulled' }, 'Started');
    await world.cluster.runner('runner-1').agent.restart();
    await world.user.patch({ name: 'pulled' }, { restartID: 'again' });
    await world.user.until({ name: 'pulled' }, 'is restarted', ({ status }) => status.restartID === 'again' && status.state === 'Started');

    const texts = await published();
    expect([...texts.keys()]).toEqual(
      expect.arrayContaining(['log operator-1.log', 'log runner-1.agent.log', 'object sandboxes', 'journal']),
    );
    for (const name of ['log operator-1.log', 'object sandboxes', 'journal']) expect(texts.get(name)).not.toBe('');
    const found = [...forbidden()].flatMap(([what, secret]) =>
      [...texts].filter(([, text]) => text.includes(secret)).map(([where]) => `${what} in ${where}`),
    );
    expect(found).toEqual([]);
    expect([...texts].filter(([, text]) => holdsSecret(text)).map(([where]) => where)).toEqual([]);
    await world.user.delete({ name: 'refused' }, { name: 'pulled' });
  });
});
