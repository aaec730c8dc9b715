import { KubeError } from '../../kube/errors.ts';
import { asSandbox, backupOf, commandOf, manifestOf, placeOf, runners, sandboxes } from './models/objects.ts';
import { hash32 } from './engine/random.ts';
import type { Operation, Shape } from './plan.ts';
import type { World } from './world.ts';

const by = 'user';

/** One thing that a user does, straight at the API server: counted when that accepts it. */
export function operate(world: World, operation: Operation): void {
  const where = whereOf(operation);
  world.trace.add('user', `${operation.kind} ${where}${'what' in operation ? ` ${operation.what}` : ''}`);
  try {
    carryOut(world, sensible(world, operation));
    world.counts.operations++;
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    world.trace.add('user', `  ${error.code}`);
  }
}

function whereOf(operation: Operation): string {
  if ('slot' in operation) return `${placeOf(operation.slot).namespace}/${placeOf(operation.slot).name}`;
  return 'runner' in operation ? `runner-${operation.runner + 1}` : '';
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
  switch (operation.kind) {
    case 'cordon':
    case 'uncordon':
    case 'maxStarted':
    case 'startAll':
    case 'stopAll':
      carryOutOnMany(world, operation);
      return;
    case 'archive':
    case 'backup':
    case 'restore':
    case 'policy':
    case 'deletePushed':
      carryOutOnBackups(world, operation);
      return;
    default:
      carryOutOnOne(world, operation);
  }
}

type About<Kind extends Operation['kind']> = Operation & { readonly kind: Kind };

function carryOutOnOne(
  world: World,
  operation: About<'create' | 'start' | 'stop' | 'restart' | 'delete' | 'deleteAndCreate' | 'change'>,
): void {
  const { store } = world;
  switch (operation.kind) {
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

function carryOutOnMany(world: World, operation: About<'cordon' | 'uncordon' | 'maxStarted' | 'startAll' | 'stopAll'>): void {
  switch (operation.kind) {
    case 'cordon':
    case 'uncordon':
      changeRunner(world, operation.runner, { unschedulable: operation.kind === 'cordon' });
      return;
    case 'maxStarted':
      changeRunner(world, operation.runner, { maxStarted: operation.count });
      return;
    default: {
      const desiredState = operation.kind === 'startAll' ? 'Started' : 'Stopped';
      for (const { metadata } of world.sandboxes()) {
        world.store.patch(sandboxes, metadata, { type: 'merge', body: { spec: { desiredState } } }, undefined, by);
      }
    }
  }
}

function carryOutOnBackups(
  world: World,
  { kind, slot, shape, at }: About<'archive' | 'backup' | 'restore' | 'policy' | 'deletePushed'>,
): void {
  switch (kind) {
    case 'archive':
      archive(world, slot, shape);
      return;
    case 'backup':
      change(world, slot, { backup: { requestID: `b${at}` } });
      return;
    case 'restore':
      restore(world, slot, at);
      return;
    case 'policy':
      policy(world, slot, shape);
      return;
    case 'deletePushed':
      deletePushed(world, slot, at);
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

function changeRunner(world: World, runner: number, spec: object): void {
  const name = world.nodes[runner]?.machine.name ?? '';
  world.store.patch(runners, { name }, { type: 'merge', body: { spec } }, undefined, by);
}

/** Who wants no backups can not have it archived: that is refused. */
function archive(world: World, slot: number, shape: Shape): void {
  const backup = { ...backupOf(shape), ...(shape.backup === 'Never' && { policy: 'OnStop' }) };
  change(world, slot, { desiredState: 'Archived', backup });
}

function policy({ store }: World, slot: number, shape: Shape): void {
  const object = store.find(sandboxes, placeOf(slot));
  const isArchived = object !== undefined && asSandbox(object).spec.desiredState === 'Archived';
  const backup = { ...backupOf(shape), ...(isArchived && { policy: 'OnStop' }) };
  store.patch(sandboxes, placeOf(slot), { type: 'merge', body: { spec: { backup } } }, undefined, by);
}

/** Asks for a backup, and deletes the sandbox in the moment in which the registry has one and nobody has recorded it. */
function deletePushed(world: World, slot: number, at: number): void {
  const { store, registry, trace } = world;
  const { uid } = store.get(sandboxes, placeOf(slot)).metadata;
  change(world, slot, { backup: { requestID: `b${at}` } });
  let isDue = true;
  registry.onPushed((pushed) => {
    if (!isDue || pushed.uid !== uid) return;
    isDue = false;
    if (store.find(sandboxes, placeOf(slot))?.metadata.uid !== uid) return;
    trace.add('user', `delete ${placeOf(slot).namespace}/${placeOf(slot).name}`);
    store.delete(sandboxes, placeOf(slot), {}, by);
  });
}

/** One of the backups that status names; where there is none, one is asked for. */
function restore(world: World, slot: number, at: number): void {
  const object = world.store.find(sandboxes, placeOf(slot));
  const history = object === undefined ? [] : (asSandbox(object).status.backup?.history ?? []);
  const record = history[hash32(String(at)) % Math.max(1, history.length)];
  if (record === undefined) change(world, slot, { backup: { requestID: `b${at}` } });
  else change(world, slot, { restore: { requestID: `r${at}`, digest: record.digest }, desiredState: 'Started' });
}
