import { KubeError } from '../../kube/errors.ts';
import { commandOf, manifestOf, placeOf, runners, sandboxes } from './models/objects.ts';
import type { Operation, Shape } from './plan.ts';
import type { World } from './world.ts';

const by = 'user';

/** One thing that a user does, straight at the API server: counted when that accepts it. */
export function operate(world: World, operation: Operation): void {
  const where =
    'slot' in operation ? `${placeOf(operation.slot).namespace}/${placeOf(operation.slot).name}` : `runner-${operation.runner + 1}`;
  world.trace.add('user', `${operation.kind} ${where}${'what' in operation ? ` ${operation.what}` : ''}`);
  try {
    carryOut(world, sensible(world, operation));
    world.counts.operations++;
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    world.trace.add('user', `  ${error.code}`);
  }
}

/** What is not there is created; what is there is not created once more but restarted. */
function sensible({ store }: World, operation: Operation): Operation {
  if (!('slot' in operation)) return operation;
  const isThere = store.find(sandboxes, placeOf(operation.slot)) !== undefined;
  const { at, slot, shape } = operation;
  if (!isThere) return { at, kind: 'create', slot, shape };
  return operation.kind === 'create' ? { at, kind: 'restart', slot, shape } : operation;
}

function carryOut(world: World, operation: Operation): void {
  const { store } = world;
  switch (operation.kind) {
    case 'cordon':
    case 'uncordon':
      store.patch(
        runners,
        { name: world.nodes[operation.runner]?.machine.name ?? '' },
        { type: 'merge', body: { spec: { unschedulable: operation.kind === 'cordon' } } },
        undefined,
        by,
      );
      return;
    case 'create':
      store.create(sandboxes, manifestOf(operation.slot, operation.shape), by);
      return;
    case 'delete':
      store.delete(sandboxes, placeOf(operation.slot), {}, by);
      return;
    case 'deleteAndCreate':
      store.delete(sandboxes, placeOf(operation.slot), {}, by);
      {
        createWhenGone(world, operation.slot, operation.shape, 200);
        return;
      }
    case 'start': {
      change(world, operation.slot, { desiredState: 'Started' });
      return;
    }
    case 'stop': {
      change(world, operation.slot, { desiredState: 'Stopped' });
      return;
    }
    case 'restart': {
      change(world, operation.slot, { restartID: `r${operation.at}` });
      return;
    }
    case 'change': {
      change(world, operation.slot, changed(operation));
      return;
    }
  }
}

/** As `kubectl replace --force` does: it waits for the old one to go. */
function createWhenGone(world: World, slot: number, shape: Shape, tries: number): void {
  if (world.store.find(sandboxes, placeOf(slot)) === undefined) {
    world.trace.add('user', `create again ${placeOf(slot).name}`);
    world.store.create(sandboxes, manifestOf(slot, shape), by);
  } else if (tries > 0) {
    world.scheduler.after(250, () => createWhenGone(world, slot, shape, tries - 1));
  }
}

function changed({ what, shape, at }: Operation & { readonly kind: 'change' }): object {
  switch (what) {
    case 'env':
      return { env: [{ name: 'CHANGED', value: String(at) }] };
    case 'command':
      return { command: commandOf(shape) };
    case 'memory':
      return { resources: { limits: { memory: `${shape.memoryMi}Mi` } } };
  }
}

function change(world: World, slot: number, spec: object): void {
  world.store.patch(sandboxes, placeOf(slot), { type: 'merge', body: { spec } }, undefined, by);
}
