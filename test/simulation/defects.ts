import type { CopyRuntime } from '../../agent/copies/runtime.ts';
import { CopyState, SourceKind, Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, CopyReport, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { SandboxStatus } from '../../crds/index.ts';
import { timestamp } from '../../kube/time.ts';
import type { KubeTransport } from '../../kube/types.ts';
import type { Process } from './engine/process.ts';
import type { Machine } from './models/machine.ts';
import { idOfKey } from './models/machine.ts';
import { sandboxes } from './models/objects.ts';
import { mergePatch } from './models/json.ts';
import type { Connection } from './models/network.ts';
import { backupDefects } from './backup-defects.ts';
import { moveDefects } from './move-defects.ts';
import { callsOf, rewriteStatus, withStatusPatch } from './sabotage.ts';
import type { Sabotage } from './sabotage.ts';
import type { Pod, World } from './world.ts';

/** Defects by name: those of orders, and those of backups and moves. */
export const defects = {
  'highest-order-forgotten': {
    says: 'a restart of the agent forgets the highest order and what was started',
    reopened: (state) => ({ ...state, sandboxes: new Map() }),
  },
  'tombstones-missing': {
    says: 'that an epoch was removed is not recorded',
    kept: ({ kind }) => kind !== 'Absent',
    reopened: (state) => ({
      ...state,
      sandboxes: new Map([...state.sandboxes].filter(([, { copies }]) => copies.some(({ accepted }) => accepted?.wanted !== 'Absent'))),
    }),
  },
  'rejection-not-durable': {
    says: 'a rejection is answered and not recorded',
    kept: ({ kind }) => kind !== 'Rejected',
  },
  'start-not-recorded': {
    says: 'that a contentVersion was started is not recorded: it is started again after a crash',
    kept: ({ kind }) => kind !== 'Starting',
  },
  'store-id-ignored': {
    says: 'an order for another store is carried out',
    delivered: (order, machine) => ({ ...order, storeId: machine.storeID }),
  },
  'agent-restarts': {
    says: 'a process that ended is started again without an order',
    runtime: restartsByItself,
  },
  'order-before-acknowledgement': {
    says: 'an order is sent before the API server acknowledged the status that it follows from',
    transport: (transport, world) => answersBeforehand(transport, world),
  },
  'absent-without-epoch': {
    says: 'an order to remove a copy removes whatever copy of its sandbox is the newest there',
    delivered: (order, machine) => (order.wanted === Wanted.WANTED_ABSENT ? { ...order, epoch: newestEpoch(order, machine) } : order),
  },
  'attempt-without-source': {
    says: 'a copy is made from the image whatever its order names',
    delivered: (order) =>
      order.source?.kind === SourceKind.SOURCE_KIND_BACKUP
        ? { ...order, source: { kind: SourceKind.SOURCE_KIND_IMAGE, digest: '' } }
        : order,
  },
  'older-report-believed': {
    says: 'what was told of a copy before it was started again is told once more, under the newest number',
    reported: tellsAgain,
  },
  'timeouts-extended-by-activity': {
    says: 'whatever is written about a sandbox puts off the deadline of its state',
    transport: (transport, world) => rewriteStatus(transport, world, putsOff),
  },
  'no-compare-and-swap': {
    says: 'a status is written whatever was written meanwhile',
    transport: (transport) => withoutVersions(transport),
  },
  'absence-taken-for-deletion': {
    says: 'a copy whose object an operator does not see is removed',
    transport: (transport, _, process) => remembersSeen(transport, process),
    heard: removesUnseen,
  },
  ...backupDefects,
  ...moveDefects,
} as const satisfies Readonly<Record<string, Sabotage>>;

export type Defect = keyof typeof defects;

function newestEpoch({ uid, epoch }: Order, { copies }: Machine): number {
  return Math.max(
    epoch,
    ...[...copies.values()]
      .map(({ key }) => key)
      .filter((key) => key.uid === uid)
      .map((key) => key.epoch),
  );
}

/** The last thing that was told of each copy at rest. */
const atRest = new WeakMap<World, Map<string, CopyReport>>();

function tellsAgain(told: AgentMessage, world: World): AgentMessage {
  const { message } = told;
  if (message?.$case !== 'report') return told;
  const known = atRest.get(world) ?? new Map<string, CopyReport>();
  atRest.set(world, known);
  const copies = message.value.copies.map((copy) => {
    const id = `${copy.uid}/${copy.epoch}`;
    const before = known.get(id);
    if (copy.state === CopyState.COPY_STATE_STOPPED) known.set(id, copy);
    if (copy.state !== CopyState.COPY_STATE_RUNNING || before === undefined) return copy;
    return { ...before, order: copy.order, contentVersion: copy.contentVersion };
  });
  return { message: { $case: 'report', value: { ...message.value, copies } } };
}

function restartsByItself(runtime: CopyRuntime, machine: Machine, process: Process): CopyRuntime {
  const stop = new AbortController();
  runtime.subscribe((event) => {
    if (event.kind !== 'Exited') return;
    const copy = machine.copies.get(idOfKey(event.key));
    if (copy?.task.state === 'Stopped' && copy.content !== undefined && event.exit.signal === 0) machine.start(copy);
  }, stop.signal);
  process.onEnd(() => {
    stop.abort();
  });
  return runtime;
}

/** The time of a state is counted from the last write, as if that were progress. */
function putsOff({ state }: SandboxStatus, after: SandboxStatus, now: string): SandboxStatus {
  const { transition } = after;
  if (transition?.deadlineTime === undefined || after.state !== state) return after;
  const lasts = Date.parse(transition.deadlineTime) - Date.parse(transition.startTime);
  const deadlineTime = timestamp(Date.parse(now) + lasts);
  return { ...after, transition: { ...transition, startTime: now, deadlineTime } };
}

function answersBeforehand(transport: KubeTransport, { store }: World): KubeTransport {
  return withStatusPatch(transport, (ref, patch, options) => {
    void transport.patch(sandboxes, ref, patch, options).catch(() => undefined);
    const present = store.find(sandboxes, ref);
    if (present === undefined) return transport.patch(sandboxes, ref, patch, options);
    const { status } = mergePatch(present, patch.body) as typeof present;
    return Promise.resolve({ ...present, ...(status === undefined ? {} : { status }) });
  });
}

function withoutVersions(transport: KubeTransport): KubeTransport {
  return withStatusPatch(transport, (ref, patch, options) => {
    const { metadata: _, ...body } = patch.body as { metadata?: object };
    return transport.patch(sandboxes, ref, { type: 'merge', body }, options);
  });
}

/** The uids of the Sandboxes that the watches of a process have told. */
const seenBy = new WeakMap<Process, Set<string>>();

function remembersSeen(transport: KubeTransport, process: Process): KubeTransport {
  const seen = new Set<string>();
  seenBy.set(process, seen);
  async function* watch(...[resource, options]: Parameters<KubeTransport['watch']>): ReturnType<KubeTransport['watch']> {
    for await (const event of transport.watch(resource, options)) {
      if (resource.plural === sandboxes.plural && event.type !== 'BOOKMARK') seen.add(event.object.metadata.uid);
      yield event;
    }
  }
  return { ...callsOf(transport), watch };
}

function removesUnseen(world: World, pod: Pod, connection: Connection, { message }: AgentMessage): void {
  if ((message?.$case !== 'inventory' && message?.$case !== 'report') || pod.process === undefined) return;
  for (const { uid, epoch, order, state, namespace, name } of message.value.copies) {
    if (state === CopyState.COPY_STATE_ABSENT || seenBy.get(pod.process)?.has(uid) === true) continue;
    const storeId = world.nodes.find(({ machine }) => machine.name === connection.runner)?.machine.storeID ?? '';
    const copy = { uid, epoch, namespace, name, storeId, order: order + 1, wanted: Wanted.WANTED_ABSENT };
    const absent: Order = {
      ...copy,
      bootId: '',
      contentVersion: 0,
      source: undefined,
      config: undefined,
      graceSeconds: 0,
      credentials: [],
      secretEnv: [],
      backup: undefined,
    };
    const sent = { message: { $case: 'order' as const, value: absent } };
    world.orderSent(pod.name, connection.runner, sent);
    connection.sendToAgent(sent);
  }
}
