import { asRunner, asSandbox, installSchemas, runners as runnerResource, sandboxes as sandboxResource } from './models/objects.ts';
import { ApiServer } from './models/api-client.ts';
import type { ApiFeatures } from './models/api-client.ts';
import { ApiStore } from './models/api-store.ts';
import type { Change, StoredObject } from './models/api-store.ts';
import { isSameContent } from './models/content.ts';
import { RegistryModel } from './models/registry.ts';
import { Machine, idOfKey } from './models/machine.ts';
import type { StoredCopy } from './models/machine.ts';
import { JournalDisk } from './models/journal.ts';
import { Network } from './models/network.ts';
import type { Connection } from './models/network.ts';
import { copyEntry, rejectionOf } from '../../agent/journal/reduce.ts';
import type { Sabotage } from './sabotage.ts';
import { Process, epoch } from './engine/process.ts';
import { Random } from './engine/random.ts';
import { Scheduler } from './engine/scheduler.ts';
import { Trace } from './engine/trace.ts';
import { BackupChecks } from './checks/backups.ts';
import { Calm } from './checks/calm.ts';
import { DeletionChecks } from './checks/deletions.ts';
import { FleetChecks } from './checks/fleet.ts';
import type { Holders } from './checks/fleet.ts';
import { LoadChecks } from './checks/load.ts';
import { OrderChecks } from './checks/orders.ts';
import { Violations } from './checks/violation.ts';
import type { Plan } from './plan.ts';
import { nameOf } from './checks/orders.ts';
import { bytes } from '../../crds/index.ts';
import type { Sandbox } from '../../crds/index.ts';
import { CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Resource } from '../../kube/types.ts';

/** The real code that runs in a process, given what it reaches of the world. Returns when it is set up; it ends when the process is killed. */
export interface Programs {
  readonly sabotage: Sabotage;
  readonly agent: (world: World, node: Node, process: Process) => void;
  readonly operator: (world: World, pod: Pod, process: Process) => void;
}

/** A machine and the run of the agent on it. */
export class Node {
  readonly machine: Machine;
  readonly journal: JournalDisk;
  agent: Process | undefined;
  starts = 0;

  constructor(machine: Machine, journal: JournalDisk) {
    this.machine = machine;
    this.journal = journal;
  }
}

/** An operator pod and its current run. */
export class Pod {
  readonly name: string;
  readonly address: string;
  process: Process | undefined;
  /** Takes on a stream that an agent has opened; set by the program. */
  accept: ((connection: Connection) => void) | undefined;
  starts = 0;

  constructor(name: string, address: string) {
    this.name = name;
    this.address = address;
  }
}

/** One history: the fleet, the API server and the network, virtual time, and what is judged. */
export class World {
  readonly plan: Plan;
  readonly programs: Programs;
  readonly scheduler = new Scheduler();
  readonly trace = new Trace(this.scheduler);
  readonly violations = new Violations(() => this.scheduler.now);
  readonly random: Random;
  readonly api: ApiServer;
  readonly network: Network;
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
  readonly registry: RegistryModel;
  readonly fleet: FleetChecks;
  readonly backups: BackupChecks;
  readonly calm = new Calm(() => this.scheduler.now);
  readonly load: LoadChecks;
  readonly deletions = new DeletionChecks(() => this.scheduler.now);
  readonly orders = new OrderChecks(this.violations);
  readonly counts = { operations: 0, faults: 0, statusWrites: 0, orders: 0, crashes: 0 };
  /** What was written, but for Leases and Events. */
  readonly #writes: { readonly at: number; readonly what: string; readonly mayRepeat: boolean }[] = [];
  readonly #orderListeners: ((runner: string, message: OperatorMessage) => void)[] = [];
  #uids = 0;
  #created = 0;

  constructor(plan: Plan, programs: Programs) {
    this.plan = plan;
    this.programs = programs;
    this.random = new Random(plan.seed);
    const store = new ApiStore(
      () => new Date(epoch + Math.floor(this.scheduler.now / 1000) * 1000).toISOString().replace('.000Z', 'Z'),
      () => `uid-${++this.#uids}`,
    );
    installSchemas(store);
    this.api = new ApiServer(store, this.scheduler, featuresOf(this.random.fork('features')));
    this.network = new Network(this.scheduler, this.random.fork('network'));
    const holders = this.#holders();
    this.backups = new BackupChecks(this.violations, this.trace, () => this.fleet, holders);
    this.registry = new RegistryModel(this.scheduler, this.backups);
    this.fleet = new FleetChecks(this.violations, this.trace, (machine, copy) => this.#startedVersion(machine, copy), holders);
    this.load = new LoadChecks(this);
    this.nodes = numbers(plan.scale.runners).map((n) => {
      const machine = this.#machine(n);
      return new Node(machine, new JournalDisk(machine, programs.sabotage));
    });
    this.pods = numbers(plan.scale.operators).map((n) => new Pod(`operator-${n}`, `10.0.0.${n}:3001`));
    store.onChange((resource, change, old, by) => this.#judge(resource, change, old, by));
  }

  get store(): ApiStore {
    return this.api.store;
  }

  /** How many sandboxes were created. */
  get created(): number {
    return this.#created;
  }

  /** Starts every program. */
  boot(): void {
    for (const pod of this.pods) this.startOperator(pod);
    for (const node of this.nodes) this.startAgent(node);
  }

  onOrderSent(listener: (runner: string, message: OperatorMessage) => void): void {
    this.#orderListeners.push(listener);
  }

  /** An operator puts an order on the wire: the programs' adapters tell of it. */
  orderSent(pod: string, runner: string, message: OperatorMessage): void {
    if (message.message?.$case !== 'order') return;
    const order = message.message.value;
    this.counts.orders++;
    this.trace.add(pod, `order ${order.uid}/${order.epoch} #${order.order} ${nameOf(order)} → ${runner}`);
    this.orders.sent(order, runner);
    for (const listener of this.#orderListeners) listener(runner, message);
  }

  /** An agent puts a message on the wire. */
  agentSaid(runner: string, pod: string, { message }: AgentMessage): void {
    if (message?.$case === 'refusal') {
      const { uid, epoch, order, code } = message.value;
      this.trace.add(runner, `refuses ${uid}/${epoch} #${order} ${code} → ${pod}`);
    }
    if (message?.$case !== 'report' && message?.$case !== 'inventory') return;
    for (const { uid, epoch, order, state, contentVersion, reason } of message.value.copies) {
      if (state === CopyState.COPY_STATE_REJECTED) this.#judgeRejection(runner, { uid, epoch, order });
      this.trace.add(runner, `reports ${uid}/${epoch} #${order} ${stateNames[state] ?? state} ${contentVersion} ${reason} → ${pod}`);
    }
  }

  /** Users give up on programs that end again and again, and on backups at intervals: they would never let the fleet rest. */
  stopWhatNeverRests(): void {
    for (const { metadata, spec } of this.sandboxes()) {
      if (spec.backup.policy === 'Interval') {
        this.store.patch(sandboxResource, metadata, { type: 'merge', body: { spec: { backup: { policy: 'OnStop' } } } }, undefined, 'user');
      }
      if (spec.command?.[0] !== 'job' || spec.restartPolicy === 'Never' || spec.desiredState === 'Stopped') continue;
      this.trace.add('user', `stop ${metadata.namespace}/${metadata.name}`);
      this.store.patch(sandboxResource, metadata, { type: 'merge', body: { spec: { desiredState: 'Stopped' } } }, undefined, 'user');
    }
  }

  /**
   * What was written in the last `ms` and should not have been when everything is at rest. A sandbox that can only fail is tried again with back-off for
   * ever, and its runner's numbers change with it: each a few times.
   */
  unrest(ms: number): string | undefined {
    const recent = this.#writes.slice(this.#writes.findLastIndex(({ at }) => at < this.scheduler.now - ms) + 1);
    const isTriedAgain = this.sandboxes().some((sandbox) => this.#canOnlyFail(sandbox));
    const counts = new Map<string, number>();
    for (const { what, mayRepeat } of recent) {
      const count = (counts.get(what) ?? 0) + 1;
      counts.set(what, count);
      if (!isTriedAgain || !mayRepeat || count > mostRepeats) return `${what}, ${count} times in ${ms / 60_000} min`;
    }
    return undefined;
  }

  /** What is not there, or is damaged, is tried again with back-off for ever. */
  #canOnlyFail(sandbox: Sandbox): boolean {
    const { metadata, spec, status } = sandbox;
    if (metadata.deletionTimestamp !== undefined || spec.desiredState !== 'Started') return false;
    const isTried = ['Error', 'Pending', 'Restoring'].includes(status.state);
    const isDamaged = this.registry.backups.some(({ uid, condition }) => uid === metadata.uid && condition !== 'Whole');
    return isNeverThere(sandbox) || (isTried && isDamaged);
  }

  /** What the runner's spec sets aside for task slots. */
  reservedMemory(machine: Machine): number {
    const runner = this.store.find(runnerResource, { name: machine.name });
    if (runner === undefined) return 0;
    const { taskSlots, taskSlotResources } = asRunner(runner).spec;
    return taskSlots * bytes(taskSlotResources.memory);
  }

  startAgent(node: Node): void {
    if (node.agent?.isAlive === true) return;
    node.starts++;
    node.agent = new Process(
      `${node.machine.name}.${node.starts}`,
      this.scheduler,
      this.random.fork(`agent/${node.machine.name}/${node.starts}`),
    );
    this.trace.add(node.machine.name, `agent starts (${node.agent.name})`);
    this.programs.agent(this, node, node.agent);
  }

  startOperator(pod: Pod): void {
    if (pod.process?.isAlive === true) return;
    pod.starts++;
    pod.process = new Process(`${pod.name}.${pod.starts}`, this.scheduler, this.random.fork(`operator/${pod.name}/${pod.starts}`));
    this.trace.add(pod.name, `operator starts (${pod.process.name})`);
    this.programs.operator(this, pod, pod.process);
  }

  /** The agent ends itself; whoever keeps it running starts it again. */
  restartAgent(node: Node, afterMs: number): void {
    this.kill(node.agent);
    this.scheduler.after(afterMs, () => this.startAgent(node));
  }

  kill(process: Process | undefined): void {
    if (process?.isAlive !== true) return;
    this.calm.trouble(0);
    this.counts.crashes++;
    this.trace.add(process.name, 'KILLED');
    process.kill();
    this.api.breakWatches((one) => one === process);
  }

  machine(runnerName: string): Machine | undefined {
    return this.nodes.find(({ machine }) => machine.name === runnerName)?.machine;
  }

  sandboxes(): Sandbox[] {
    return this.store.list(sandboxResource).map(asSandbox);
  }

  #holders(): Holders {
    const at: Holders['at'] = (runner, uid, epoch) => {
      const copy = this.nodes.find(({ machine }) => machine.name === runner)?.machine.copies.get(idOfKey({ uid, epoch }));
      return copy?.hasRun === true ? copy.content : undefined;
    };
    return {
      at,
      ofBackup: (digest) => this.backups.contentOf(digest),
      hasOther: (uid, content, than) => {
        const isOther = ({ name }: Machine, epoch: number) => !('runner' in than) || than.runner !== name || than.epoch !== epoch;
        const hasCopy = this.nodes.some(({ machine }) =>
          [...machine.copies.values()].some(
            ({ key, content: held }) =>
              key.uid === uid && held !== undefined && isSameContent(held, content) && isOther(machine, key.epoch),
          ),
        );
        return (
          hasCopy ||
          this.registry.backups.some(
            ({ uid: of, digest, content: held, condition }) =>
              of === uid &&
              isSameContent(held, content) &&
              ('digest' in than ? condition === 'Whole' && than.digest !== digest : this.backups.wasReadBack(digest)),
          )
        );
      },
    };
  }

  #machine(n: number): Machine {
    const name = `runner-${n}`;
    return new Machine(name, this.scheduler, this.random.fork(name), this.fleet, {
      cpuMillis: 8_000,
      memoryBytes: 3 * 2 ** 30,
      diskBytes: 100 * 2 ** 30,
    });
  }

  /** The contentVersion that a start is for: what the journal says durably in this moment. */
  #startedVersion(machine: Machine, copy: StoredCopy): number {
    const node = this.nodes.find((one) => one.machine === machine);
    return copyEntry(node?.journal.durable.sandboxes.get(copy.key.uid), copy.key.epoch)?.started ?? 0;
  }

  /** An agent that starts again must know it. Of a disk that was replaced nobody knows any more what was on it. */
  #judgeRejection(runner: string, { uid, epoch, order }: { readonly uid: string; readonly epoch: number; readonly order: number }): void {
    const durable = this.nodes.find(({ machine }) => machine.name === runner)?.journal.durable;
    if (durable === undefined || durable.storeID === '') return;
    if (rejectionOf(copyEntry(durable.sandboxes.get(uid), epoch), order) !== undefined) return;
    this.violations.add('RejectionKept', `${runner} tells that #${order} of ${uid}/${epoch} is rejected, and its journal does not`, uid);
  }

  #judge(resource: Resource, { type, object }: Change, old: StoredObject | undefined, by: string): void {
    if (resource.plural === 'leases' || resource.plural === 'events') return;
    if (resource.plural === runnerResource.plural) {
      this.orders.noted(asRunner(object));
      this.load.noted(asRunner(object));
    }
    const isSandbox = resource.plural === sandboxResource.plural;
    const sandbox = isSandbox ? asSandbox(object) : undefined;
    const what = `${sandbox?.metadata.uid ?? `${resource.plural} ${object.metadata.name}`} by ${by}`;
    this.#writes.push({ at: this.scheduler.now, what, mayRepeat: sandbox === undefined || this.#canOnlyFail(sandbox) });
    if (sandbox === undefined) return;
    this.trace.add('api', `${type} ${sandbox.metadata.uid} v${sandbox.metadata.resourceVersion} by ${by}: ${describe(sandbox)}`);
    if (object.status !== old?.status) this.counts.statusWrites++;
    if (type === 'ADDED') this.#created++;
    if (type === 'DELETED') this.#judgeGone(sandbox);
    else this.#judgeStatus(sandbox, old === undefined ? undefined : asSandbox(old));
  }

  #judgeStatus(sandbox: Sandbox, old: Sandbox | undefined): void {
    this.deletions.acknowledged(sandbox);
    this.fleet.acknowledged(sandbox, old);
    this.backups.acknowledged(sandbox, old);
    this.load.acknowledged(sandbox, old);
    this.orders.acknowledged(sandbox);
  }

  #judgeGone(sandbox: Sandbox): void {
    const { uid } = sandbox.metadata;
    const noted = this.store.list(runnerResource).flatMap((runner) => {
      const { metadata, status } = asRunner(runner);
      return status.removals.filter((one) => one.uid === uid).map(({ epoch: number }) => ({ runnerName: metadata.name, number }));
    });
    const machines = this.nodes.map(({ machine }) => machine);
    this.fleet.gone(sandbox, machines, (machine, copy) =>
      noted.some(({ runnerName, number }) => runnerName === machine.name && number === copy.key.epoch),
    );
    const lastSilence = Math.max(...this.pods.map(({ name }) => this.registry.lastSilence(name)));
    this.load.gone(sandbox);
    this.deletions.gone(sandbox, { isNoted: noted.length > 0, lastSilence });
  }
}

/** One fleet in two has an older API server, and lists that come in pages. */
function featuresOf(random: Random): ApiFeatures {
  return random.chance(0.5) ? { streams: true, mostPerPage: Infinity } : { streams: false, mostPerPage: random.between(1, 4) };
}

const stateNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(CopyState).map(([name, value]) => [value, name.replace('COPY_STATE_', '')]),
);

/** Writes of one writer about one failing sandbox, or about one runner, in the time that must be quiet. */
const mostRepeats = 16;

/** An image or a program that is not there. */
function isNeverThere({ spec }: Sandbox): boolean {
  return spec.image.includes('not-there') || spec.command?.[0] === 'missing' || spec.command?.[0] === 'invalid';
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n + 1);
}

function describe({ metadata, spec, status }: Sandbox): string {
  const { state, reason, order, runnerName, assignment, contentVersion } = status;
  const place =
    assignment === undefined ? '' : ` on ${runnerName ?? '?'} epoch ${assignment.epoch} ${assignment.phase} ${assignment.source.kind}`;
  const deleting = metadata.deletionTimestamp === undefined ? '' : ' (deleting)';
  return `${metadata.namespace}/${metadata.name}${deleting} wants ${spec.desiredState}, ${state}${reason === undefined ? '' : ` ${reason}`} #${order} version ${contentVersion}${place}`;
}
