import { createCache, type RunnableCache } from '../../kube/cache.ts';
import type { KubeTransport, Resource } from '../../kube/types.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { peersOf, readEndpointSlice, type EndpointSlice } from './slices.ts';

export interface PeersOptions {
  /** Operator pods of the settings, as host:port. */
  readonly fixed: readonly string[];
  /** The headless Service of the operator pods, in `namespace`; undefined: only those of the settings are known. */
  readonly service: string | undefined;
  readonly namespace: string;
  /** This pod, which is not its own peer. */
  readonly podName: string;
  readonly transport: KubeTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const resource: Resource = { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices', kind: 'EndpointSlice', namespaced: true };

/**
 * The other operator pods, as the EndpointSlices of their Service tell, a moment after they came or went. Nobody waits for it: while it is not
 * known, agents and the leader know what they know otherwise.
 */
export class Peers {
  readonly #options: PeersOptions;
  readonly #slices: RunnableCache<EndpointSlice> | undefined;
  readonly #listeners = new Set<(addresses: readonly string[]) => void>();
  #addresses: readonly string[] | undefined;

  constructor(options: PeersOptions) {
    const { service, namespace, transport, clock, random, log } = options;
    this.#options = options;
    this.#slices =
      service === undefined
        ? undefined
        : createCache({
            ...{ transport, resource, namespace, clock, random, log, parse: readEndpointSlice },
            labelSelector: `kubernetes.io/service-name=${service}`,
          });
  }

  /** As host:port; undefined while it is not known yet. */
  get addresses(): readonly string[] | undefined {
    return this.#addresses;
  }

  /** Calls `listener` with what is known, and after each change. Returns the unsubscriber. */
  subscribe(listener: (addresses: readonly string[]) => void): () => void {
    this.#listeners.add(listener);
    if (this.#addresses !== undefined) listener(this.#addresses);
    return () => void this.#listeners.delete(listener);
  }

  /** Watches until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const slices = this.#slices;
    if (slices === undefined) {
      this.#tell([]);
      return;
    }
    const look = () => {
      if (slices.hasSynced()) this.#tell(peersOf(slices.list(), this.#options.podName));
    };
    const unsubscribe = slices.subscribe({ added: look, updated: look, deleted: look });
    const running = slices.run(signal);
    await slices.whenSynced(signal).then(look, () => undefined);
    await running;
    unsubscribe();
  }

  #tell(found: readonly string[]): void {
    const addresses = [...new Set([...this.#options.fixed, ...found])];
    if (this.#addresses?.join() === addresses.join()) return;
    this.#addresses = addresses;
    this.#options.log.info({ peers: addresses }, 'Other operator pods');
    for (const listener of this.#listeners) listener(addresses);
  }
}
