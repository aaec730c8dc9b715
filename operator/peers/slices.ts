import type { KubeObject } from '../../kube/types.ts';

/** An EndpointSlice, as far as it says where operator pods are. */
export interface EndpointSlice extends KubeObject {
  readonly addressType: string;
  readonly endpoints: readonly Endpoint[];
  readonly ports: readonly EndpointPort[];
}

export interface Endpoint {
  readonly addresses: readonly string[];
  /** The pod's name; undefined for what is no pod. */
  readonly podName: string | undefined;
  readonly isReady: boolean;
  readonly isTerminating: boolean;
}

export interface EndpointPort {
  readonly name: string;
  readonly port: number | undefined;
}

/** The name of the port for agents in a Service that has several. */
export const agentPort = 'agents';

/** Reads what the API server serves; what is missing means what it means there. */
export function readEndpointSlice(raw: KubeObject): EndpointSlice {
  const { addressType = '', endpoints, ports } = raw as RawSlice;
  const { apiVersion, kind } = raw;
  const { name, namespace, uid, resourceVersion } = raw.metadata;
  return {
    ...{ apiVersion, kind, addressType },
    metadata: { name, namespace, uid, resourceVersion },
    endpoints: (endpoints ?? []).map(({ addresses, conditions, targetRef }) => ({
      addresses: addresses ?? [],
      podName: targetRef?.kind === 'Pod' ? targetRef.name : undefined,
      isReady: conditions?.ready !== false,
      isTerminating: conditions?.terminating === true,
    })),
    ports: (ports ?? []).map((one) => ({ name: one.name ?? '', port: one.port ?? undefined })),
  };
}

/**
 * Where the other operator pods are, as host:port: those that are ready and not about to end. `ownPod` is left out. Of several ports it is the
 * one named "agents", else the first.
 */
export function peersOf(slices: readonly EndpointSlice[], ownPod: string): readonly string[] {
  const addresses = slices.flatMap(({ addressType, endpoints, ports }) => {
    const port = (ports.find(({ name }) => name === agentPort) ?? ports[0])?.port;
    if (port === undefined || (addressType !== 'IPv4' && addressType !== 'IPv6')) return [];
    return endpoints
      .filter(({ podName, isReady, isTerminating }) => isReady && !isTerminating && podName !== ownPod)
      .flatMap((endpoint) => endpoint.addresses.map((address) => (addressType === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`)));
  });
  return [...new Set(addresses)].toSorted();
}

interface RawSlice extends KubeObject {
  readonly addressType?: string;
  readonly endpoints?:
    | readonly {
        readonly addresses?: readonly string[];
        readonly conditions?: { readonly ready?: boolean; readonly terminating?: boolean };
        readonly targetRef?: { readonly kind?: string; readonly name?: string };
      }[]
    | null;
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[] | null;
}
