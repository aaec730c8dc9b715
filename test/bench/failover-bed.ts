import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { systemNamespace } from '../harness/identity.ts';
import { demoImage } from '../harness/images.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import type { Operator } from '../harness/operator.ts';
import type { Runner } from '../harness/runner.ts';
import { Election } from './election.ts';
import { PlainClient } from './plain-client.ts';
import { Sandboxes } from './sandboxes.ts';

/** One round, in milliseconds. "After lease": since the Lease might be taken. */
export interface Failover {
  readonly leaseAfterKill: number;
  readonly takenAfterLease: number;
  /** The first status of a sandbox that nobody but the new leader can have written. */
  readonly reconciledAfterLease: number;
  readonly startedAfterLease: number;
}

/** How many run on through every round, how many are being created when the leader is killed, and how many are created while nobody leads. */
const counts = { running: 8, underWay: 4, leaderless: 4 };
/** A benchmark that hangs says so. */
const giveUpMs = 90_000;

/** A Berth of two operators and two runners, with sandboxes that run. */
export class FailoverBed implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #client: PlainClient;
  readonly #sandboxes: Sandboxes;
  readonly #image: string;
  #election: Election | undefined;
  #processes: ReadonlyMap<string, string> = new Map();

  private constructor(cluster: Cluster, image: string) {
    this.#cluster = cluster;
    this.#image = image;
    const access = readKubeconfig(cluster.kubeconfig);
    this.#client = new PlainClient(access);
    this.#sandboxes = new Sandboxes({ ...access, namespace: 'default' });
  }

  static async make({ etcdFsync }: { readonly etcdFsync: boolean }): Promise<FailoverBed> {
    const env = { BERTH_LOG_LEVEL: 'info' };
    const runners = ['runner-1', 'runner-2'];
    const cluster = await Cluster.start({ operators: 2, runners, etcdFsync, operatorEnv: env, agentEnv: env, log: toStderr });
    const bed = new FailoverBed(cluster, await cluster.pushImage('demo:1', await demoImage()));
    await bed.#begin();
    return bed;
  }

  /** How many sandboxes run through all rounds. */
  get running(): number {
    return this.#processes.size;
  }

  /** Kills the leader with SIGKILL, waits for the next one to do what was asked for meanwhile, and makes everything as before. */
  async failover(round: number): Promise<Failover> {
    const election = this.#following;
    const leader = this.#leader();
    const { holder } = election;
    const underWay = this.#createAll(`under-way-${round}`, counts.underWay);
    await Promise.all(underWay.map(({ created }) => created));
    const killed = Date.now();
    await leader.kill();
    const expiry = election.expiry;
    const leaderless = this.#createAll(`leaderless-${round}`, counts.leaderless);
    const reconciled = wall(Math.min(...(await Promise.all(leaderless.map(({ written }) => written)))));
    const started = wall(Math.max(...(await Promise.all([...underWay, ...leaderless].map((one) => one.started)))));
    const taken = await election.takenFrom(holder);
    if (reconciled < expiry) throw new Error(`a sandbox was reconciled ${expiry - reconciled} ms before the Lease might be taken`);
    await this.#requireUntouched();
    await leader.start();
    await Promise.all([...underWay, ...leaderless].map(({ name }) => this.#sandboxes.remove(name)));
    await this.#allConnected();
    return {
      leaseAfterKill: expiry - killed,
      takenAfterLease: taken - expiry,
      reconciledAfterLease: reconciled - expiry,
      startedAfterLease: started - expiry,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sandboxes.close();
    await this.#client.close();
    await this.#cluster.stop();
  }

  async #begin(): Promise<void> {
    await this.#sandboxes.watch();
    await Promise.all(this.#createAll('running', counts.running).map(({ started }) => started));
    await this.#allConnected();
    this.#election = await Election.follow(this.#client, systemNamespace);
    this.#processes = await this.#mainProcesses();
    if (this.#processes.size !== counts.running)
      throw new Error(`${counts.running} sandboxes should run, and ${this.#processes.size} processes do`);
  }

  get #following(): Election {
    if (this.#election === undefined) throw new Error('the bed is not made');
    return this.#election;
  }

  #leader(): Operator {
    const { holder } = this.#following;
    const leader = this.#cluster.operators.find(({ name }) => holder.startsWith(`${name}_`));
    if (leader === undefined) throw new Error(`no operator is "${holder}"`);
    return leader;
  }

  #createAll(prefix: string, count: number) {
    return Array.from({ length: count }, (_, index) => {
      const name = `${prefix}-${index}`;
      const [written, started] = [this.#sandboxes.written(name), this.#sandboxes.started(name)];
      const spec = { image: this.#image, resources: { limits: { cpu: '500m', memory: '64Mi' } }, terminationGracePeriodSeconds: 1 };
      const created = this.#sandboxes.create(name, { ...spec, command: ['sleep', '86400'] });
      return { name, created, written, started };
    });
  }

  /** What runs since before the first round is the same process, started once. */
  async #requireUntouched(): Promise<void> {
    const now = await this.#mainProcesses();
    for (const [id, process] of this.#processes)
      if (now.get(id) !== process) throw new Error(`the main process of ${id} was ${process} and is ${now.get(id) ?? 'gone'}`);
    for (let index = 0; index < counts.running; index += 1) {
      const { status } = (await this.#client.ask('GET', `/apis/berth.dev/v1alpha1/namespaces/default/sandboxes/running-${index}`, 200))
        .body as { status: { state: string; contentVersion: number; restartCount?: number } };
      if (status.state !== 'Started' || status.contentVersion !== 1 || (status.restartCount ?? 0) !== 0)
        throw new Error(`running-${index} was touched: ${JSON.stringify(status)}`);
    }
  }

  /** `pid, start time` of every task that runs since the beginning, by its container. */
  async #mainProcesses(): Promise<ReadonlyMap<string, string>> {
    const tasks = (await Promise.all(this.#cluster.runners.map((runner) => tasksOf(runner)))).flat();
    const known = this.#processes.size === 0 ? tasks : tasks.filter(({ id }) => this.#processes.has(id));
    return new Map(known.map(({ id, pid }) => [id, `${pid}, started at ${startTimeOf(pid)}`]));
  }

  /** Every agent has a stream to every operator. */
  async #allConnected(): Promise<void> {
    const end = performance.now() + giveUpMs;
    for (;;) {
      const { items } = (await this.#client.ask('GET', '/apis/berth.dev/v1alpha1/runners', 200)).body as {
        items: { status?: { connections?: { summary: string } } }[];
      };
      const all = `${this.#cluster.operators.length}/${this.#cluster.operators.length}`;
      if (items.every(({ status }) => status?.connections?.summary === all)) return;
      if (performance.now() > end) throw new Error(`the agents are not connected to every operator: ${JSON.stringify(items)}`);
      await delay(100);
    }
  }
}

function wall(at: number): number {
  return performance.timeOrigin + at;
}

async function tasksOf(runner: Runner): Promise<readonly { readonly id: string; readonly pid: number }[]> {
  const namespaces = lines(await runner.ctr('default', 'namespaces', 'ls', '-q'));
  const printed = await Promise.all(namespaces.map((namespace) => runner.ctr(namespace, 'tasks', 'ls')));
  return printed
    .flatMap((text) => lines(text).slice(1))
    .map((line) => line.split(/\s+/))
    .filter(([, , status]) => status === 'RUNNING')
    .map(([id = '', pid]) => ({ id, pid: Number(pid) }));
}

/** Clock ticks since the machine was booted; a pid that was given away again has another. */
function startTimeOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function lines(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}
