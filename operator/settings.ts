import { z } from 'zod';
import { isAddress, isListenAddress } from '../process/address.ts';
import { listOf } from '../process/config.ts';
import { logLevels } from '../process/log.ts';
import { parseRepository } from '../registry/repository.ts';

const address = z.string().refine(isAddress, { message: 'each must be host:port, such as 10.0.0.5:3001' });
const listenAddress = z.string().refine(isListenAddress, { message: 'must be host:port, such as 0.0.0.0:3001' });
const seconds = (standard: number) => z.coerce.number().int().min(1).max(86_400).default(standard);

/** The settings of the operator: variables BERTH_…, or flags. */
export const operatorSettings = z.object({
  kubeconfig: z.string().optional().describe('Path of a kubeconfig. Default: the service account of the pod.'),
  namespace: z
    .string()
    .min(1)
    .default('berth-system')
    .describe('Namespace of the operator: its election, the Leases and the ServiceAccount of the agents.'),
  podName: z.string().min(1).optional().describe('Name of this pod. Default: the host name.'),
  listen: listenAddress
    .default('0.0.0.0:3001')
    .describe('Address on which agents connect (gRPC) and callers use the HTTP API, which are told apart by what they speak.'),
  httpListen: listenAddress.optional().describe('Address of the HTTP API alone. Default: it shares the port of the agents.'),
  tlsCert: z.string().optional().describe('PEM file of the certificate of the operator. Read again when it changes.'),
  tlsKey: z
    .string()
    .optional()
    .describe('PEM file of its key. Without both, only the loopback interface is listened on, and nobody is asked who they are.'),
  auth: z
    .enum(['token', 'none'])
    .optional()
    .describe(
      'Whether agents, other operator pods and callers show a token. Default token; none where there is no TLS and only this machine can connect, and nowhere else without unsafeListen.',
    ),
  unsafeListen: z
    .stringbool()
    .default(false)
    .describe(
      'UNSAFE. Listens without TLS, or with auth none, on other interfaces than loopback: whoever can connect can run anything on every runner. For a private network in which everybody is trusted.',
    ),
  peers: listOf(address)
    .default([])
    .describe(
      'The other operator pods as host:port, separated by commas: the leader reaches agents through them that are not connected to it, and agents are told of them. Its own address may be among them.',
    ),
  peerService: z
    .string()
    .min(1)
    .max(63)
    .optional()
    .describe(
      'The headless Service of the operator pods, in their namespace: the others are found in its EndpointSlices, beside those of --peers. Agents are told of them.',
    ),
  peerCa: z
    .string()
    .optional()
    .describe(
      'PEM file of the authority of the other operator pods. Read again when it changes. Without it only those on this machine are dialled.',
    ),
  peerServerName: z
    .string()
    .optional()
    .describe("Name in the other operator pods' certificates. Default berth-operator.<namespace>.svc when there is a CA."),
  peerTokenFile: z
    .string()
    .optional()
    .describe('File with the bearer token for other operator pods, of the ServiceAccount berth-operator. Read again when it changes.'),
  healthListen: listenAddress.default('0.0.0.0:8080').describe('Address of /healthz, /readyz and /metrics.'),
  logLevel: z.enum(logLevels).default('info').describe('Lines below this level are not written.'),
  audience: z.string().min(1).default('berth-operator').describe("Audience that the agents' tokens must have."),
  tokenRecheckSeconds: seconds(300).describe(
    'How often the tokens of connected agents are checked again. One that was revoked ends its stream.',
  ),
  leaseSeconds: z.coerce
    .number()
    .int()
    .min(3)
    .max(600)
    .default(15)
    .describe('How long the others leave the lead to an operator that does not renew its Lease. It gives up after two thirds of it.'),
  creatingSeconds: seconds(300).describe('How long a sandbox may be Creating or Restoring without a byte moved.'),
  creatingTotalSeconds: seconds(3600).describe('How long a sandbox may be Creating or Restoring in all.'),
  startingSeconds: seconds(60).describe('How long a sandbox may be Starting.'),
  stoppingSeconds: seconds(30).describe('How long a sandbox may be Stopping beyond its grace period.'),
  deletingSeconds: seconds(120).describe(
    'How long a deleted Sandbox waits for its runner. What is left there is removed when the runner is back.',
  ),
  backupSeconds: seconds(300).describe('How long a backup may take without a byte moved.'),
  backupTotalSeconds: seconds(3600).describe('How long a backup may take in all.'),
  backupRepository: z
    .string()
    .refine((text) => parseRepository(text) !== undefined, { message: 'must be host[:port]/path, such as registry.example.com/berth' })
    .optional()
    .describe(
      'Where backups go, as host[:port]/path: each sandbox has its own repository <namespace>.<name> below. Without it nothing is backed up.',
    ),
  backupCredentialsFile: z
    .string()
    .optional()
    .describe(
      "File with credentials for it in the form of a docker configuration, such as the mounted key of a Secret. Read again when it changes. Credentials of a sandbox's own imagePullSecrets come before them.",
    ),
  backupCa: z
    .string()
    .optional()
    .describe(
      'PEM file of authorities that certify registries of backups, besides those that everybody trusts. Read again when it changes. Registries on this machine then speak TLS, too.',
    ),
  backupPlainHttp: listOf(address)
    .default([])
    .describe('Registries of backups that speak plain http, as host:port, separated by commas. Without backupCa those on this machine do.'),
  patienceSeconds: seconds(30).describe('How long after it began to lead an operator judges none of these.'),
  workers: z.coerce.number().int().min(1).max(256).default(16).describe('Sandboxes worked on at the same time.'),
});
