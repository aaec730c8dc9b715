import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox, SandboxManifest } from '../../crds/sandbox.ts';
import { CrashablePart } from '../harness/crash.ts';
import { distinctImage } from '../harness/images.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import type { Part } from '../harness/part.ts';
import { RegistryProxy } from '../harness/registry-proxy.ts';
import type { Runner } from '../harness/runner.ts';
import { aSandbox, remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { containerOf } from './lying-on.ts';
import { type SandboxRef, stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

/** Short, so that they pass while the test waits. */
const deadlines = {
  ...{ BERTH_CREATING_SECONDS: '6', BERTH_STARTING_SECONDS: '5', BERTH_STOPPING_SECONDS: '3', BERTH_DELETING_SECONDS: '5' },
  BERTH_PATIENCE_SECONDS: '2',
};

describe('no sandbox is stuck', () => {
  let world: World;
  let runner: Runner;
  let agent: CrashablePart;
  let proxy: RegistryProxy;
  let before: readonly string[];
  beforeAll(async () => {
    world = await World.start({ failpoints: true, operatorEnv: deadlines });
    runner = world.cluster.runner('runner-1');
    agent = new CrashablePart(runner.agent, world.cluster.stateDir);
    await runner.agent.restart();
    await world.connected();
    proxy = await RegistryProxy.before(world.cluster.registry);
    await world.cluster.pushImage('slow:1', await distinctImage(2 ** 20));
    before = await livingOn(runner);
  }, startTimeoutMs);
  afterAll(async () => {
    await proxy.close();
    await world.stop();
  }, startTimeoutMs);

  const inState = (ref: SandboxRef, ...states: readonly Sandbox['status']['state'][]) =>
    world.user.until(ref, `is ${states.join(' or ')}`, (sandbox) => states.includes(stateOf(sandbox) ?? 'Pending'));
  const isGone = (ref: SandboxRef) =>
    eventually(`${ref.name} is gone`, async () => ((await world.user.find(ref)) === undefined ? true : undefined));
  const nothingIsLeft = async () => {
    const last: { left: readonly string[] } = { left: [] };
    const look = async () => {
      last.left = added(before, await livingOn(runner));
      return last.left.length === 0 ? true : undefined;
    };
    await eventually('nothing is left', look, () => last.left);
  };
  const create = (name: string, spec: Partial<SandboxManifest['spec']> = {}) =>
    world.user.create(aSandbox(name, { image: world.image, ...spec }));

  interface Stage {
    readonly state: Sandbox['status']['state'];
    readonly how: string;
    readonly reach: (ref: SandboxRef) => Promise<void>;
    /** Puts right what kept it there. */
    readonly after?: () => Promise<void> | void;
  }
  const stages: readonly Stage[] = [
    {
      state: 'Pending',
      how: 'no runner takes it',
      reach: async ({ name }) => {
        await world.user.patchRunner(runner.name, { unschedulable: true });
        await create(name);
      },
      after: () => world.user.patchRunner(runner.name, { unschedulable: false }),
    },
    {
      state: 'Creating',
      how: 'its image comes slowly',
      reach: async ({ name }) => {
        proxy.misbehave({ kind: 'Slow', bytesPerSecond: 2_000 });
        await create(name, { image: `${proxy.address}/slow:1` });
      },
      after: () => proxy.misbehave(undefined),
    },
    {
      state: 'Starting',
      how: 'the agent stands still',
      reach: async (ref) => {
        await create(ref.name);
        await inState(ref, 'Started');
        await world.user.patch(ref, { desiredState: 'Stopped' });
        await inState(ref, 'Stopped');
        agent.arm('order.accepted', 1, 'freeze');
        await world.user.patch(ref, { desiredState: 'Started' });
      },
      after: () => runner.agent.thaw(),
    },
    {
      state: 'Stopping',
      how: 'its program does not end',
      reach: async (ref) => {
        await create(ref.name, { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], terminationGracePeriodSeconds: 20 });
        await inState(ref, 'Started');
        await world.user.patch(ref, { desiredState: 'Stopped' });
      },
    },
    {
      state: 'Error',
      how: 'its image does not exist',
      reach: async ({ name }) => {
        await create(name, { image: world.cluster.image('none:1') });
      },
    },
    {
      state: 'Stopped',
      how: 'its program ended and is to be started again',
      reach: async ({ name }) => {
        await create(name, { command: ['sh', '-c', 'exit 3'] });
      },
    },
    {
      state: 'Deleting',
      how: 'the agent stands still',
      reach: async (ref) => {
        await create(ref.name);
        await inState(ref, 'Started');
        agent.arm('order.accepted', 1, 'freeze');
        await world.user.kubectl('delete', 'sandbox', ref.name, '--wait=false');
      },
      after: () => runner.agent.thaw(),
    },
  ];

  it.each(stages.map((stage, index) => ({ ...stage, name: `deleted-${index}` })))(
    'it can be deleted while it is $state because $how, and nothing is left',
    async ({ name, state, reach, after }) => {
      await reach({ name });
      await inState({ name }, state);
      await world.user.kubectl('delete', 'sandbox', name, '--wait=false');
      await isGone({ name });
      await after?.();
      await nothingIsLeft();
    },
  );

  const frozen: readonly { readonly what: string; readonly part: () => Part }[] = [
    { what: 'agent', part: () => runner.agent },
    { what: 'containerd', part: () => runner.containerd },
  ];
  describe.each(frozen)('when the $what stands still', ({ what, part }) => {
    const leaves = [
      { state: 'Creating', begin: (ref: SandboxRef) => create(ref.name), first: 'none', want: 'Started' },
      {
        state: 'Starting',
        begin: (ref: SandboxRef) => world.user.patch(ref, { desiredState: 'Started' }),
        first: 'Stopped',
        want: 'Started',
      },
      {
        state: 'Stopping',
        begin: (ref: SandboxRef) => world.user.patch(ref, { desiredState: 'Stopped' }),
        first: 'Started',
        want: 'Stopped',
      },
    ] as const;

    it.each(leaves)(
      '$state is left by its deadline, and what was asked for is done when it goes on',
      async ({ state, begin, first, want }) => {
        const ref = { name: `${what}-${state.toLowerCase()}` };
        if (first !== 'none') {
          await world.user.create(remembering(ref.name, world.image));
          await world.user.untilState(ref, 'Started');
        }
        if (first === 'Stopped') {
          await world.user.patch(ref, { desiredState: 'Stopped' });
          await world.user.untilState(ref, 'Stopped');
        }
        part().freeze();
        try {
          await begin(ref);
          await inState(ref, state);
          const { status } = await world.user.until(ref, `has left ${state}`, (sandbox) => stateOf(sandbox) !== state);
          expect(status).toMatchObject({ state: 'Error', reason: 'DeadlineExceeded' });
          expect(status.message).toMatch(/runner-1/);
        } finally {
          part().thaw();
        }
        await world.user.untilState(ref, want);
        await world.user.delete(ref);
        await nothingIsLeft();
      },
    );

    it('a deleted sandbox goes by the deadline, and its copy when it goes on', async () => {
      const ref = { name: `${what}-deleting` };
      await world.user.create(remembering(ref.name, world.image));
      await world.user.untilState(ref, 'Started');
      part().freeze();
      try {
        await world.user.kubectl('delete', 'sandbox', ref.name, '--wait=false');
        await isGone(ref);
        expect((await world.user.runner(runner.name)).status.removals).toHaveLength(1);
      } finally {
        part().thaw();
      }
      await nothingIsLeft();
      await eventually('the runner has nothing to remove', async () =>
        (await world.user.runner(runner.name)).status.removals.length === 0 ? true : undefined,
      );
    });
  });

  describe('when somebody removes behind the back of the agent', () => {
    const endTask = async (uid: string) => {
      const { namespace, id } = await containerOf(runner, uid);
      await runner.ctr(namespace, 'tasks', 'kill', '-s', 'SIGKILL', id);
      // The agent, which saw the end, may have been faster.
      await runner.ctr(namespace, 'tasks', 'delete', '--force', id).catch((error: unknown) => {
        if (!String(error).includes('not found')) throw error;
      });
    };

    it('the task, the program is started again by restartPolicy', async () => {
      const ref = { name: 'lost-task' };
      await world.user.create(remembering(ref.name, world.image));
      const { metadata, status } = await world.user.untilState(ref, 'Started');
      await endTask(metadata.uid);
      const again = await world.user.until(
        ref,
        'was started again',
        (sandbox) => stateOf(sandbox) === 'Started' && sandbox.status.contentVersion === status.contentVersion + 1,
      );
      expect(again.status.restartCount).toBe(1);
      expect(await world.boots(ref.name, 2)).toBe(2);
      await world.user.delete(ref);
      await nothingIsLeft();
    });

    it('the task of one that is not to be started again, it is Stopped and says how', async () => {
      const ref = { name: 'lost-for-good' };
      const manifest = remembering(ref.name, world.image);
      await world.user.create({ ...manifest, spec: { ...manifest.spec, restartPolicy: 'Never' } });
      const { metadata } = await world.user.untilState(ref, 'Started');
      await endTask(metadata.uid);
      const { status } = await inState(ref, 'Stopped');
      expect(['Signaled', 'Lost']).toContain(status.exitReason);
      await world.user.delete(ref);
      await nothingIsLeft();
    });

    it.each([
      { when: 'it runs', stop: false },
      { when: 'it is stopped', stop: true },
    ])('the container with its files while $when, it is never made from the image again', async ({ stop }) => {
      const ref = { name: stop ? 'lost-asleep' : 'lost-awake' };
      await world.user.create(remembering(ref.name, world.image));
      const { metadata } = await world.user.untilState(ref, 'Started');
      if (stop) {
        await world.user.patch(ref, { desiredState: 'Stopped' });
        await world.user.untilState(ref, 'Stopped');
      } else await endTask(metadata.uid);
      const { namespace, id } = await containerOf(runner, metadata.uid);
      await eventually('the container is removed', async () => {
        const gone = await runner.ctr(namespace, 'containers', 'rm', id).then(
          () => true,
          () => undefined,
        );
        // It was started again in the meantime.
        if (gone === undefined) await endTask(metadata.uid).catch(() => undefined);
        return gone;
      });
      if (stop) await world.user.patch(ref, { desiredState: 'Started' });
      const { status } = await world.user.until(
        ref,
        'says that its files are missing',
        (sandbox) => sandbox.status.reason === 'ContentMissing',
      );
      expect(status.state).toBe('Error');
      await world.user.delete(ref);
      await nothingIsLeft();
    });
  });
});
