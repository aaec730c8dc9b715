import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '../../process/errors.ts';
import { run, succeeds } from '../../hack/command.ts';
import type { Toolchain } from '../../hack/toolchain/toolchain.ts';
import { cgroupProcesses, hybridUnifiedMount, removeCgroup } from './cgroups.ts';
import { answers } from './control-plane.ts';
import type { Ledger } from './ledger.ts';
import { Network } from './network.ts';
import { bundleContent } from './operator.ts';
import { Part, type PartCommand } from './part.ts';
import { killAll, processesMarked, processesRootedBelow } from './processes.ts';

/** The variable that marks everything that runs on one runner: its containerd, agent and shims. */
const runnerVariable = 'BERTH_HARNESS_RUNNER';

export interface RunnerOptions {
  readonly name: string;
  readonly ledger: Ledger;
  readonly tools: Pick<Toolchain, 'containerd' | 'ctr' | 'nsenter' | 'unshare' | 'ip' | 'nft'>;
  /** The agent's bundle and environment besides what the runner itself knows; read at every start of the agent. */
  readonly agent: () => { readonly bundle: string; readonly env: Readonly<Record<string, string>> };
  readonly agentHealthPort: number;
  /** Give it a network namespace of its own. Default: the machine's. */
  readonly hasNetwork: boolean;
  /** Give it a disk of its own of this size for images, sandboxes and the agent. Default: the machine's. */
  readonly diskBytes: number | undefined;
}

/**
 * A machine that runs sandboxes: a private mount namespace with its own containerd and its own agent.
 * The namespace has no version 2 cgroup hierarchy beside version 1 ones, an own /run/containerd and an own boot id.
 */
export class Runner {
  readonly name: string;
  /** Keeps the mount namespace alive; containerd and the agent may be restarted in it. */
  readonly machine: Part;
  readonly containerd: Part;
  readonly agent: Part;
  /** containerd's socket. */
  readonly socket: string;
  /** Where containerd keeps content and snapshots. */
  readonly containerdRoot: string;
  /** The OCI runtime's `root` for this runner. */
  readonly runtimeRoot: string;
  /** Where the agent keeps its identity and journal. */
  readonly agentStateDir: string;
  /** The cgroup below which the runner's sandboxes lie. */
  readonly cgroupParent: string;
  /** http://host:port of the agent's health and metrics. */
  readonly agentHealthUrl: string;
  /** Its own network, if it has one: `network.lose()` cuts it off. */
  readonly network: Network | undefined;
  /** What is gone after a reboot, and what is not. */
  readonly stateDir: string;
  readonly dataDir: string;
  readonly #options: RunnerOptions;
  readonly #agentHealth: string;

  constructor(options: RunnerOptions) {
    const { name, ledger } = options;
    this.name = name;
    this.#options = options;
    this.stateDir = join(ledger.content.stateDir, name);
    this.dataDir = join(ledger.content.dataDir, 'runners', name);
    this.socket = join(this.stateDir, 'containerd.sock');
    this.containerdRoot = join(this.#disk, 'containerd');
    this.runtimeRoot = join(this.stateDir, 'oci');
    this.agentStateDir = join(this.#disk, 'agent');
    this.cgroupParent = `/berth-${ledger.content.instance}/${name}`;
    const network = { tools: options.tools, name: `${ledger.content.instance}-${name}`, pid: () => this.machine.pid };
    this.network = options.hasNetwork ? new Network(network) : undefined;
    this.#agentHealth = `${this.network?.address ?? '127.0.0.1'}:${options.agentHealthPort}`;
    this.agentHealthUrl = `http://${this.#agentHealth}`;
    this.machine = this.#machinePart();
    this.containerd = this.#containerdPart();
    this.agent = this.#agentPart();
  }

  /** Starts the machine and its containerd, then (when `agent`) the agent. What runs stays; what runs with old settings is replaced. */
  async start({ agent }: { readonly agent: boolean }): Promise<void> {
    if ((await this.machine.ensure()) !== 'kept') await this.network?.open();
    await this.containerd.ensure();
    if (agent) await this.agent.ensure();
  }

  /** The agent is asked to end, then everything on the runner is ended. Sandboxes do not survive it; their files do. */
  async stop(): Promise<void> {
    await this.agent.stop();
    await this.containerd.stop();
    await this.#endEverything();
  }

  /** As pulling the plug: everything on the runner dies at once and /run is empty. `start` boots it with another boot id. */
  async powerOff(): Promise<void> {
    await Promise.all([this.agent.kill(), this.containerd.kill()]);
    await this.#endEverything();
  }

  /** Loses the disk too: containerd's content, snapshots and the agent's directory. Call it on a runner that is off. */
  async wipe(): Promise<void> {
    if (this.machine.isRunning) throw new BerthError('RunnerRunning', `${this.name} runs; power it off before its disk is wiped.`);
    await Promise.all([this.containerdRoot, this.agentStateDir].map((path) => rm(path, { recursive: true, force: true })));
  }

  /** ctr in a containerd namespace of this runner; returns stdout. */
  async ctr(namespace: string, ...args: readonly string[]): Promise<string> {
    return run(this.#options.tools.nsenter, [...this.#enter(), this.#options.tools.ctr, '-a', this.socket, '-n', namespace, ...args], {
      env: { [runnerVariable]: this.stateDir },
    });
  }

  /** Runs any program in the runner's mount namespace. */
  async exec(file: string, ...args: readonly string[]): Promise<string> {
    return run(this.#options.tools.nsenter, [...this.#enter(), file, ...args]);
  }

  /** Where shims listen: containerd's own place for it, since with another one it forgets sockets of shims whose first member is gone. */
  get shimSockets(): string {
    return join(this.stateDir, 'run', 's');
  }

  /** Where containerd keeps the bundles of tasks. */
  get taskStateDir(): string {
    return join(this.stateDir, 'c', 'io.containerd.runtime.v2.task');
  }

  /** Pids of containerd's shims and of everything in the runner's cgroup. */
  sandboxProcesses(): readonly number[] {
    const own = [this.machine, this.containerd, this.agent].map((part) => part.process?.pid);
    const marked = processesMarked(this.stateDir, runnerVariable).map((found) => found.pid);
    return [...marked.filter((pid) => !own.includes(pid)), ...cgroupProcesses(this.cgroupParent).map((found) => found.pid)];
  }

  #enter(): readonly string[] {
    const { pid } = this.machine;
    return [`--mount=/proc/${pid}/ns/mnt`, ...(this.network === undefined ? [] : [`--net=/proc/${pid}/ns/net`]), '--'];
  }

  async #endEverything(): Promise<void> {
    await this.#endProcesses();
    await this.machine.kill();
    await rm(this.stateDir, { recursive: true, force: true });
  }

  /** Shims first, so that they do not see their containers end. */
  async #endProcesses(): Promise<void> {
    await killAll(processesMarked(this.stateDir, runnerVariable));
    await killAll(processesRootedBelow(this.containerdRoot));
    await removeCgroup(this.cgroupParent);
  }

  #machinePart(): Part {
    const ready = join(this.stateDir, 'ready');
    const bootID = join(this.stateDir, 'boot_id');
    const unified = hybridUnifiedMount();
    const script = [
      'set -e',
      ...(unified === undefined ? [] : [`umount '${unified}'`]),
      // Where shims keep what nobody gave them another place for; the machine's own is not touched.
      `mkdir -p /run/containerd && mount --bind '${join(this.stateDir, 'run')}' /run/containerd`,
      `mount --bind '${bootID}' /proc/sys/kernel/random/boot_id`,
      `echo ready >'${ready}'`,
      'exec sleep infinity',
    ].join('\n');
    return new Part({
      name: `${this.name}.machine`,
      ledger: this.#options.ledger,
      logFile: this.#log('machine'),
      prepare: async () => {
        await this.#endProcesses();
        await rm(this.stateDir, { recursive: true, force: true });
        await mkdir(join(this.stateDir, 'run'), { recursive: true, mode: 0o711 });
        await writeFile(bootID, `${randomUUID()}\n`);
        await this.#mountDisk();
      },
      command: () => ({
        file: this.#options.tools.unshare,
        args: ['--mount', '--propagation', 'slave', ...(this.network === undefined ? [] : ['--net']), 'sh', '-c', script],
        env: { [runnerVariable]: this.stateDir },
      }),
      probe: async () => {
        await run('test', ['-e', ready]);
      },
    });
  }

  /** Where images, sandboxes and the agent's directory are. */
  get #disk(): string {
    return this.#options.diskBytes === undefined ? this.dataDir : join(this.dataDir, 'disk');
  }

  /** It stays through reboots. */
  async #mountDisk(): Promise<void> {
    const { diskBytes } = this.#options;
    if (diskBytes === undefined || (await succeeds('mountpoint', ['-q', this.#disk]))) return;
    await mkdir(this.#disk, { recursive: true, mode: 0o711 });
    await run('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},mode=711`, 'berth-disk', this.#disk]);
  }

  #containerdPart(): Part {
    const { containerd, nsenter, ctr } = this.#options.tools;
    const config = join(this.dataDir, 'containerd.toml');
    return new Part({
      name: `${this.name}.containerd`,
      ledger: this.#options.ledger,
      logFile: this.#log('containerd'),
      prepare: async () => {
        await mkdir(this.dataDir, { recursive: true, mode: 0o711 });
        await writeFile(config, this.#containerdConfig());
      },
      command: () => ({
        file: nsenter,
        args: [...this.#enter(), containerd, '--config', config],
        env: {
          PATH: `${dirname(containerd)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
          [runnerVariable]: this.stateDir,
        },
        inputs: [this.#containerdConfig()],
      }),
      probe: async () => {
        const { failed, stderr } = await execa(ctr, ['-a', this.socket, '--connect-timeout', '2s', 'version'], {
          reject: false,
          timeout: 5_000,
        });
        if (failed) throw new BerthError('NotReady', stderr);
      },
    });
  }

  #agentPart(): Part {
    return new Part({
      name: `${this.name}.agent`,
      ledger: this.#options.ledger,
      logFile: this.#log('agent'),
      prepare: () => mkdir(this.agentStateDir, { recursive: true, mode: 0o700 }).then(() => undefined),
      command: () => this.#agentCommand(),
      probe: () => answers(`${this.agentHealthUrl}/readyz`),
    });
  }

  #agentCommand(): PartCommand {
    const { bundle, env } = this.#options.agent();
    return {
      file: this.#options.tools.nsenter,
      args: [...this.#enter(), process.execPath, '--enable-source-maps', bundle],
      env: {
        BERTH_CONTAINERD_ADDRESS: this.socket,
        BERTH_STATE_DIR: this.agentStateDir,
        BERTH_RUNTIME_ROOT: this.runtimeRoot,
        BERTH_CGROUP_PARENT: this.cgroupParent,
        BERTH_HEALTH_LISTEN: this.#agentHealth,
        NODE_NO_WARNINGS: '1',
        ...env,
        [runnerVariable]: this.stateDir,
      },
      inputs: [bundleContent(bundle)],
    };
  }

  #containerdConfig(): string {
    return `version = 3
root = "${this.containerdRoot}"
state = "${join(this.stateDir, 'c')}"
temp = "${join(this.dataDir, 'tmp')}"
imports = []
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "${this.socket}"
[ttrpc]
  address = "${this.socket}.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = "${join(this.dataDir, 'opt')}"
`;
  }

  #log(part: string): string {
    return join(this.#options.ledger.content.dataDir, 'logs', `${this.name}.${part}.log`);
  }
}
