import { readFileSync, writeFileSync } from 'node:fs';
import type { Sandbox, SandboxManifest } from '../../../crds/index.ts';
import type { OperatorFailpoint } from '../../../operator/failpoints.ts';
import { remembering } from '../a-sandbox.ts';
import { eventually } from '../eventually.ts';
import { blobFile, lastLayerOf, newestBackup } from '../registry-of.ts';
import { stateOf, type SandboxRef } from '../user.ts';
import type { World } from '../world.ts';
import { transitions, type Transition } from './transitions.ts';

/** Where a sandbox is made, and where it can go: a world with these two. */
export const [origin, target] = ['runner-1', 'runner-2'] as const;

/** The failpoints of the operator that are reached only by sandboxes with backups. */
export type OperatorStep = Extract<OperatorFailpoint, `${'backup' | 'move' | 'archive' | 'release' | 'registry'}.${string}`>;

export function isOperatorStep(name: OperatorFailpoint): name is OperatorStep {
  return /^(backup|move|archive|release|registry)\./.test(name);
}

export const isBackedUp = ({ status }: Sandbox): boolean =>
  status.conditions.some(({ type, reason }) => type === 'BackedUp' && reason === 'BackupCurrent');

/** Cordons, or takes it back, and waits until the leader has seen it. */
export async function cordon(world: World, name: string, unschedulable = true): Promise<void> {
  await world.user.patchRunner(name, { unschedulable });
  await eventually(`${name} is ${unschedulable ? '' : 'not '}cordoned`, async () => {
    const { conditions } = (await world.user.runner(name)).status;
    return conditions.find(({ type }) => type === 'Schedulable')?.status === (unschedulable ? 'False' : 'True') ? true : undefined;
  });
}

const started = (spec: Partial<SandboxManifest['spec']> = {}) => {
  return async (world: World, { name }: SandboxRef) => {
    await cordon(world, target);
    await cordon(world, origin, false);
    const manifest = remembering(name, world.image);
    // What it writes is in no other's layer: each can be spoiled by itself.
    await world.user.create({ ...manifest, spec: { ...manifest.spec, env: [{ name: 'GREETING', value: name }], ...spec } });
    await world.user.untilState({ name }, 'Started');
  };
};

const backedUp = (spec: Partial<SandboxManifest['spec']> = {}) => {
  return async (world: World, ref: SandboxRef) => {
    await started(spec)(world, ref);
    await world.user.patch(ref, { desiredState: 'Stopped' });
    await isStoppedAndBackedUp(world, ref);
  };
};

/** Stopped, and only the other runner is one that it may go to. */
const toBeMoved = async (world: World, ref: SandboxRef) => {
  await backedUp()(world, ref);
  await cordon(world, target, false);
  await cordon(world, origin);
};

const isStoppedAndBackedUp = (world: World, ref: SandboxRef) =>
  world.user.until(ref, 'is stopped and backed up', (sandbox) => stateOf(sandbox) === 'Stopped' && isBackedUp(sandbox));

/** The copy of before is gone, and proven to be. */
const isStartedOn = (name: string) => async (world: World, ref: SandboxRef) =>
  world.user.until(ref, `runs on ${name} alone`, (sandbox) => {
    const { runnerName, releases } = sandbox.status;
    return stateOf(sandbox) === 'Started' && runnerName === name && releases.length === 0;
  });

const uncordoned = async (world: World) => {
  await cordon(world, origin, false);
  await cordon(world, target, false);
};

/** What becomes of sandboxes with backups. */
export const moves = {
  backup: {
    prepare: started(),
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Stopped' }),
    done: isStoppedAndBackedUp,
    boots: 1,
    after: uncordoned,
  },
  'backup of what runs': {
    prepare: started(),
    ask: (world, ref) => world.user.patch(ref, { backup: { requestID: 'now' } }),
    done: (world, ref) => world.user.until(ref, 'has answered the request', ({ status }) => status.backup?.requestID === 'now'),
    boots: 1,
    after: uncordoned,
  },
  /** A second backup of which only one may stay. */
  retention: {
    prepare: backedUp({ backup: { policy: 'OnStop', retain: 1 } }),
    ask: (world, ref) => world.user.patch(ref, { backup: { requestID: 'another' } }),
    done: (world, ref) =>
      world.user.until(ref, 'has another backup and only that', ({ status: { backup } }) => {
        return backup?.requestID === 'another' && backup.history.length === 1;
      }),
    boots: 1,
    after: uncordoned,
  },
  move: {
    prepare: toBeMoved,
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Started' }),
    done: isStartedOn(target),
    boots: 2,
    after: uncordoned,
  },
  /** The target finds that the backup is damaged. */
  'move that is given up': {
    prepare: async (world, ref) => {
      await toBeMoved(world, ref);
      const file = blobFile(world.cluster, await lastLayerOf(world.cluster.registry, newestBackup(await world.user.sandbox(ref))));
      const bytes = readFileSync(file);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 0xff;
      writeFileSync(file, bytes);
    },
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Started' }),
    done: isStartedOn(origin),
    boots: 2,
    after: uncordoned,
  },
  restore: {
    prepare: toBeMoved,
    ask: async (world, ref) => {
      const { digest } = newestBackup(await world.user.sandbox(ref));
      await world.user.patch(ref, { desiredState: 'Started', restore: { requestID: 'once', digest } });
    },
    done: async (world, ref) => {
      await isStartedOn(target)(world, ref);
      return world.user.until(ref, 'has answered the restore', ({ status }) => status.restore?.requestID === 'once');
    },
    boots: 2,
    after: uncordoned,
  },
  /** From where it runs, and at the end back to a runner. */
  archive: {
    prepare: started(),
    ask: (world, ref) => world.user.patch(ref, { desiredState: 'Archived' }),
    done: async (world, ref) => {
      await world.user.until(ref, 'is archived, and its copy gone', (sandbox) => {
        return stateOf(sandbox) === 'Archived' && sandbox.status.releases.length === 0;
      });
      await cordon(world, target, false);
      await world.user.patch(ref, { desiredState: 'Started' });
      return isStartedOn(target)(world, ref);
    },
    boots: 2,
    after: uncordoned,
  },
  'delete of what is backed up': { ...transitions.delete, prepare: backedUp(), after: uncordoned },
} as const satisfies Record<string, Transition>;

export type Move = keyof typeof moves;
