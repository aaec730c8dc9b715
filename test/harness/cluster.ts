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
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '../../process/errors.ts';
import { run } from '../../hack/command.ts';
import { type Log, toStderr } from '../../hack/progress.ts';
import { ensureTools, type Toolchain } from '../../hack/toolchain/toolchain.ts';
import { type ControlPlane, controlPlane } from './control-plane.ts';
import { ensureNode, issueToken, operatorAudience, systemNamespace, type TokenRequest, writeSecretFile } from './identity.ts';
import { type Image, pushImage } from './images.ts';
import { installProduct } from './install.ts';
import type { KubeApi } from './kube-api.ts';
import { kubeconfig } from './kubeconfig.ts';
import { bootID, defaultDataDir, defaultStateDir, Ledger, readLedger, thisProcess } from './ledger.ts';
import { bundles } from './manifests.ts';
import { Operator } from './operator.ts';
import type { Part } from './part.ts';
import { Authority } from './pki.ts';
import { freePort, requireFreePort } from './ports.ts';
import { isAlive, processesMarked } from './processes.ts';
import { Registry, type RegistryOptions } from './registry.ts';
import { Runner } from './runner.ts';
import { type InstancePlace, sweep, sweepAbandoned, sweepProcesses } from './sweep.ts';

export interface ClusterOptions {
  /** Names directories, cgroups and processes; lower case letters, digits and `-`. Default: one of its own. */
  readonly instance?: string;
  /** Default `['runner-1']`. */
  readonly runners?: readonly string[];
  /** How many operators. Default 1; 0 for none. */
  readonly operators?: number;
  /** Whether the runners' agents are started. Default true. */
  readonly agents?: boolean;
  /** Stay when this process ends, and take over what runs of the same instance. Default false. */
  readonly persistent?: boolean;
  /** Fixed ports by name (`kube-apiserver`, `etcd`, `etcd.peer`, `registry`, `operator-1`, `operator-1.health`, `runner-1.agent`, …); the others are free ones. */
  readonly ports?: Readonly<Record<string, number>>;
  /** What to do about a fixed port in use, for the message. */
  readonly portAdvice?: string;
  /** Sockets and the ledger; short, since socket paths are bounded. Default `/run/berth-<instance>`. */
  readonly stateDir?: string;
  /** Everything else. Default `/var/lib/berth-<instance>`. */
  readonly dataDir?: string;
  /** Whether etcd waits for the disk. Default false. */
  readonly etcdFsync?: boolean;
  /** How long ServiceAccount tokens of operators and agents last. Default 24 h. */
  readonly tokenSeconds?: number;
  /** Added to the environment of every operator or agent. */
  readonly operatorEnv?: Readonly<Record<string, string>>;
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Where progress goes. Default: nowhere. */
  readonly log?: Log;
}

/** The name that agents verify in an operator's certificate. */
const operatorServerName = `berth-operator.${systemNamespace}.svc`;
let started = 0;

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
  /** Directory with one log per part. */
  readonly logDir: string;
  /** Whether etcd waits for the disk; benchmarks say so. */
  readonly etcdFsync: boolean;
  readonly #options: ClusterOptions;
  readonly #ledger: Ledger;
  readonly #operators: Operator[] = [];
  readonly #runners = new Map<string, Runner>();
  readonly #installID: string;

  private constructor(parts: {
    options: ClusterOptions;
    ledger: Ledger;
    tools: Toolchain;
    authority: Authority;
    plane: ControlPlane;
    registry: Registry;
    installID: string;
  }) {
    const { options, ledger, tools, authority, plane, registry } = parts;
    this.#options = options;
    this.#ledger = ledger;
    this.#installID = parts.installID;
    this.instance = ledger.content.instance;
    this.kubeconfig = plane.kubeconfig;
    this.api = plane.api;
    this.etcd = plane.etcd;
    this.apiserver = plane.apiserver;
    this.registry = registry;
    this.authority = authority;
    this.tools = tools;
    this.logDir = join(ledger.content.dataDir, 'logs');
    this.etcdFsync = options.etcdFsync ?? false;
  }

  /** Starts everything that the options name and waits until each part answers. What fails to start is removed again unless it is persistent. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    if (process.getuid?.() !== 0)
      throw new BerthError('NotRoot', 'Root is needed (private containerd, mounts, cgroups): run it as root or with sudo.');
    const log = options.log ?? (() => undefined);
    const place = placeOf(options);
    requireBundles(options);
    const tools = await ensureTools(options.log ?? toStderr);
    await sweepAbandoned(log);
    if (options.persistent === true) await sweepUnknownProcesses(place, log);
    else await sweep(place);
    try {
      return await Cluster.#startParts(options, place, tools, log);
    } catch (error) {
      if (options.persistent !== true && process.env.BERTH_KEEP_FAILED === undefined) await sweep(place);
      throw error;
    }
  }

  static async #startParts(options: ClusterOptions, place: InstancePlace, tools: Toolchain, log: Log): Promise<Cluster> {
    const ledger = Ledger.open({ ...place, ...(options.persistent === true ? {} : { owner: thisProcess() }) });
    const cluster = await Cluster.#assemble(options, ledger, tools);
    await cluster.#startControlPlane(log);
    for (let number = 1; number <= (options.operators ?? 1); number += 1) await cluster.#makeOperator(`operator-${number}`);
    await Promise.all((options.runners ?? ['runner-1']).map((name) => cluster.#makeRunner(name)));
    await Promise.all([
      ...cluster.#operators.map((operator) => operator.ensure()),
      ...cluster.runners.map((runner) => runner.start({ agent: false })),
    ]);
    for (const operator of cluster.#operators) log(`${operator.name}: https://${operator.address}`);
    if (options.agents ?? true) await Promise.all(cluster.runners.map((runner) => runner.agent.ensure()));
    for (const runner of cluster.runners) log(`${runner.name}: containerd at ${runner.socket}`);
    return cluster;
  }

  /** Makes the parts that every instance has; nothing is started. */
  static async #assemble(options: ClusterOptions, ledger: Ledger, tools: Toolchain): Promise<Cluster> {
    const { dataDir } = ledger.content;
    await mkdir(join(dataDir, 'logs'), { recursive: true, mode: 0o711 });
    const authority = await Authority.open(join(dataDir, 'pki'), tools.openssl);
    const port = (name: string, part: string) => choosePort(options, ledger, name, part);
    const ports = {
      etcd: await port('etcd', 'etcd'),
      etcdPeer: await port('etcd.peer', 'etcd'),
      apiserver: await port('kube-apiserver', 'kube-apiserver'),
    };
    const plane = await controlPlane({ ledger, authority, programs: tools, ports, etcdFsync: options.etcdFsync ?? false });
    const registry = await Registry.create({ ledger, program: tools['docker-registry'], port: await port('registry', 'registry') });
    return new Cluster({ options, ledger, tools, authority, plane, registry, installID: await installIDIn(dataDir) });
  }

  async #startControlPlane(log: Log): Promise<void> {
    await Promise.all([this.registry.ensure(), this.etcd.ensure().then(() => this.apiserver.ensure())]);
    log(`kube-apiserver: ${this.api.server}`);
    log(`registry: ${this.registry.url}`);
    await installProduct(this.api, systemNamespace, this.#tokenSeconds);
  }

  get operators(): readonly Operator[] {
    return this.#operators;
  }

  get runners(): readonly Runner[] {
    return [...this.#runners.values()];
  }

  /** @throws BerthError `NoSuchRunner`. */
  runner(name: string): Runner {
    const runner = this.#runners.get(name);
    if (runner === undefined)
      throw new BerthError('NoSuchRunner', `This cluster has no runner "${name}", only ${[...this.#runners.keys()].join(', ')}.`);
    return runner;
  }

  /** Adds a runner (its Node object, tokens, containerd, agent) and waits until it answers. */
  async addRunner(name: string): Promise<Runner> {
    const runner = await this.#makeRunner(name);
    await runner.start({ agent: this.#options.agents ?? true });
    return runner;
  }

  /** Adds an operator. Agents learn of it when they are started the next time (`restartAgents`). */
  async addOperator(): Promise<Operator> {
    const operator = await this.#makeOperator(`operator-${this.#operators.length + 1}`);
    await operator.ensure();
    return operator;
  }

  /** Adds a registry of its own name, port and storage, with TLS or Basic credentials. */
  async addRegistry(name: string, options: Pick<RegistryOptions, 'tls' | 'credentials'> = {}): Promise<Registry> {
    const port = await choosePort(this.#options, this.#ledger, name, name);
    const registry = await Registry.create({ ...options, name, port, ledger: this.#ledger, program: this.tools['docker-registry'] });
    await registry.ensure();
    return registry;
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
    return issueToken(this.api, { expirationSeconds: this.#tokenSeconds, ...request });
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
    const directory = this.#agentDirectory(name);
    const request = { serviceAccount: 'berth-agent', node: name, expirationSeconds: this.#tokenSeconds };
    const forApi = await issueToken(this.api, request);
    const forOperators = await issueToken(this.api, { ...request, audience: operatorAudience });
    await writeSecretFile(
      join(directory, 'kubeconfig'),
      kubeconfig({ name: 'berth', server: this.api.server, caFile: this.authority.caFile, token: forApi }),
    );
    await writeSecretFile(join(directory, 'operator.token'), forOperators);
  }

  /** Ends every process (agents and operators are asked to) and removes everything of the instance. */
  async stop(): Promise<void> {
    await Promise.all(this.runners.map((runner) => runner.agent.stop()));
    await Promise.all(this.#operators.map((operator) => operator.stop()));
    await this.api.close();
    await sweep(this.#ledger.content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #tokenSeconds(): number {
    return this.#options.tokenSeconds ?? 24 * 3600;
  }

  async #makeOperator(name: string): Promise<Operator> {
    const directory = join(this.#ledger.content.dataDir, 'operators', name);
    const { cert, key } = await this.authority.issue('operator', 'berth-operator', [
      operatorServerName,
      'berth-operator',
      'localhost',
      '127.0.0.1',
    ]);
    const operator = new Operator({
      name,
      ledger: this.#ledger,
      port: await choosePort(this.#options, this.#ledger, name, name),
      healthPort: await choosePort(this.#options, this.#ledger, `${name}.health`, name),
      env: () => ({
        BERTH_KUBECONFIG: join(directory, 'kubeconfig'),
        BERTH_NAMESPACE: systemNamespace,
        BERTH_TLS_CERT: cert,
        BERTH_TLS_KEY: key,
        BERTH_LOG_LEVEL: 'debug',
        ...this.#options.operatorEnv,
      }),
    });
    const token = await issueToken(this.api, { serviceAccount: 'berth-operator', expirationSeconds: this.#tokenSeconds });
    await writeSecretFile(
      join(directory, 'kubeconfig'),
      kubeconfig({ name: 'berth', server: this.api.server, caFile: this.authority.caFile, token }),
    );
    this.#operators.push(operator);
    return operator;
  }

  async #makeRunner(name: string): Promise<Runner> {
    const runner = new Runner({
      name,
      ledger: this.#ledger,
      tools: this.tools,
      agentHealthPort: await choosePort(this.#options, this.#ledger, `${name}.agent`, `${name}.agent`),
      agent: () => ({ bundle: bundles.agent, env: this.#agentEnv(name) }),
    });
    await ensureNode(this.api, name);
    await this.renewAgentTokens(name);
    this.#runners.set(name, runner);
    return runner;
  }

  #agentEnv(name: string): Readonly<Record<string, string>> {
    const directory = this.#agentDirectory(name);
    return {
      BERTH_KUBECONFIG: join(directory, 'kubeconfig'),
      BERTH_NODE_NAME: name,
      BERTH_NAMESPACE: systemNamespace,
      BERTH_OPERATORS: this.#operators.map((operator) => operator.address).join(','),
      BERTH_OPERATOR_CA: this.authority.caFile,
      BERTH_OPERATOR_SERVER_NAME: operatorServerName,
      BERTH_OPERATOR_TOKEN_FILE: join(directory, 'operator.token'),
      BERTH_INSTALL_ID: this.#installID,
      BERTH_PLAIN_HTTP_REGISTRIES: this.registry.address,
      BERTH_LOG_LEVEL: 'debug',
      ...this.#options.agentEnv,
    };
  }

  #agentDirectory(name: string): string {
    return join(this.#ledger.content.dataDir, 'runners', name, 'credentials');
  }
}

function requireBundles(options: ClusterOptions): void {
  const needed = [...((options.operators ?? 1) > 0 ? [bundles.operator] : []), ...((options.agents ?? true) ? [bundles.agent] : [])];
  const absent = needed.find((path) => !existsSync(path));
  if (absent !== undefined) throw new BerthError('NotBuilt', `${absent} is missing: run "make build" first.`);
}

function placeOf(options: ClusterOptions): InstancePlace {
  started += 1;
  const instance = options.instance ?? `t${process.pid.toString(36)}${started}`;
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(instance))
    throw new BerthError('BadInstance', `"${instance}" cannot name an instance: lower case letters, digits and "-" only.`);
  return { instance, stateDir: options.stateDir ?? defaultStateDir(instance), dataDir: options.dataDir ?? defaultDataDir(instance) };
}

/** A persistent instance whose ledger is lost (or of another boot) but whose processes live cannot be taken over: they are ended, its data stays. */
async function sweepUnknownProcesses(place: InstancePlace, log: Log): Promise<void> {
  if (readLedger(place.stateDir)?.bootID === bootID() || processesMarked(place.stateDir).length === 0) return;
  log(`ending processes of the instance "${place.instance}" that no record of it names`);
  await sweepProcesses(place);
}

/** The fixed port, else the one of the last start, else a free one. A port that its own part does not hold must be free. */
async function choosePort(options: ClusterOptions, ledger: Ledger, name: string, part: string): Promise<number> {
  const fixed = options.ports?.[name];
  const known = ledger.content.ports[name];
  const port = fixed ?? known ?? (await freePort());
  if (!isAlive(ledger.part(part)) || known !== port) await requireFreePort(port, part, options.portAdvice ?? 'choose another');
  ledger.setPort(name, port);
  return port;
}

async function installIDIn(dataDir: string): Promise<string> {
  const path = join(dataDir, 'install-id');
  if (!existsSync(path)) await writeFile(path, `${randomUUID()}\n`);
  return readFileSync(path, 'utf8').trim();
}
