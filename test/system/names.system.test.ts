import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aSandbox, after } from './a-sandbox.ts';
import { inside, lyingOn, nothing, written } from './lying-on.ts';
import { startTimeoutMs, World } from './world.ts';

describe('names of sandboxes', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const hostname = async (ref: { name: string; namespace?: string }) => {
    const { metadata, status } = await world.user.sandbox(ref);
    return (await inside(world.runnerOf({ status }), metadata.uid, 'hostname')).trim();
  };

  it('may have 63 characters, and are the host name inside', async () => {
    const ref = { name: `${'a'.repeat(30)}-${'9'.repeat(32)}` };
    expect(ref.name).toHaveLength(63);
    await world.user.create(aSandbox(ref.name, { image: world.image }));
    await world.user.untilState(ref, 'Started');
    expect(await hostname(ref)).toBe(ref.name);
    await world.user.delete(ref);
  });

  it('may not have 64', async () => {
    const { exitCode, stderr } = await world.user.try(
      ['create', '-f', '-'],
      JSON.stringify(aSandbox('a'.repeat(64), { image: world.image })),
    );
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain('metadata.name');
  });

  it('may be the same in two namespaces, and then are two sandboxes', async () => {
    const refs = [
      { name: 'twin', namespace: 'left' },
      { name: 'twin', namespace: 'right' },
    ];
    for (const { name, namespace } of refs) {
      await world.user.kubectl('create', 'namespace', namespace);
      await world.user.create(aSandbox(name, { image: world.image, command: after(`echo ${namespace} > /where`) }, namespace));
    }
    for (const ref of refs) {
      const { metadata, status } = await world.user.untilState(ref, 'Started');
      expect((await written(world.runnerOf({ status }), metadata.uid, '/where')).trim()).toBe(ref.namespace);
    }
    const [left, right] = refs;
    if (left === undefined || right === undefined) throw new Error('there are two');
    await world.user.delete(left);
    expect((await world.user.untilState(right, 'Started')).status.restartCount).toBe(0);
    await world.user.delete(right);
  });

  it('may be used again at once after a deletion, and the new sandbox has none of the old files', async () => {
    const ref = { name: 'phoenix' };
    const uids: string[] = [];
    for (let life = 1; life <= 4; life += 1) {
      const { metadata } = await world.user.create(aSandbox(ref.name, { image: world.image, command: after('echo life >> /lives') }));
      uids.push(metadata.uid);
      if (life % 2 === 1) {
        const { status } = await world.user.untilState(ref, 'Started');
        expect((await written(world.runnerOf({ status }), metadata.uid, '/lives')).trim()).toBe('life');
      }
      await world.user.delete(ref);
    }
    expect(new Set(uids).size).toBe(4);
    for (const uid of uids) for (const runner of world.cluster.runners) expect(await lyingOn(runner, uid)).toEqual(nothing);
  });
});
