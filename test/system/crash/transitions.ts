import type { Sandbox, SandboxManifest } from '../../../crds/sandbox.ts';
import { distinctImage } from '../../harness/images.ts';
import { aSandbox, remembering } from '../a-sandbox.ts';
import { eventually } from '../eventually.ts';
import { stateOf, type SandboxRef } from '../user.ts';
import type { World } from '../world.ts';

/** Something that a user asks for: what there must be before, the asking, and what comes of it however often a part dies on the way. */
export interface Transition {
  /** Brings the sandbox to where the transition begins. */
  readonly prepare: (world: World, ref: SandboxRef) => Promise<void>;
  readonly ask: (world: World, ref: SandboxRef) => Promise<void>;
  /** Resolves when all is as asked. */
  readonly done: (world: World, ref: SandboxRef) => Promise<Sandbox | undefined>;
  /** How often its main program was started in all, then. */
  readonly boots: number;
  /** Brings the world to where it was, before it is looked at what is left. */
  readonly after?: (world: World) => Promise<void>;
}

const started = async (world: World, { name }: SandboxRef) => {
  await world.user.create(remembering(name, world.image));
  await world.user.untilState({ name }, 'Started');
};
const stopped = async (world: World, ref: SandboxRef) => {
  await started(world, ref);
  await world.user.patch(ref, { desiredState: 'Stopped' });
  await world.user.untilState(ref, 'Stopped');
};
const nothing = async () => Promise.resolve();
const isStarted = (world: World, ref: SandboxRef) => world.user.untilState(ref, 'Started');
const isStopped = (world: World, ref: SandboxRef) => world.user.untilState(ref, 'Stopped');
const isRestarted = (world: World, ref: SandboxRef) =>
  world.user.until(ref, 'is restarted', (sandbox) => sandbox.status.restartID === 'again' && stateOf(sandbox) === 'Started');
const isGone = (world: World, ref: SandboxRef) =>
  eventually(`${ref.name} is gone`, async () => ((await world.user.find(ref)) === undefined ? true : undefined)).then(() => undefined);

/** It does not hear SIGTERM, and has one second. */
const stubborn = (name: string, image: string): SandboxManifest =>
  aSandbox(name, {
    image,
    command: ['sh', '-c', 'trap "" TERM; mkdir -p /data; echo boot >> /data/boots; while :; do sleep 1; done'],
    terminationGracePeriodSeconds: 1,
  });

export const transitions = {
  start: {
    prepare: nothing,
    ask: async (world, { name }) => world.user.create(remembering(name, world.image)).then(() => undefined),
    done: isStarted,
    boots: 1,
  },
  /** Of an image that no runner has. */
  pull: {
    prepare: nothing,
    ask: async (world, { name }) => {
      await world.user.create(remembering(name, await world.cluster.pushImage(`${name}:1`, await distinctImage(8 * 2 ** 20))));
    },
    done: isStarted,
    boots: 1,
  },
  'start again': {
    prepare: stopped,
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Started' }),
    done: isStarted,
    boots: 2,
  },
  restart: { prepare: started, ask: (world, ref) => world.user.patch(ref, { restartID: 'again' }), done: isRestarted, boots: 2 },
  /** A restart whose container has to be made anew. */
  change: {
    prepare: started,
    ask: (world, ref) => world.user.patch(ref, { restartID: 'again', env: [{ name: 'GREETING', value: 'changed' }] }),
    done: isRestarted,
    boots: 2,
  },
  stop: { prepare: started, ask: (world, ref) => world.user.patch(ref, { desiredState: 'Stopped' }), done: isStopped, boots: 1 },
  /** Of a program that does not end when it is asked to. */
  'stop by force': {
    prepare: async (world, { name }) => {
      await world.user.create(stubborn(name, world.image));
      await world.user.untilState({ name }, 'Started');
    },
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Stopped' }),
    done: isStopped,
    boots: 1,
  },
  delete: {
    prepare: started,
    ask: (world, ref) => world.user.kubectl('delete', 'sandbox', ref.name, '--wait=false').then(() => undefined),
    done: isGone,
    boots: 1,
  },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;
