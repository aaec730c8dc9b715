import { z } from 'zod';
import { parseNanos } from '../crds/index.ts';
import { isAddress, isListenAddress } from '../process/address.ts';
import { listOf } from '../process/config.ts';
import { logLevels } from '../process/log.ts';

const address = z.string().refine(isAddress, { message: 'each must be host:port, such as 10.0.0.5:3001' });
const amount = z
  .string()
  .refine((text) => parseNanos(text) !== undefined, { message: 'must be a quantity such as 8, 7500m or 16Gi' })
  .optional();

const percent = z.coerce.number().int().min(0).max(100);

/** The settings of the agent: variables BERTH_…, or flags. */
export const agentSettings = z.object({
  kubeconfig: z.string().optional().describe('Path of a kubeconfig. Default: the service account of the pod.'),
  nodeName: z.string().min(1).max(253).describe('Name of the node, and of the Runner.'),
  namespace: z.string().min(1).default('berth-system').describe('Namespace of the operator and of the Leases.'),
  operators: listOf(address)
    .default([])
    .describe(
      "Operator pods to connect to, as host:port, separated by commas. A name, such as that of the operator's headless Service, is looked up again and again: each of its addresses is an operator pod.",
    ),
  operatorResolvers: listOf(address)
    .default([])
    .describe(
      'DNS servers to ask for those names, as ip:port, separated by commas; names are complete then. Default: as the machine looks up names.',
    ),
  operatorLookupSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(3600)
    .default(5)
    .describe('The longest time from one look at DNS to the next. Up to a quarter of it is left out at random.'),
  operatorForgetSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400)
    .default(15)
    .describe('How long the agent stays connected to an operator pod that neither DNS nor another operator pod names any more.'),
  operatorCa: z
    .string()
    .optional()
    .describe(
      'PEM file of the authority of the operators. Read again when it changes. Without it only operators on this machine are dialled.',
    ),
  unsafeOperators: z
    .stringbool()
    .default(false)
    .describe(
      'UNSAFE. Dials operators on other machines without a CA: whoever is on the way can read and change everything. For a private network in which everybody is trusted.',
    ),
  operatorServerName: z
    .string()
    .optional()
    .describe("Name in the operators' certificates. Default berth-operator.<namespace>.svc when there is a CA."),
  operatorTokenFile: z.string().optional().describe('File with the bearer token for operators. Read again when it changes.'),
  containerdAddress: z
    .string()
    .startsWith('/')
    .default('/run/containerd/containerd.sock')
    .describe("Absolute path of containerd's socket."),
  stateDir: z
    .string()
    .startsWith('/')
    .default('/var/lib/berth/agent')
    .describe('Directory of the journal and the logs, on the disk of the sandboxes, under the same path for containerd.'),
  runtimeRoot: z
    .string()
    .startsWith('/')
    .default('/run/berth/oci')
    .describe('Where the OCI runtime keeps its state: on a tmpfs, for one containerd alone, and under the same path for it.'),
  cgroupParent: z.string().startsWith('/').default('/berth').describe('The cgroup above those of the sandboxes.'),
  healthListen: z
    .string()
    .refine(isListenAddress, { message: 'must be host:port' })
    .default('0.0.0.0:8080')
    .describe('Address of /healthz, /readyz and /metrics.'),
  leaseSeconds: z.coerce
    .number()
    .int()
    .min(4)
    .max(3600)
    .default(40)
    .describe('How long operators believe in the agent without a sign of life. It gives one every quarter of that.'),
  installId: z.string().min(1).max(63).default('berth').describe('The installation whose sandboxes this agent hosts.'),
  plainHttpRegistries: listOf(address).default([]).describe('Registries that speak plain http, as host:port, separated by commas.'),
  registryConfigDir: z
    .string()
    .startsWith('/')
    .optional()
    .describe(
      'Directory of `<host:port>/hosts.toml` files, as containerd reads them: certificates of registries, and mirrors. Under the same path for containerd.',
    ),
  backupsAtOnce: z.coerce.number().int().min(1).max(100).default(2).describe('Backups that are read and sent away at once.'),
  backupMaxPauseSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400)
    .default(300)
    .describe('A running sandbox is paused for a backup no longer than this; a backup that takes longer fails.'),
  capacityCpu: amount.describe('Processor cores for sandboxes and task slots. Default: all of the machine.'),
  capacityMemory: amount.describe('Memory for sandboxes and task slots. Default: all of the machine.'),
  capacityDisk: amount.describe('Disk for sandboxes. Default: nine tenths of the disk of the state directory.'),
  capacityPids: amount.describe('Processes of all sandboxes together. Default: not limited.'),
  sandboxLogMaxSize: amount.default('10Mi').describe('A sandbox log that is larger is rotated. Looked at every ten seconds.'),
  sandboxLogMaxFiles: z.coerce
    .number()
    .int()
    .min(2)
    .max(100)
    .default(5)
    .describe('Files of one sandbox log at most, the one that is written to included.'),
  imageGcHighThresholdPercent: percent
    .default(85)
    .describe('Above this share of the disk of the state directory, images that no sandbox stands on are removed.'),
  imageGcLowThresholdPercent: percent.default(80).describe('Unused images are removed until no more than this share of the disk is used.'),
  imageMinimumAgeSeconds: z.coerce
    .number()
    .int()
    .min(0)
    .max(31_536_000)
    .default(120)
    .describe('An image is kept for so long after it was last used.'),
  diskCheckSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(3600)
    .default(10)
    .describe('How often it is measured what sandboxes have written. Less often where that takes more than a tenth of the time.'),
  unclaimedAfterSeconds: z.coerce
    .number()
    .int()
    .min(1)
    .max(604_800)
    .default(600)
    .describe('Seconds after which a copy that no Sandbox claims is stopped. It is kept.'),
  logLevel: z.enum(logLevels).default('info').describe('Lines below this level are not written.'),
  shimGroupSize: z.coerce.number().int().min(1).max(100).default(10).describe('Sandboxes that share one shim process; 1: none do.'),
  runtime: z.enum(['auto', 'crun', 'runc']).default('auto').describe('OCI runtime. auto: crun when it passes a probe, else runc.'),
});

export type AgentSettings = z.output<typeof agentSettings>;
