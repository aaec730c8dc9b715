import { z } from 'zod';
import { listOf } from '../process/config.ts';
import { logLevels } from '../process/log.ts';

const address = z.string().regex(/^(\[[^\]]+\]|[^:,]+):\d{1,5}$/, { message: 'each must be host:port, such as 10.0.0.5:3001' });

/** The settings of the operator: variables BERTH_…, or flags. */
export const operatorSettings = z.object({
  kubeconfig: z.string().optional().describe('Path of a kubeconfig. Default: the service account of the pod.'),
  namespace: z
    .string()
    .min(1)
    .default('berth-system')
    .describe('Namespace of the operator: its election, the Leases and the ServiceAccount of the agents.'),
  podName: z.string().min(1).optional().describe('Name of this pod. Default: the host name.'),
  listen: z.string().default('0.0.0.0:3001').describe('Address on which agents connect.'),
  tlsCert: z.string().optional().describe('PEM file of the certificate of the operator. Read again when it changes.'),
  tlsKey: z
    .string()
    .optional()
    .describe('PEM file of its key. Without both, only the loopback interface is listened on, and agents are not asked who they are.'),
  peers: listOf(address)
    .default([])
    .describe(
      'The other operator pods as host:port, separated by commas: the leader reaches agents through them that are not connected to it. Its own address may be among them.',
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
  healthListen: z.string().default('0.0.0.0:8080').describe('Address of /healthz, /readyz and /metrics.'),
  logLevel: z.enum(logLevels).default('info').describe('Lines below this level are not written.'),
  audience: z.string().min(1).default('berth-operator').describe("Audience that the agents' tokens must have."),
  workers: z.coerce.number().int().min(1).max(256).default(16).describe('Sandboxes worked on at the same time.'),
});
