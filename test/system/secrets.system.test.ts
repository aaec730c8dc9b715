import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aSandbox, after } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { containerOf, written } from './lying-on.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a sandbox whose environment comes from a Secret', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ agentEnv: { BERTH_LOG_LEVEL: 'debug' }, operatorEnv: { BERTH_LOG_LEVEL: 'debug' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const secret = (name: string, stringData: Readonly<Record<string, string>>) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData,
  });
  const taking = (variable: string, name: string, key: string, optional = false) => ({
    name: variable,
    valueFrom: { secretKeyRef: { name, key, optional } },
  });
  const waiting = (name: string, reason: string) =>
    world.user.until({ name }, `waits: ${reason}`, (sandbox) => stateOf(sandbox) === 'Pending' && sandbox.status.reason === reason);
  const environmentOf = async (name: string) => {
    const { metadata, status } = await world.user.sandbox({ name });
    const runner = world.runnerOf({ status });
    return written(runner, metadata.uid, '/data/env');
  };
  const writesEnvironment = after('mkdir -p /data; env > /data/env.new; mv /data/env.new /data/env');

  it('waits for the Secret and its key, has what it holds at each start, and nothing else ever tells', async () => {
    const ref = { name: 'with-token' };
    const env = [{ name: 'GREETING', value: 'hello' }, taking('TOKEN', 'mine', 'token'), taking('MAYBE', 'nowhere', 'token', true)];
    await world.user.create(aSandbox(ref.name, { image: world.image, command: writesEnvironment, env }));
    const { status } = await waiting(ref.name, 'EnvSecretNotFound');
    expect(status.message).toMatch(/^The Secret "mine", from which spec\.env takes TOKEN, .*\.$/);
    await world.user.apply(secret('mine', { other: 'hush-0' }));
    await waiting(ref.name, 'EnvSecretKeyNotFound');
    await world.user.apply(secret('mine', { token: 'hush-1' }));
    const { metadata } = await world.user.untilState(ref, 'Started');
    const first = await environmentOf(ref.name);
    expect(first).toContain('TOKEN=hush-1\n');
    expect(first).toContain('GREETING=hello\n');
    expect(first).not.toContain('MAYBE');

    await world.user.apply(secret('mine', { token: 'hush-2' }));
    await world.user.patch(ref, { restartID: 'again' });
    await world.user.until(ref, 'was restarted', (sandbox) => sandbox.status.restartID === 'again' && stateOf(sandbox) === 'Started');
    await eventually('the new value is there', async () => ((await environmentOf(ref.name)).includes('TOKEN=hush-2\n') ? true : undefined));

    await world.user.patch(ref, { desiredState: 'Stopped' });
    await world.user.untilState(ref, 'Stopped');
    await world.user.kubectl('delete', 'secret', 'mine');
    await world.user.patch(ref, { desiredState: 'Started' });
    await waiting(ref.name, 'EnvSecretNotFound');
    await world.user.apply(secret('mine', { token: 'hush-3' }));
    await world.user.untilState(ref, 'Started');
    await eventually('the newest value is there', async () =>
      (await environmentOf(ref.name)).includes('TOKEN=hush-3\n') ? true : undefined,
    );

    const runner = world.cluster.runner('runner-1');
    const { namespace, id } = await containerOf(runner, metadata.uid);
    const container = JSON.parse(await runner.ctr(namespace, 'containers', 'info', id)) as { readonly Labels: object };
    const told = {
      objects: await world.user.kubectl('get', 'sandboxes,runners,events', '-A', '-o', 'json'),
      labels: JSON.stringify(container.Labels),
      snapshot: await runner.ctr(namespace, 'snapshots', 'info', id),
      images: await runner.ctr(namespace, 'images', 'ls'),
      ...filesBelow(world.cluster.logDir),
      ...filesBelow(runner.agentStateDir),
    };
    expect(Object.values(told).join('').length).toBeGreaterThan(10_000);
    expect(Object.entries(told).flatMap(([place, text]) => (text.includes('hush') ? [place] : []))).toEqual([]);
    await world.user.delete(ref);
  });
});

/** What every file below the directory holds. */
function filesBelow(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), 'utf8')] as const),
  );
}
