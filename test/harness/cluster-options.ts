import { existsSync } from 'node:fs';
import { BerthError } from '../../process/errors.ts';
import type { Log } from '../../hack/progress.ts';
import { defaultDataDir, defaultStateDir } from './ledger.ts';
import { bundlesOf } from './manifests.ts';
import type { InstancePlace } from './sweep.ts';

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
  /** Run the bundles that have failpoints; `arm` in crash.ts says where one ends. Default false. */
  readonly failpoints?: boolean;
  /** Give every runner a network namespace of its own, on which packets can be lost. Default false. */
  readonly networks?: boolean;
  /** Find operators as in a cluster: CoreDNS and EndpointSlices name them, each at an address of its own. Default false: settings name them. */
  readonly dns?: boolean;
  /** Operators have neither TLS nor tokens, as in a private network in which everybody is trusted. Default false. */
  readonly unsafe?: boolean;
  /** Give every runner a disk of its own of this size, that can be filled. Default: the machine's. */
  readonly diskBytes?: number | undefined;
  /** Whether sandboxes are backed up, to `backups/` of the cluster's registry or to a repository of another one. Default false. */
  readonly backups?: boolean | string;
  /** Added to the environment of every operator or agent. */
  readonly operatorEnv?: Readonly<Record<string, string>>;
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Where progress goes. Default: nowhere. */
  readonly log?: Log;
}

/** The options with every default filled in. */
export type Settings = Required<ClusterOptions> & InstancePlace;

let started = 0;

/** @throws BerthError `BadInstance`, or `NotBuilt` when a bundle that is to be started is missing. */
export function settingsOf(options: ClusterOptions): Settings {
  started += 1;
  const instance = options.instance ?? `t${process.pid.toString(36)}${started}`;
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(instance))
    throw new BerthError('BadInstance', `"${instance}" cannot name an instance: lower case letters, digits and "-" only.`);
  const settings: Settings = {
    runners: ['runner-1'],
    operators: 1,
    agents: true,
    persistent: false,
    ports: {},
    portAdvice: 'choose another',
    stateDir: defaultStateDir(instance),
    dataDir: defaultDataDir(instance),
    etcdFsync: false,
    tokenSeconds: 24 * 3600,
    failpoints: false,
    networks: false,
    dns: false,
    unsafe: false,
    diskBytes: undefined,
    backups: false,
    operatorEnv: {},
    agentEnv: {},
    log: () => undefined,
    ...options,
    instance,
  };
  requireBundles(settings);
  return settings;
}

function requireBundles({ operators, agents, failpoints }: Settings): void {
  const bundles = bundlesOf({ failpoints });
  const needed = [...(operators > 0 ? [bundles.operator] : []), ...(agents ? [bundles.agent] : [])];
  const absent = needed.find((path) => !existsSync(path));
  if (absent !== undefined) throw new BerthError('NotBuilt', `${absent} is missing: run "make build" first.`);
}
