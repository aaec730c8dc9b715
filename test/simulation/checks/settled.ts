import { copyEntry } from '../../../agent/journal/reduce.ts';
import { effectiveResources } from '../../../crds/index.ts';
import type { Sandbox } from '../../../crds/index.ts';
import { isEqual } from '../models/json.ts';
import { idOfKey } from '../models/machine.ts';
import type { Machine, StoredCopy } from '../models/machine.ts';
import { asRunner, runners } from '../models/objects.ts';
import type { PushedBackup } from '../models/registry.ts';
import type { World } from '../world.ts';
import type { Rule } from './violation.ts';

/** Why the fleet has not come to rest yet, or nothing. */
export interface Unsettled {
  readonly rule: Rule;
  readonly uid: string;
  readonly text: string;
}

/** After everything was healed: what is not yet as it is asked for, and is not truly said to be impossible either. */
export function unsettled(world: World): Unsettled[] {
  const sandboxes = world.sandboxes();
  return [
    ...sandboxes.flatMap((sandbox) => {
      const text = whyNotDone(world, sandbox);
      return text === undefined ? [] : [{ rule: 'Converged' as const, uid: sandbox.metadata.uid, text: `${nameOf(sandbox)} ${text}` }];
    }),
    ...sandboxes.flatMap((sandbox) => releasesLeft(sandbox)),
    ...world.nodes.flatMap(({ machine }) => [...machine.copies.values()].flatMap((copy) => leftOver(world, machine, copy, sandboxes))),
    ...world.deletions.leftOf(world.registry.backups).map(leftInRegistry),
  ];
}

/** What is released is removed in the end, since every runner is there. */
function releasesLeft(sandbox: Sandbox): Unsettled[] {
  const { metadata, status } = sandbox;
  return status.releases.map(({ runnerName, epoch }) => ({
    rule: 'NothingLeft',
    uid: metadata.uid,
    text: `${nameOf(sandbox)} still has the release of epoch ${epoch} on ${runnerName}`,
  }));
}

function leftOver(world: World, machine: Machine, { key, task, content }: StoredCopy, sandboxes: readonly Sandbox[]): Unsettled[] {
  const status = sandboxes.find(({ metadata }) => metadata.uid === key.uid)?.status;
  if (status?.runnerName === machine.name && status.assignment?.epoch === key.epoch) return [];
  const isReplaced = status?.superseded.some(({ runnerName, epoch }) => runnerName === machine.name && epoch === key.epoch) === true;
  if (isReplaced && content?.run !== undefined && !isAlive(task)) return [];
  const why =
    status === undefined
      ? 'its object is gone'
      : `its object has epoch ${status.assignment?.epoch ?? 'none'} on ${status.runnerName ?? 'no runner'}`;
  return [{ rule: 'NothingLeft', uid: key.uid, text: `${idOfKey(key)} is left on ${machine.name} (${task.state}): ${why}` }];
}

function leftInRegistry({ uid, id, digest, repository }: PushedBackup): Unsettled {
  return {
    rule: 'RegistryClean',
    uid,
    text: `${repository} still has backup ${uid}-${id} (${digest.slice(0, 15)}), and its object is gone`,
  };
}

function isAlive({ state }: StoredCopy['task']): boolean {
  return state === 'Running' || state === 'Created';
}

function whyNotDone(world: World, sandbox: Sandbox): string | undefined {
  const { metadata, spec, status } = sandbox;
  if (metadata.deletionTimestamp !== undefined) return `is still being deleted: ${said(sandbox)}`;
  const operation = status.backup?.operation;
  if (operation?.state === 'Running') return `has backup ${operation.id} under way for ever: ${said(sandbox)}`;
  if (status.observedGeneration !== metadata.generation) return `has not answered generation ${metadata.generation}: ${said(sandbox)}`;
  const idle = raisedForNothing(world, sandbox);
  if (idle !== undefined) return idle;
  return spec.desiredState === 'Started' ? whyNotStarted(world, sandbox) : whyNotStopped(world, sandbox);
}

/** At rest, a contentVersion is one under which something ran, or under which nobody can say that nothing did. */
function raisedForNothing(world: World, { metadata: { uid }, status }: Sandbox): string | undefined {
  const { state, contentVersion, assignment, runnerName } = status;
  if (contentVersion === 0 || (state !== 'Stopped' && state !== 'Error' && state !== 'Archived')) return undefined;
  if (world.fleet.lastRunUpTo(uid, contentVersion)?.contentVersion === contentVersion) return undefined;
  const node = world.nodes.find(({ machine }) => machine.name === runnerName);
  if (node === undefined || node.machine.storeID !== assignment?.storeID) return undefined;
  const recorded = copyEntry(node.journal.durable.sandboxes.get(uid), assignment.epoch)?.started ?? 0;
  return recorded === contentVersion ? undefined : `has version ${contentVersion}, under which nothing was started`;
}

function whyNotStopped(world: World, sandbox: Sandbox): string | undefined {
  if (world.fleet.running(sandbox.metadata.uid).length > 0) return `should not run and does: ${said(sandbox)}`;
  const isAtRest = sandbox.status.state === 'Stopped' || sandbox.status.state === 'Archived';
  return isAtRest || isTrue(world, sandbox) ? undefined : `should be stopped: ${said(sandbox)}`;
}

function whyNotStarted(world: World, sandbox: Sandbox): string | undefined {
  const { metadata, spec, status } = sandbox;
  if (status.state !== 'Started') return isTrue(world, sandbox) ? undefined : `should run: ${said(sandbox)}`;
  const [only] = world.fleet.running(metadata.uid);
  if (only === undefined) return `is said to run and does not: ${said(sandbox)}`;
  if (only.machine.name !== status.runnerName || only.copy.key.epoch !== status.assignment?.epoch)
    return `runs elsewhere than said: ${said(sandbox)}`;
  if (only.copy.task.state === 'Running' && only.copy.task.paused !== undefined)
    return `is paused and nobody lets it go on: ${said(sandbox)}`;
  const isAsAsked =
    isEqual(only.copy.command, spec.command) && only.copy.requests.memoryBytes === effectiveResources(spec).requests.memoryBytes;
  const saysSo = (status.message ?? '').includes('takes effect at its next start');
  return isAsAsked || saysSo ? undefined : `runs something else than the spec says, and that is not said: ${said(sandbox)}`;
}

/** Whether the reason that the status gives for not running is so. */
const truths: Readonly<Partial<Record<string, (world: World, sandbox: Sandbox) => boolean>>> = {
  ImageNotFound: (_, { spec }) => spec.image.includes('not-there'),
  CommandNotFound: (_, { spec }) => spec.command?.[0] === 'missing',
  InvalidSpec: (_, { spec }) => spec.command?.[0] === 'invalid',
  NoRunnerAvailable: (world, sandbox) =>
    world.nodes.every(({ machine }) => isCordoned(world, machine) || !hasRoom(world, machine, sandbox)),
  InsufficientOnRunner: (world, sandbox) =>
    world.nodes.some(({ machine }) => machine.name === sandbox.status.runnerName && !hasRoom(world, machine, sandbox)),
  ContentMissing: (world, sandbox) =>
    sandbox.status.contentVersion > 0 &&
    !world.nodes.some(({ machine }) => machine.name === sandbox.status.runnerName && holds(machine, sandbox)),
  BackupUnverified: wasHarmed,
  BackupCorrupt: wasHarmed,
  BackupNotFound: wasHarmed,
  NoCurrentBackup: wasHarmed,
  Completed: (_, { spec, status }) => status.state === 'Stopped' && spec.restartPolicy !== 'Always',
  ExitedWithError: isLeftEnded,
  OOMKilled: isLeftEnded,
  Signaled: isLeftEnded,
  ExitLost: isLeftEnded,
  RunnerRebooted: isLeftEnded,
};

function isLeftEnded(_: World, { spec, status }: Sandbox): boolean {
  return status.state === 'Stopped' && spec.restartPolicy === 'Never';
}

/** Somebody has harmed a backup of it in the registry. */
function wasHarmed({ registry }: World, { metadata: { uid } }: Sandbox): boolean {
  return registry.backups.some((one) => one.uid === uid && one.condition !== 'Whole');
}

function isTrue(world: World, sandbox: Sandbox): boolean {
  return truths[sandbox.status.reason ?? '']?.(world, sandbox) ?? false;
}

function isCordoned(world: World, machine: Machine): boolean {
  const runner = world.store.find(runners, { name: machine.name });
  return runner === undefined || asRunner(runner).spec.unschedulable;
}

function holds(machine: Machine, { metadata, status }: Sandbox): boolean {
  return machine.copies.get(idOfKey({ uid: metadata.uid, epoch: status.assignment?.epoch ?? 0 }))?.content !== undefined;
}

/**
 * Whether it would fit beside what runs there. A sandbox whose resources were changed counts with the larger ones: what it has, or what it is promised
 * at its next start.
 */
function hasRoom(world: World, machine: Machine, sandbox: Sandbox): boolean {
  const asked = new Map(world.sandboxes().map(({ metadata, spec }) => [metadata.uid, effectiveResources(spec).requests.memoryBytes]));
  const others = [...machine.copies.values()].filter(({ key, task }) => task.state === 'Running' && key.uid !== sandbox.metadata.uid);
  const taken = others.reduce((sum, { key, requests }) => sum + Math.max(requests.memoryBytes, asked.get(key.uid) ?? 0), 0);
  return effectiveResources(sandbox.spec).requests.memoryBytes <= machine.capacity.memoryBytes - world.reservedMemory(machine) - taken;
}

function nameOf({ metadata }: Sandbox): string {
  return `${metadata.namespace}/${metadata.name} (${metadata.uid})`;
}

function said({ status, spec }: Sandbox): string {
  return `${status.state} ${status.reason ?? 'without a reason'}, wants ${spec.desiredState}${status.message === undefined ? '' : `: ${status.message}`}`;
}
