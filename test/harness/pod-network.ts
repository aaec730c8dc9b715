import { createHash } from 'node:crypto';
import { run, succeeds } from '../../hack/command.ts';
import { systemNamespace } from './identity.ts';
import type { KubeApi } from './kube-api.ts';

/** The headless Service of the operator pods. */
export const operatorService = 'berth-operator';
/** Its name in DNS. */
export const operatorName = `${operatorService}.${systemNamespace}.svc.cluster.local`;
/** All addresses that pods may have; runners with a network of their own have a way there. */
export const podAddresses = '10.252.0.0/16';

/** The link that carries the addresses of an instance's operators. */
export const podLink = (instance: string) => `bp${hashOf(instance).toString('hex').slice(0, 10)}`;

/** The address of the operator with that number (1 to 7): of this machine, and not of its loopback, which no EndpointSlice may name. */
export function podAddress(instance: string, number: number): string {
  const block = hashOf(instance).readUInt16BE(0) & 0x1fff;
  return `10.252.${block >> 5}.${(block & 31) * 8 + number}`;
}

/** Makes the link, or the address on a link that is there. `closePodNetwork` removes all of it. */
export async function openPodAddress(ip: string, instance: string, number: number): Promise<void> {
  const link = podLink(instance);
  if (!(await succeeds(ip, ['link', 'show', link]))) {
    await run(ip, ['link', 'add', link, 'type', 'veth', 'peer', 'name', `${link}p`]);
    await run(ip, ['link', 'set', link, 'up']);
  }
  await run(ip, ['address', 'replace', `${podAddress(instance, number)}/32`, 'dev', link]);
}

export async function closePodNetwork(instance: string): Promise<void> {
  await succeeds('ip', ['link', 'delete', podLink(instance)]);
}

/** One operator as the EndpointSlice of the Service names it. */
export interface PublishedPod {
  readonly name: string;
  readonly host: string;
}

/** Does what the control plane of a cluster does when operator pods come and go: the Service has these. */
export async function publishPods(api: KubeApi, pods: readonly PublishedPod[], port: number): Promise<void> {
  const metadata = { name: operatorService, namespace: systemNamespace };
  const ports = [{ name: 'agents', port, protocol: 'TCP' }];
  await api.apply({ apiVersion: 'v1', kind: 'Service', metadata, spec: { clusterIP: 'None', ports } });
  await api.apply({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': operatorService } },
    addressType: 'IPv4',
    ports,
    endpoints: pods.map(({ name, host }) => ({
      addresses: [host],
      conditions: { ready: true, serving: true, terminating: false },
      targetRef: { kind: 'Pod', name, namespace: systemNamespace },
    })),
  });
}

function hashOf(instance: string): Buffer {
  return createHash('sha256').update(`${instance}-pods`).digest();
}
