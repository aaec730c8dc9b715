/**
 * A Berth on this machine: etcd, kube-apiserver, a registry, operators and runners (each a private containerd and an agent), as processes
 * on free ports. Needs root. Several may run at once.
 *
 *     await using cluster = await Cluster.start({ runners: ['runner-1', 'runner-2'] });   // stopped and removed at the end of the scope
 *     await cluster.pushImage('demo:1', await demoImage());                                     // → cluster.image('demo:1') for spec.image
 *     await cluster.kubectl('apply', '-f', 'examples/sandbox.yaml');                      // or cluster.api.ok('GET', '/apis/…')
 *     await cluster.runner('runner-1').agent.kill();                                      // every part: start, stop, kill, freeze, thaw, waitReady, log()
 *     await cluster.runner('runner-1').powerOff();                                        // … and a whole machine
 *     await cluster.addRunner('runner-3');
 *
 * Control plane and containerd without Berth's own processes: `Cluster.start({ operators: 0, agents: false })`.
 * An instance with `persistent: true` stays when this process ends and is taken over by the next start of the same name (`make up`).
 * Others are swept by the next start of any instance when their owner died. `BERTH_KEEP_LOGS=dir` keeps the logs of what is stopped.
 */
import { join } from 'node:path';
import { BerthError } from '../../process/errors.ts';
import { run } from '../../hack/command.ts';
import { toStderr } from '../../hack/progress.ts';
import { ensureTools, type Toolchain } from '../../hack/toolchain/toolchain.ts';
import { toolNames } from '../../hack/toolchain/tools.ts';
import { type ClusterOptions, settingsOf } from './cluster-options.ts';
import type { Dns } from './dns.ts';
import { compactEtcd } from './etcd.ts';
import { choosePort, type Foundation, layFoundation } from './foundation.ts';
import { issueToken, systemNamespace, type TokenRequest } from './identity.ts';
import { type Image, pushImage } from './images.ts';
import { installProduct } from './install.ts';
import type { KubeApi } from './kube-api.ts';
import { makeOperator, makeRunner, operatorPort, renewAgentTokens } from './members.ts';
import type { Operator } from './operator.ts';
import type { Part } from './part.ts';
import { publishPods } from './pod-network.ts';
import type { Authority } from './pki.ts';
import { Registry, type RegistryOptions } from './registry.ts';
import type { Runner } from './runner.ts';
import { sweep } from './sweep.ts';
import { waitConnected, waitRegistered } from './wait-connected.ts';

export type { ClusterOptions } from './cluster-options.ts';

export class Cluster implements AsyncDisposable {
  readonly instance: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** The administrator's client. */
  readonly api: KubeApi;
  readonly etcd: Part;
  readonly apiserver: Part;
  readonly registry: Registry;
  /** The certificate authority of everything here; `caFile` is what callers of the operators trust. */
  readonly authority: Authority;
  readonly tools: Toolchain;
  /** Sockets, the ledger, and what is gone after a reboot. */
  readonly stateDir: string;
  /** Everything else. */
  readonly dataDir: string;
  /** Directory with one log per part. */
  readonly logDir: string;
  /** Whether etcd waits for the disk; benchmarks say so. */
  readonly etcdFsync: boolean;
  readonly #foundation: Foundation;
  readonly #operators: Operator[] = [];
  readonly #runners = new Map<string, Runner>();

  private constructor(foundation: Foundation) {
    const { settings, plane, registry, authority, tools } = foundation;
    this.#foundation = foundation;
    this.instance = settings.instance;
    this.kubeconfig = plane.kubeconfig;
    this.api = plane.api;
    this.etcd = plane.etcd;
    this.apiserver = plane.apiserver;
    this.registry = registry;
    this.authority = authority;
    this.tools = tools;
    this.stateDir = settings.stateDir;
    this.dataDir = settings.dataDir;
    this.logDir = join(settings.dataDir, 'logs');
    this.etcdFsync = settings.etcdFsync;
  }

  /**
   * Starts everything that the options name and waits until each part answers and the operators see the agents.
   * What fails to start is removed again unless it is persistent.
   */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    if (process.getuid?.() !== 0)
      throw new BerthError('NotRoot', 'Root is needed (private containerd, mounts, cgroups): run it as root or with sudo.');
    const settings = settingsOf(options);
    const tools = await ensureTools(options.log ?? toStderr, settings.dns ? toolNames : toolNames.filter((name) => name !== 'coredns'));
    try {
      const cluster = new Cluster(await layFoundation(settings, tools));
      await cluster.#startAll();
      return cluster;
    } catch (error) {
      if (!settings.persistent) await sweep(settings);
      throw error;
    }
  }

  async #startAll(): Promise<void> {
    const { log, operators, runners, agents, tokenSeconds } = this.#foundation.settings;
    await Promise.all([this.registry.ensure(), this.etcd.ensure().then(() => this.apiserver.ensure())]);
    log(`kube-apiserver: ${this.api.server}`);
    log(`registry: ${this.registry.url}`);
    await installProduct(this.api, systemNamespace, tokenSeconds);

    for (let number = 1; number <= operators; number += 1) await this.#makeOperator();
    await this.#endSurplusOperators();
    await Promise.all(runners.map((name) => this.#makeRunner(name)));
    await Promise.all([
      ...this.#operators.map((operator) => operator.ensure()),
      ...this.runners.map((runner) => runner.start({ agent: false })),
    ]);
    if (this.#foundation.dns !== undefined) {
      await this.publishOperators();
      await this.dns.ensure();
    }
    for (const operator of this.#operators) log(`${operator.name}: ${operator.url}`);
    for (const runner of this.runners) log(`${runner.name}: containerd at ${runner.socket}`);
    if (agents) await this.#startAgents(this.runners);
  }

  get operators(): readonly Operator[] {
    return this.#operators;
  }

  get runners(): readonly Runner[] {
    return [...this.#runners.values()].toSorted((one, other) => one.name.localeCompare(other.name));
  }

  /** @throws BerthError `NoSuchRunner`. */
  runner(name: string): Runner {
    const runner = this.#runners.get(name);
    if (runner === undefined)
      throw new BerthError('NoSuchRunner', `This cluster has no runner "${name}", only ${[...this.#runners.keys()].join(', ')}.`);
    return runner;
  }

  /** Adds a runner (its Node object, tokens, containerd, agent) and waits until the operators see it connected. */
  async addRunner(name: string): Promise<Runner> {
    const runner = await this.#makeRunner(name);
    await runner.start({ agent: false });
    if (this.#foundation.settings.agents) await this.#startAgents([runner]);
    return runner;
  }

  /** Adds an operator. Agents and the other operators learn of it when they are started the next time (`restartAgents`). */
  async addOperator(): Promise<Operator> {
    const operator = await this.#makeOperator();
    await operator.ensure();
    return operator;
  }

  /** The DNS of a cluster that was started with it. @throws BerthError `NoDns`. */
  get dns(): Dns {
    const { dns } = this.#foundation;
    if (dns === undefined) throw new BerthError('NoDns', 'This cluster has no DNS: start it with "dns: true".');
    return dns;
  }

  /** From now on the EndpointSlice of the operators' Service, and with it DNS, names these operators and no others. */
  async publishOperators(operators: readonly Operator[] = this.#operators): Promise<void> {
    await publishPods(this.api, operators, await operatorPort(this.#foundation));
  }

  /** Adds a registry of its own name, port and storage, with TLS, and with Basic credentials or tokens. */
  async addRegistry(name: string, options: Pick<RegistryOptions, 'tls' | 'credentials' | 'tokens' | 'storageOf'> = {}): Promise<Registry> {
    const port = await choosePort(this.#foundation, name);
    const registry = await Registry.create({
      ...options,
      name,
      port,
      ledger: this.#foundation.ledger,
      program: this.tools['docker-registry'],
    });
    await registry.ensure();
    return registry;
  }

  /** Forgets etcd's history: who watches from before has to begin anew. Returns the newest revision. */
  async compactEtcd(): Promise<number> {
    return compactEtcd(this.#foundation.plane.etcdUrl);
  }

  async restartAgents(): Promise<void> {
    await Promise.all(this.runners.map((runner) => runner.agent.restart()));
  }

  /** kubectl as the administrator; returns stdout. @throws BerthError `CommandFailed` with what kubectl printed. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return run(this.tools.kubectl, args, { env: { KUBECONFIG: this.kubeconfig } });
  }

  /** kubectl with a manifest on stdin, as `kubectl apply -f -`. */
  async kubectlWithInput(input: string, ...args: readonly string[]): Promise<string> {
    return run(this.tools.kubectl, args, { env: { KUBECONFIG: this.kubeconfig }, input });
  }

  /** A ServiceAccount token, as `kubectl create token`. The ServiceAccount lies in berth-system. */
  async token(request: Omit<TokenRequest, 'expirationSeconds'> & { readonly expirationSeconds?: number }): Promise<string> {
    return issueToken(this.api, { expirationSeconds: this.#foundation.settings.tokenSeconds, ...request });
  }

  /** The name under which an image of this cluster's registry is pulled: `image('demo:1')` → `127.0.0.1:…/demo:1`. */
  image(reference: string): string {
    return `${this.registry.address}/${reference}`;
  }

  /** Pushes an image to this cluster's registry; returns its full name. */
  async pushImage(reference: string, image: Image): Promise<string> {
    await pushImage(this.registry, reference, image);
    return this.image(reference);
  }

  /** Issues new tokens to a runner's agent (both files are replaced; a running agent reads them when it needs to). */
  async renewAgentTokens(name: string): Promise<void> {
    await renewAgentTokens(this.#foundation, name);
  }

  /** Ends every process (agents and operators are asked to) and removes everything of the instance. */
  async stop(): Promise<void> {
    await Promise.all(this.runners.map((runner) => runner.agent.stop()));
    await Promise.all(this.#operators.map((operator) => operator.stop()));
    await this.api.close();
    await sweep(this.#foundation.settings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #makeOperator(): Promise<Operator> {
    const operator = await makeOperator(this.#foundation, this.#operators.length + 1, () => this.#operators);
    this.#operators.push(operator);
    return operator;
  }

  /** An instance that stays may have had more operators than it is to have now. */
  async #endSurplusOperators(): Promise<void> {
    const numbers = Object.keys(this.#foundation.ledger.content.parts).map((name) => Number(/^operator-(\d+)$/.exec(name)?.[1] ?? 0));
    for (const number of numbers.filter((one) => one > this.#operators.length)) {
      await (await makeOperator(this.#foundation, number, () => [])).stop();
    }
  }

  async #makeRunner(name: string): Promise<Runner> {
    const runner = await makeRunner(this.#foundation, name, () => this.#operators);
    this.#runners.set(name, runner);
    return runner;
  }

  /** Starts the agents and waits until each has written its Runner and the operators (when there are any) see them connected. */
  async #startAgents(runners: readonly Runner[]): Promise<void> {
    await Promise.all(runners.map((runner) => runner.agent.ensure()));
    const names = runners.map(({ name }) => name);
    if (this.#operators.length === 0) await waitRegistered(this.api, names);
    else await waitConnected(this.api, names);
  }
}
