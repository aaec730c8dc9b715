import type { Runner, Sandbox } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import type { Hub } from '../hub/controller.ts';
import { ApiError } from '../http/errors.ts';
import type { OpenRunner } from '../reservations/controller.ts';
import type { RunningSandbox } from './controller.ts';
import type { AgentView, StatusInput } from './status.ts';

export interface TaskWorld {
  readonly hub: Pick<Hub, 'facts' | 'instances' | 'taskStream' | 'subscribeTasks'>;
  readonly sandboxes: Pick<Cache<Sandbox>, 'get'>;
  readonly runners: Pick<Cache<Runner>, 'get' | 'list'>;
}

export interface SandboxRef {
  readonly namespace: string;
  readonly name: string;
}

/** The runners that may be given tasks: connected to this pod, with slots, not cordoned and not said to be off. */
export function openRunners({ hub, runners }: TaskWorld): readonly OpenRunner[] {
  return hub.instances().flatMap(({ runnerName }) => {
    const slots = hub.facts(runnerName)?.tasks;
    const spec = runners.get(runnerName)?.spec;
    if (slots === undefined || spec === undefined || spec.unschedulable || spec.fenced) return [];
    return hub.taskStream(runnerName) === undefined || slots.slots === 0 ? [] : [{ runnerName, slots }];
  });
}

/** Whether the agents of all runners that are ready are connected to this pod. */
export function reachesAll({ hub, runners }: TaskWorld): boolean {
  return runners.list().every(({ metadata, status }) => !isReady(status) || hub.taskStream(metadata.name) !== undefined);
}

function isReady({ conditions }: Runner['status']): boolean {
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}

export function storeOf({ hub }: TaskWorld, runnerName: string): string | undefined {
  const facts = hub.facts(runnerName);
  return facts?.isConnected === true ? facts.storeID : undefined;
}

/**
 * A sandbox that runs. This pod may not have heard yet of one that was just started: before it refuses, it asks the API server.
 * @throws ApiError `SandboxNotFound`, `SandboxNotRunning`, and what `read` throws
 */
export async function runningSandbox(
  known: Sandbox | undefined,
  ref: SandboxRef,
  read: (ref: SandboxRef) => Promise<Sandbox | undefined>,
): Promise<RunningSandbox> {
  return asRunning(isRunning(known) ? known : await read(ref), ref);
}

function isRunning(sandbox: Sandbox | undefined): boolean {
  return sandbox?.status.state === 'Started' && sandbox.status.runnerName !== undefined && sandbox.metadata.deletionTimestamp === undefined;
}

function asRunning(sandbox: Sandbox | undefined, { namespace, name }: SandboxRef): RunningSandbox {
  if (sandbox === undefined) throw new ApiError('SandboxNotFound', `There is no sandbox ${namespace}/${name}.`);
  const { state, runnerName = '', contentVersion } = sandbox.status;
  if (!isRunning(sandbox))
    throw new ApiError('SandboxNotRunning', `The sandbox ${namespace}/${name} is ${state}: tasks run in Started ones.`);
  return { uid: sandbox.metadata.uid, contentVersion, runnerName };
}

/** What this pod can say of the fleet. */
export function fleetOf({ hub, runners }: TaskWorld): Pick<StatusInput, 'agents' | 'ready'> {
  const agents = hub.instances().map((instance): AgentView => {
    const facts = hub.facts(instance.runnerName);
    const copies = facts === undefined ? [] : [...facts.copies.values()];
    const running = copies.filter(({ state }) => state === 'Running').length;
    return { ...instance, slots: facts?.isComplete === true ? facts.tasks : undefined, startedSandboxes: running };
  });
  const ready = runners.list().filter(({ status }) => isReady(status));
  return { agents, ready: ready.map(({ metadata }) => metadata.name) };
}
