import { microTimestamp } from './time.ts';
import type { KubeObject, Manifest, Resource } from './types.ts';

export const leases: Resource = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true };

/** A Lease as the API server serves it. */
export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string | undefined;
    readonly leaseDurationSeconds?: number | undefined;
    readonly acquireTime?: string | undefined;
    readonly renewTime?: string | undefined;
    readonly leaseTransitions?: number | undefined;
  };
}

export function parseLease(raw: KubeObject): Lease {
  return raw;
}

export interface LeaseContent {
  readonly namespace: string;
  readonly name: string;
  readonly holder: string;
  readonly durationMs: number;
  readonly nowMs: number;
}

/** A new Lease, acquired and renewed now. */
export function newLease({ namespace, name, holder, durationMs, nowMs }: LeaseContent): Manifest & { readonly spec: object } {
  const now = microTimestamp(nowMs);
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { namespace, name },
    spec: {
      holderIdentity: holder,
      leaseDurationSeconds: Math.ceil(durationMs / 1000),
      acquireTime: now,
      renewTime: now,
      leaseTransitions: 0,
    },
  };
}

/**
 * Whether Leases are still being renewed, judged by when this process saw them change on its own monotonic clock; the times that are
 * written in them are another machine's opinion and are not looked at. What was never seen before has just been renewed.
 */
export class LeaseObserver {
  readonly #seen = new Map<string, { readonly renewal: string; readonly at: number; readonly durationMs: number }>();

  /** Takes a Lease as it is at `now` (monotonic milliseconds). */
  observe(key: string, lease: Lease, now: number): void {
    const { holderIdentity = '', renewTime = '', leaseDurationSeconds = 0 } = lease.spec ?? {};
    const renewal = `${lease.metadata.uid} ${holderIdentity} ${renewTime}`;
    const durationMs = leaseDurationSeconds * 1000;
    const before = this.#seen.get(key);
    if (before?.renewal !== renewal || before.durationMs !== durationMs) this.#seen.set(key, { renewal, at: now, durationMs });
  }

  /** The Lease is gone. */
  forget(key: string): void {
    this.#seen.delete(key);
  }

  /** Milliseconds until it expires, 0 or less when it has; undefined for one that is not there. */
  remaining(key: string, now: number): number | undefined {
    const seen = this.#seen.get(key);
    return seen === undefined ? undefined : seen.at + seen.durationMs - now;
  }
}
