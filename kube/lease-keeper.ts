import { isAborted } from '../process/abort.ts';
import { backoffDelay } from '../process/backoff.ts';
import { sleep } from '../process/clock.ts';
import type { Clock, Random } from '../process/clock.ts';
import type { Logger } from '../process/log.ts';
import { isKubeError } from './errors.ts';
import { leases, newLease } from './lease.ts';
import { microTimestamp } from './time.ts';
import type { KubeTransport } from './types.ts';

export interface LeaseKeeperOptions {
  readonly transport: KubeTransport;
  readonly namespace: string;
  readonly name: string;
  /** Who is alive. */
  readonly holder: string;
  /** How long others may believe it without a renewal. Default 40,000 ms. */
  readonly durationMs?: number;
  /** Between renewals. Default 10,000 ms. */
  readonly intervalMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export interface LeaseKeeper {
  /** Renews the Lease, creating it where it is missing, until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
  /** Milliseconds since the last renewal was asked for that succeeded; undefined before the first. For the health port. */
  age(): number | undefined;
}

const backoff = { initialMs: 500, maxMs: 5_000, jitter: 0.5 };

/** Says "I am alive" through a Lease that only this process writes. */
export function createLeaseKeeper(options: LeaseKeeperOptions): LeaseKeeper {
  const { transport, namespace, name, holder, durationMs = 40_000, intervalMs = 10_000, clock, random, log } = options;
  let renewedAt: number | undefined;

  const renew = async (signal: AbortSignal) => {
    const nowMs = clock.now();
    const request = { signal, timeoutMs: intervalMs };
    const spec = { holderIdentity: holder, leaseDurationSeconds: Math.ceil(durationMs / 1000), renewTime: microTimestamp(nowMs) };
    try {
      await transport.patch(leases, { namespace, name }, { type: 'merge', body: { spec } }, request);
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
      await transport.create(leases, newLease({ namespace, name, holder, durationMs, nowMs }), request);
    }
  };

  const run = async (signal: AbortSignal) => {
    let failures = 0;
    while (!isAborted(signal)) {
      const began = clock.monotonic();
      try {
        await renew(signal);
        renewedAt = began;
        failures = 0;
      } catch (err) {
        if (isAborted(signal)) return;
        failures++;
        log.warn({ lease: `${namespace}/${name}`, err, failures }, 'Lease not renewed, trying again');
      }
      const pause = failures === 0 ? intervalMs - (clock.monotonic() - began) : backoffDelay(backoff, failures, random);
      await sleep(clock, Math.max(0, pause), signal).catch(() => undefined);
    }
  };

  return { run, age: () => (renewedAt === undefined ? undefined : clock.monotonic() - renewedAt) };
}
