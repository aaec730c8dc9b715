import type { Lease } from './lease.ts';

/** A Lease as it was seen. */
export interface Observation {
  readonly resourceVersion: string;
  /** Empty when it was released. */
  readonly holder: string;
  /** What its holder promised; undefined when it says nothing. */
  readonly durationMs: number | undefined;
  /** When this version was first seen, by the own monotonic clock. */
  readonly at: number;
}

export interface ElectionView {
  readonly observed: (Observation & { readonly lease: Lease }) | undefined;
  readonly identity: string;
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly leaseDurationMs: number;
}

export type ElectionAction =
  | { readonly kind: 'create' }
  /** Write it as held by us, only if it has not changed since. */
  | { readonly kind: 'renew' | 'take'; readonly lease: Lease }
  /** Another holds it; look again after `ms` at the latest. */
  | { readonly kind: 'wait'; readonly ms: number };

/**
 * What to do about the Lease. Pure. The times written in the Lease are never looked at: another's Lease is over when it has not changed
 * for its duration as seen from here.
 */
export function decideElection({ observed, identity, now, leaseDurationMs }: ElectionView): ElectionAction {
  if (observed === undefined) return { kind: 'create' };
  if (observed.holder === identity) return { kind: 'renew', lease: observed.lease };
  const over = observed.at + Math.max(observed.durationMs ?? 0, leaseDurationMs);
  if (observed.holder === '' || now >= over) return { kind: 'take', lease: observed.lease };
  return { kind: 'wait', ms: over - now };
}
