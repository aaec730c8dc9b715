import type { JournalRecord, JournalState } from '../../agent/journal/record.ts';
import type { CopyRuntime } from '../../agent/copies/runtime.ts';
import type { AgentMessage, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { RunnerSpec, SandboxStatus } from '../../crds/index.ts';
import { mergePatch as difference } from '../../kube/diff.ts';
import type { KubeObject, KubeTransport, ObjectRef, Patch, Resource, WriteOptions } from '../../kube/types.ts';
import type { BackupRegistryClient } from '../../operator/backups/controller.ts';
import { epoch } from './engine/process.ts';
import type { Process } from './engine/process.ts';
import type { Machine } from './models/machine.ts';
import { asSandbox, runners, sandboxes } from './models/objects.ts';
import { mergePatch } from './models/json.ts';
import type { Connection } from './models/network.ts';
import type { Plan } from './plan.ts';
import type { Pod, World } from './world.ts';

/**
 * What is wrong on purpose, outside of the product: a port that does not keep its promise, or a rule that is made without effect. Each
 * takes away one rule of docs/adr/0002-orders.md or 0005-backups-and-moves.md; that the simulation finds it shows that it would find the same in the product.
 */
export interface Sabotage {
  readonly says?: string;
  /** The histories in which it does harm, where those that are drawn hardly come to it. */
  readonly planOf?: (seed: string) => Plan;
  /** What of appended records reaches the disk. */
  readonly kept?: (record: JournalRecord) => boolean;
  /** What a start of the agent finds of the journal. */
  readonly reopened?: (state: JournalState) => JournalState;
  /** What the agent gets instead of the order. */
  readonly delivered?: (order: Order, machine: Machine) => Order;
  readonly transport?: (transport: KubeTransport, world: World, process: Process) => KubeTransport;
  /** What an operator does beside its own when an agent tells something. */
  readonly heard?: (world: World, pod: Pod, connection: Connection, message: AgentMessage) => void;
  /** What an operator gets instead of what an agent tells. */
  readonly reported?: (message: AgentMessage, world: World) => AgentMessage;
  /** What an operator asks instead of the registry. */
  readonly registry?: (client: BackupRegistryClient) => BackupRegistryClient;
  readonly runtime?: (runtime: CopyRuntime, machine: Machine, process: Process) => CopyRuntime;
}

/** `transport` with another `patch` for the status of sandboxes. */
export function withStatusPatch(
  transport: KubeTransport,
  patchStatus: (ref: ObjectRef, patch: Patch & { readonly type: 'merge' }, options: WriteOptions) => ReturnType<KubeTransport['patch']>,
): KubeTransport {
  const patch: KubeTransport['patch'] = (resource: Resource, ref, body, options = {}) =>
    resource.plural === sandboxes.plural && options.subresource === 'status' && body.type === 'merge'
      ? patchStatus(ref, body, options)
      : transport.patch(resource, ref, body, options);
  return {
    ...callsOf(transport),
    patch,
  };
}

export function callsOf(transport: KubeTransport): KubeTransport {
  return {
    get: (...args) => transport.get(...args),
    list: (...args) => transport.list(...args),
    watch: (...args) => transport.watch(...args),
    create: (...args) => transport.create(...args),
    update: (...args) => transport.update(...args),
    patch: (...args) => transport.patch(...args),
    delete: (...args) => transport.delete(...args),
    createSubresource: (...args) => transport.createSubresource(...args),
    post: (...args) => transport.post(...args),
  };
}

/** Every status that is written is another one than was decided. */
export function rewriteStatus(
  transport: KubeTransport,
  { store, scheduler }: World,
  rewrite: (before: SandboxStatus, after: SandboxStatus, now: string, uid: string) => SandboxStatus,
): KubeTransport {
  return withStatusPatch(transport, (ref, patch, options) => {
    const present = store.find(sandboxes, ref);
    if (present === undefined) return transport.patch(sandboxes, ref, patch, options);
    const after = asSandbox(mergePatch(present, patch.body) as typeof present).status;
    const now = new Date(epoch + Math.floor(scheduler.now / 1000) * 1000).toISOString().replace('.000Z', 'Z');
    const next = rewrite(asSandbox(present).status, after, now, present.metadata.uid);
    const body = { ...patch.body, status: difference(asSandbox(present).status, next) ?? {} };
    return transport.patch(sandboxes, ref, { type: 'merge', body }, options);
  });
}

/** Every Runner that is read has another spec than is stored. */
export function seeRunners(transport: KubeTransport, see: (spec: RunnerSpec) => RunnerSpec): KubeTransport {
  const seen = <T extends KubeObject>(resource: Resource, object: T): T => {
    const { spec } = object as { readonly spec?: RunnerSpec };
    return resource.plural === runners.plural && spec !== undefined ? { ...object, spec: see(spec) } : object;
  };
  async function* watch(...[resource, options]: Parameters<KubeTransport['watch']>): ReturnType<KubeTransport['watch']> {
    for await (const event of transport.watch(resource, options)) {
      yield event.type === 'BOOKMARK' ? event : { ...event, object: seen(resource, event.object) };
    }
  }
  return {
    ...callsOf(transport),
    watch,
    get: async (resource, ...rest) => seen(resource, await transport.get(resource, ...rest)),
    list: async (resource, ...rest) => {
      const list = await transport.list(resource, ...rest);
      return { ...list, items: list.items.map((item) => seen(resource, item)) };
    },
    patch: async (resource, ...rest) => seen(resource, await transport.patch(resource, ...rest)),
  };
}
