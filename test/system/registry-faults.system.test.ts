import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { SandboxReason } from '../../crds/reasons.ts';
import { distinctImage } from '../harness/images.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { type Misbehaviour, RegistryProxy } from '../harness/registry-proxy.ts';
import { aSandbox } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('a registry that', () => {
  let world: World;
  let proxy: RegistryProxy;
  let before: readonly string[];
  beforeAll(async () => {
    world = await World.start({ operatorEnv: { BERTH_CREATING_SECONDS: '15', BERTH_PATIENCE_SECONDS: '2' } });
    proxy = await RegistryProxy.before(world.cluster.registry);
    before = await livingOn(world.cluster.runner('runner-1'));
  }, startTimeoutMs);
  afterAll(async () => {
    await proxy.close();
    await world.stop();
  }, startTimeoutMs);

  const rows: readonly { readonly does: string; readonly how: Misbehaviour; readonly reasons: readonly SandboxReason[] }[] = [
    { does: 'says 401', how: { kind: 'Status', status: 401 }, reasons: ['ImageUnauthorized'] },
    { does: 'says 403', how: { kind: 'Status', status: 403 }, reasons: ['ImageUnauthorized'] },
    { does: 'says 404', how: { kind: 'Status', status: 404 }, reasons: ['ImageNotFound'] },
    { does: 'says 500', how: { kind: 'Status', status: 500 }, reasons: ['RegistryUnavailable', 'ImagePullFailed'] },
    { does: 'says 503', how: { kind: 'Status', status: 503 }, reasons: ['RegistryUnavailable', 'ImagePullFailed'] },
    { does: 'gives wrong bytes', how: { kind: 'WrongBytes' }, reasons: ['ImagePullFailed', 'ImageUnsuitable'] },
    { does: 'ends blobs in the middle', how: { kind: 'CutOff' }, reasons: ['ImagePullFailed', 'RegistryUnavailable'] },
    { does: 'never answers', how: { kind: 'Silent' }, reasons: ['DeadlineExceeded', 'RegistryUnavailable'] },
  ];

  it.each(rows.map((row, index) => ({ ...row, name: `image-${index}` })))(
    '$does is named as the cause, and leaves nothing when it has come right',
    async ({ name, how, reasons }) => {
      await world.cluster.pushImage(`${name}:1`, await distinctImage(2 ** 16));
      proxy.misbehave(how);
      await world.user.create(aSandbox(name, { image: `${proxy.address}/${name}:1` }));
      const { status } = await world.user.until({ name }, 'is in Error', (sandbox) => stateOf(sandbox) === 'Error');
      expect(reasons).toContain(status.reason);
      expect(status.message).toMatch(/^[A-Z"'][^\n]*\.$/);
      proxy.misbehave(undefined);
      await world.user.untilState({ name }, 'Started');
      await world.user.delete({ name });
      const last: { left: readonly string[] } = { left: [] };
      const look = async () => {
        last.left = added(before, await livingOn(world.cluster.runner('runner-1')));
        return last.left.length === 0 ? true : undefined;
      };
      await eventually('nothing is left', look, () => last.left);
    },
  );

  it('is slow is waited for beyond the deadline as long as bytes come', async () => {
    await world.cluster.pushImage('slow:1', await distinctImage(4 * 2 ** 20));
    // Twice as long as the deadline in all. containerd tells of bytes a mebibyte at a time, which takes half of it.
    proxy.misbehave({ kind: 'Slow', bytesPerSecond: 140_000 });
    await world.user.create(aSandbox('slow', { image: `${proxy.address}/slow:1` }));
    const states = new Set<string>();
    await world.user.until({ name: 'slow' }, 'is Started', (sandbox) => {
      states.add(stateOf(sandbox) ?? 'none');
      return stateOf(sandbox) === 'Started';
    });
    expect([...states].toSorted().filter((state) => state !== 'none')).toEqual(['Creating', 'Started']);
    proxy.misbehave(undefined);
    await world.user.delete({ name: 'slow' });
  });
});
