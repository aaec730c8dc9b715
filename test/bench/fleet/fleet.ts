import { fork, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import type { Cluster } from '../../harness/cluster.ts';
import { ensureNode, operatorAudience, systemNamespace } from '../../harness/identity.ts';
import { kubeconfig } from '../../harness/kubeconfig.ts';
import type { FleetAgent } from './agent.ts';
import type { Order } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { FleetOrders, FleetPart } from './worker.ts';

/** Processes that the agents are spread over. */
const workers = 4;
/** Runners whose identity is made at the same time. */
const atOnce = 16;

interface Worker {
  readonly child: ChildProcess;
  readonly runners: ReadonlySet<string>;
}

/** Agents over modelled containerds, in a few processes, connected to the operators of a cluster. */
export class Fleet implements AsyncDisposable {
  readonly #directory: string;
  readonly #workers: readonly Worker[];

  private constructor(directory: string, workers: readonly Worker[]) {
    this.#directory = directory;
    this.#workers = workers;
  }

  /** Resolves when every agent has begun to connect. */
  static async start(cluster: Cluster, runners: number): Promise<Fleet> {
    const directory = await mkdtemp(join(tmpdir(), 'berth-fleet-'));
    const names = Array.from({ length: runners }, (_, index) => `runner-${String(index + 1).padStart(3, '0')}`);
    const agents: FleetAgent[] = [];
    for (let from = 0; from < names.length; from += atOnce)
      agents.push(...(await Promise.all(names.slice(from, from + atOnce).map((name) => identify(cluster, directory, name)))));
    const parts = Array.from({ length: workers }, (_, worker) => agents.filter((_, index) => index % workers === worker));
    const started = parts.map(async (part, number): Promise<Worker> => {
      const path = join(directory, `part-${number}.json`);
      const content: FleetPart = { caFile: cluster.authority.caFile, agents: part };
      await writeFile(path, JSON.stringify(content), { mode: 0o600 });
      const child = fork(join(import.meta.dirname, 'worker.ts'), [path], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
      await done(child);
      return { child, runners: new Set(part.map(({ name }) => name)) };
    });
    return new Fleet(directory, await Promise.all(started));
  }

  get pids(): readonly number[] {
    return this.#workers.map(({ child: { pid = 0 } }) => pid);
  }

  /** Gives the agents orders as an operator would; resolves when everything that they name runs. */
  async carryOut(orders: ReadonlyMap<string, readonly Order[]>): Promise<void> {
    await Promise.all(
      this.#workers.map(async ({ child, runners }) => {
        const own: FleetOrders = [...orders].filter(([name]) => runners.has(name));
        const ended = done(child);
        child.send(own);
        await ended;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#workers.map(async ({ child }) => {
        const ended = once(child, 'exit');
        child.disconnect();
        await ended;
      }),
    );
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** The process has done what it was told. */
async function done(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('a part of the fleet ended')));
  await Promise.race([once(child, 'message'), ended]);
}

/** The Node of a runner and its agent's node-bound credentials, as a kubelet would give them. */
async function identify(cluster: Cluster, directory: string, name: string): Promise<FleetAgent> {
  await ensureNode(cluster.api, name);
  const own = join(directory, name);
  await mkdir(own, { mode: 0o700 });
  const request = { serviceAccount: 'berth-agent', node: name };
  const [forApi, forOperators] = await Promise.all([cluster.token(request), cluster.token({ ...request, audience: operatorAudience })]);
  const files = { kubeconfig: join(own, 'kubeconfig'), tokenFile: join(own, 'token') };
  const access = kubeconfig({ name: 'berth', server: cluster.api.server, caFile: cluster.authority.caFile, token: forApi });
  await writeFile(files.kubeconfig, access, { mode: 0o600 });
  await writeFile(files.tokenFile, forOperators, { mode: 0o600 });
  return {
    ...files,
    name,
    namespace: systemNamespace,
    installID: 'benchmark',
    stateDir: join(own, 'state'),
    operators: cluster.operators.map(({ address }) => address),
    operatorServerName: `berth-operator.${systemNamespace}.svc`,
  };
}
