import type { PlainClient, Told } from './plain-client.ts';

/** The election's Lease as it is stored. */
export interface SeenLease {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly holderIdentity?: string; readonly renewTime?: string; readonly leaseDurationSeconds?: number };
}

/** Who leads, by the Lease as the API server tells it. Times are milliseconds since the epoch. */
export class Election {
  #lease: SeenLease | undefined;
  #taken: { readonly holder: string; readonly at: number } | undefined;
  readonly #waiters = new Set<() => void>();

  /** Begins to watch; the operators must have elected a leader. */
  static async follow(client: PlainClient, namespace: string): Promise<Election> {
    const election = new Election();
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
    election.#lease = (await client.ask('GET', `${path}/berth-operator`, 200)).body as SeenLease;
    await client.watch<SeenLease>(
      path,
      (told) => election.#take(told),
      (error) => {
        throw error;
      },
    );
    return election;
  }

  /** The identity that holds the Lease: the pod's name, `_`, and something random. */
  get holder(): string {
    return this.#lease?.spec.holderIdentity ?? '';
  }

  /** When the Lease may be taken unless it is renewed until then. */
  get expiry(): number {
    return expiryOf(this.#lease);
  }

  /** When the watch told that another than `holder` has taken the Lease. */
  async takenFrom(holder: string): Promise<number> {
    while (this.holder === holder || this.holder === '') await new Promise<void>((resolve) => this.#waiters.add(resolve));
    return this.#taken?.at ?? Number.NaN;
  }

  #take({ object, at }: Told<SeenLease>): void {
    if (object.metadata.name !== 'berth-operator') return;
    if (object.spec.holderIdentity !== this.holder)
      this.#taken = { holder: object.spec.holderIdentity ?? '', at: performance.timeOrigin + at };
    this.#lease = object;
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }
}

/** When nobody has to leave the Lease to its holder any more: the time of its last renewal and what the holder promised. */
export function expiryOf(lease: SeenLease | undefined): number {
  const { renewTime = '', leaseDurationSeconds = Number.NaN } = lease?.spec ?? {};
  return Date.parse(renewTime) + leaseDurationSeconds * 1000;
}
