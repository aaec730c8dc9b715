import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox, SandboxManifest } from '../../crds/sandbox.ts';
import { aSandbox } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { golden, normalised } from './goldens.ts';
import { isObserved, stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

describe('what kubectl shows of a sandbox', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  interface Row {
    readonly shown: string;
    readonly spec: () => Partial<SandboxManifest['spec']>;
    readonly reach: (ref: { name: string }) => Promise<unknown>;
    readonly leave?: () => Promise<void>;
  }
  const reason = (wanted: string) => (sandbox: Sandbox) => sandbox.status.reason === wanted && isObserved(sandbox);
  const rows: readonly Row[] = [
    {
      shown: 'pending',
      spec: () => ({ placement: { region: 'nowhere' } }),
      reach: (ref) => world.user.until(ref, 'waits for a runner', reason('NoRunnerAvailable')),
    },
    {
      shown: 'creating',
      spec: () => ({ image: world.cluster.image('never-pulled:1') }),
      reach: (ref) => world.user.until(ref, 'is Creating', (sandbox) => stateOf(sandbox) === 'Creating'),
      leave: async () => {
        world.cluster.registry.thaw();
        await world.cluster.registry.waitReady();
      },
    },
    { shown: 'started', spec: () => ({}), reach: (ref) => world.user.untilState(ref, 'Started') },
    {
      shown: 'stopped',
      spec: () => ({}),
      reach: async (ref) => {
        await world.user.untilState(ref, 'Started');
        await world.user.patch(ref, { desiredState: 'Stopped' });
        await world.user.untilState(ref, 'Stopped');
      },
    },
    {
      shown: 'error-image',
      spec: () => ({ image: world.cluster.image('never-pushed:1') }),
      reach: (ref) => world.user.until(ref, 'has no image', reason('ImageNotFound')),
    },
    {
      shown: 'error-command',
      spec: () => ({ command: ['no-such-program'] }),
      reach: (ref) => world.user.until(ref, 'has no such program', reason('CommandNotFound')),
    },
  ];

  /** What kubectl prints; undefined when a retry came in between. */
  const look = async (name: string) => {
    const before = await world.user.sandbox({ name });
    const printed = {
      get: await world.user.kubectl('get', 'sandbox', name),
      wide: await world.user.kubectl('get', 'sandbox', name, '-o', 'wide'),
      describe: await world.user.kubectl('describe', 'sandbox', name),
    };
    const after = await world.user.sandbox({ name });
    const isShown =
      after.metadata.resourceVersion === before.metadata.resourceVersion && printed.describe.includes(`  ${after.status.reason ?? ''}  `);
    return isShown ? printed : undefined;
  };

  it.each(rows)('is enough to know what is the matter: $shown', async ({ shown, spec, reach, leave }) => {
    const ref = { name: shown };
    if (leave !== undefined) world.cluster.registry.freeze();
    try {
      await world.user.create(aSandbox(ref.name, { image: world.image, ...spec() }));
      await reach(ref);
      const printed = await eventually(`${ref.name} stays as it is while it is looked at`, () => look(ref.name));
      const text = normalised(
        Object.entries(printed)
          .map(([what, output]) => `--- ${what}\n${output}`)
          .join('\n'),
      );
      expect(text).toBe(golden(shown, text));
    } finally {
      await leave?.();
      await world.user.delete(ref);
    }
  });
});
