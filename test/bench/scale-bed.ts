import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import type { Operator } from '../harness/operator.ts';
import { Etcd } from './etcd.ts';
import { Fleet } from './fleet/fleet.ts';
import { increase, parseMetrics, sumOf, writesByResource, type Sample } from './metrics.ts';
import { PlainClient } from './plain-client.ts';
import { keyOf, like, namespaces, ordersFor, sandboxOf, teamOf, type RunnerObject, type StoredSandbox } from './scale-objects.ts';

export interface ScaleOptions {
  readonly sandboxes: number;
  readonly runners: number;
  /** How many of the sandboxes are created through the API; the others are there from the beginning. At least 1. */
  readonly created: number;
  readonly etcdFsync: boolean;
  /** NODE_OPTIONS of the operator, for profiles. */
  readonly nodeOptions: string | undefined;
}

/** What happened while nobody asked for anything. */
export interface IdleWindow {
  readonly seconds: number;
  /** Requests that write, by resource. */
  readonly writes: ReadonlyMap<string, number>;
  /** How far etcd's revision went: each stored change is one. */
  readonly revisions: number;
  /** Resident memory of the operator in MiB, once a second. */
  readonly residentMiB: readonly number[];
  /** What of it is whose at the end, in MiB. */
  readonly memory: Readonly<Record<'heap used' | 'heap' | 'external', number>>;
}

/** A restart of the operator, in milliseconds since it began to list. */
export interface Restart {
  readonly synced: number;
  /** Every sandbox was looked at, and nothing waits. */
  readonly reconciled: number;
  /** The same, and every agent is connected. */
  readonly connected: number;
}

const createsAtOnce = 32;
const giveUpMs = 600_000;

/** A control plane with an operator, a modelled fleet, and as many sandboxes as asked for. */
export class ScaleBed implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #fleet: Fleet;
  readonly #client: PlainClient;
  readonly #options: ScaleOptions;

  private constructor(cluster: Cluster, fleet: Fleet, options: ScaleOptions) {
    this.#cluster = cluster;
    this.#fleet = fleet;
    this.#options = options;
    this.#client = new PlainClient({ ...readKubeconfig(cluster.kubeconfig), connections: createsAtOnce });
  }

  static async make(options: ScaleOptions): Promise<ScaleBed> {
    const { etcdFsync, nodeOptions, runners } = options;
    const operatorEnv = { BERTH_LOG_LEVEL: 'info', ...(nodeOptions === undefined ? {} : { NODE_OPTIONS: nodeOptions }) };
    await using made = new AsyncDisposableStack();
    const cluster = made.use(await Cluster.start({ runners: [], agents: false, etcdFsync, operatorEnv, log: toStderr }));
    const bed = new ScaleBed(cluster, made.use(await Fleet.start(cluster, runners)), options);
    await bed.#until('agents connected', runners, (samples) => sumOf(samples, 'berth_hub_connected_agents'));
    made.move();
    return bed;
  }

  /**
   * Makes the world in which the operator is measured. The first sandboxes, as many as asked for, are created through the API and started by
   * the operator. The others are put into etcd like one of them, and their orders given to the agents, while no operator runs.
   */
  async fill(): Promise<void> {
    const { sandboxes, created } = this.#options;
    for (let index = 0; index < namespaces; index += 1)
      await this.#client.ask('POST', '/api/v1/namespaces', 201, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: teamOf(index) } });
    await this.#create(created);
    await this.settle();
    await this.#operator.stop();
    await this.#restore(Array.from({ length: sandboxes - created }, (_, index) => created + index));
    await this.#operator.start();
    await this.#until('agents connected', this.#options.runners, (samples) => sumOf(samples, 'berth_hub_connected_agents'));
    await this.#until('sandboxes started', sandboxes, started);
  }

  async #create(count: number): Promise<void> {
    let next = 0;
    const create = async () => {
      for (let number = next++; number < count; number = next++)
        await this.#client.ask('POST', `/apis/berth.dev/v1alpha1/namespaces/${teamOf(number)}/sandboxes`, 201, sandboxOf(number));
    };
    await Promise.all([...Array.from({ length: createsAtOnce }, create), this.#until('sandboxes started', count, started)]);
  }

  async #restore(numbers: readonly number[]): Promise<void> {
    const etcd = new Etcd(this.#cluster);
    const { body } = await this.#client.ask('GET', '/apis/berth.dev/v1alpha1/runners', 200);
    const runners = (body as { items: RunnerObject[] }).items;
    const stored = (await etcd.get(keyOf(sandboxOf(0)))) as StoredSandbox;
    const restored = numbers.map((number) => like(stored, sandboxOf(number), runners[number % runners.length]));
    toStderr(`putting ${restored.length} sandboxes into etcd …`);
    await etcd.put(restored.map((object) => [keyOf(object), object]));
    toStderr(`giving their orders to ${runners.length} agents …`);
    const orders = restored.flatMap((object) => ordersFor(object));
    const byRunner = Map.groupBy(orders, ([runnerName]) => runnerName);
    await this.#fleet.carryOut(new Map([...byRunner].map(([name, found]) => [name, found.map(([, order]) => order)])));
  }

  /** Waits until nothing but Leases is written any more. */
  async settle(): Promise<void> {
    const end = performance.now() + giveUpMs;
    for (let before = await this.#writes(); ;) {
      await delay(5_000);
      const after = await this.#writes();
      const writes = withoutLeases(increase(before, after));
      if (writes.size === 0) return;
      if (performance.now() > end) throw new Error(`something is written for ever: ${JSON.stringify([...writes])}`);
      before = after;
    }
  }

  async idle(seconds: number): Promise<IdleWindow> {
    toStderr(`idle for ${seconds} s …`);
    const [writes, revision] = [await this.#writes(), await this.#revision()];
    const residentMiB: number[] = [];
    for (let second = 0; second < seconds; second += 1) {
      await delay(1_000);
      residentMiB.push(residentMiBOf(this.#operator.pid));
    }
    const revisions = (await this.#revision()) - revision;
    return { seconds, writes: increase(writes, await this.#writes()), revisions, residentMiB, memory: await this.#memory() };
  }

  /** Ends the operator as a rollout does, and starts it again. */
  async restart(): Promise<Restart> {
    const { sandboxes, runners } = this.#options;
    const operator = this.#operator;
    await operator.stop();
    const from = operator.log().length;
    await operator.start();
    const looked = async () => {
      const samples = await this.#metrics();
      const all = sumOf(samples, 'controller_runtime_reconcile_total', ({ controller }) => controller === 'sandboxes') >= sandboxes;
      const idle = sumOf(samples, 'workqueue_depth') + sumOf(samples, 'controller_runtime_active_workers') === 0;
      return { isReconciled: all && idle, isConnected: sumOf(samples, 'berth_hub_connected_agents') === runners };
    };
    const times: { reconciled?: number; connected?: number } = {};
    const end = performance.now() + giveUpMs;
    while (times.connected === undefined) {
      const { isReconciled, isConnected } = await looked();
      if (isReconciled) times.reconciled ??= Date.now();
      if (isReconciled && isConnected) times.connected = Date.now();
      if (performance.now() > end) throw new Error('the operator does not come to rest after its restart');
      await delay(50);
    }
    const { began, synced } = syncTimes(operator.log().slice(from));
    return { synced: synced - began, reconciled: (times.reconciled ?? Number.NaN) - began, connected: times.connected - began };
  }

  /** What the other processes take, in MiB, for the record. */
  others(): Readonly<Record<string, number>> {
    const { apiserver, etcd } = this.#cluster;
    const fleet = this.#fleet.pids.map(residentMiBOf).reduce((sum, mib) => sum + mib, 0);
    return { 'kube-apiserver': residentMiBOf(apiserver.pid), etcd: residentMiBOf(etcd.pid), agents: fleet };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
    await this.#fleet[Symbol.asyncDispose]();
    await this.#cluster.stop();
  }

  get #operator(): Operator {
    const [operator] = this.#cluster.operators;
    if (operator === undefined) throw new Error('there is no operator');
    return operator;
  }

  async #metrics(): Promise<readonly Sample[]> {
    // A connection that is kept may be ended by the other side while it is used for the next look.
    const { body } = await request(`${this.#operator.healthUrl}/metrics`, { reset: true });
    return parseMetrics(await body.text());
  }

  async #memory(): Promise<IdleWindow['memory']> {
    const samples = await this.#metrics();
    const mib = (name: string) => sumOf(samples, name) / 2 ** 20;
    return {
      'heap used': mib('nodejs_heap_size_used_bytes'),
      heap: mib('nodejs_heap_size_total_bytes'),
      external: mib('nodejs_external_memory_bytes'),
    };
  }

  async #writes(): Promise<ReadonlyMap<string, number>> {
    return writesByResource(parseMetrics((await this.#client.text('GET', '/metrics', 200)).text));
  }

  /** A list that goes to etcd says how far that is. */
  async #revision(): Promise<number> {
    const { body } = await this.#client.ask('GET', '/api/v1/namespaces?limit=1', 200);
    return Number((body as { metadata: { resourceVersion: string } }).metadata.resourceVersion);
  }

  async #until(what: string, wanted: number, count: (samples: readonly Sample[]) => number): Promise<void> {
    const begin = performance.now();
    for (let seconds = 1; ; seconds += 1) {
      const counted = count(await this.#metrics());
      if (seconds % 5 === 0 || counted >= wanted)
        toStderr(`${what}: ${counted} of ${wanted}, operator ${residentMiBOf(this.#operator.pid).toFixed(0)} MiB`);
      if (counted >= wanted) return;
      if (performance.now() - begin > giveUpMs) throw new Error(`${what}: ${counted} of ${wanted} after ${giveUpMs / 1000} s`);
      await delay(1_000);
    }
  }
}

/** Writes that nothing asked for: Leases are how everybody says that it is alive. */
export function withoutLeases(writes: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  return new Map([...writes].filter(([resource]) => resource !== 'leases'));
}

/** Resident memory of a process. */
function residentMiBOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** When the operator began to list and when its caches were complete, by its log. */
function syncTimes(log: string): { readonly began: number; readonly synced: number } {
  const line = log
    .split('\n')
    .filter((text) => text.includes('Caches synced'))
    .map((text) => JSON.parse(text) as { readonly time: string; readonly ms: number })
    .at(0);
  if (line === undefined) throw new Error('the log of the operator does not say that its caches synced');
  const synced = new Date(line.time).getTime();
  return { began: synced - line.ms, synced };
}

function started(samples: readonly Sample[]): number {
  return sumOf(samples, 'berth_sandboxes', ({ state }) => state === 'Started');
}
