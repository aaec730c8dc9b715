import { isAborted } from '../process/abort.ts';
import { sleep } from '../process/clock.ts';
import type { Clock, Random, Timer } from '../process/clock.ts';
import { BerthError } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Gauge, Metrics } from '../process/metrics.ts';
import { decideElection } from './decide-election.ts';
import type { Observation } from './decide-election.ts';
import { isKubeError } from './errors.ts';
import { leases, newLease, parseLease } from './lease.ts';
import type { Lease } from './lease.ts';
import { microTimestamp } from './time.ts';
import { compareVersions } from './resource-version.ts';
import type { Cache, Elector, KubeTransport, RequestOptions } from './types.ts';

export interface ElectorOptions {
  readonly transport: KubeTransport;
  /** A cache that has the Lease. Without one a renewal is seen at the next look, and the Lease of a dead leader taken as much later. */
  readonly leases?: Pick<Cache<Lease>, 'subscribe'>;
  readonly namespace: string;
  readonly name: string;
  /** Of this very process: a restart must have another. */
  readonly identity: string;
  /** How long the others leave the Lease to a leader that does not renew it. Default 15,000 ms. */
  readonly leaseDurationMs?: number;
  /** How long a leader leads without a renewal. Must be less than `leaseDurationMs`. Default 10,000 ms. */
  readonly renewDeadlineMs?: number;
  /** Between renewals of a leader, and looks of the others. Must be less than `renewDeadlineMs`. Default 2,000 ms. */
  readonly retryPeriodMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** Leads from now on, until the signal is aborted. */
  readonly onStartedLeading: (signal: AbortSignal) => void;
  /** Leads no longer. What it returns is awaited before the Lease is given away at shutdown. */
  readonly onStoppedLeading: () => Promise<void> | void;
}

/**
 * Leader election over a Lease. At most one leads at a time, whatever the wall clocks say:
 * a leader counts `renewDeadlineMs` from before it asked for the last renewal, the others `leaseDurationMs` from after they saw it, each
 * by its own monotonic clock. A leader that was frozen finds itself deposed at the first `isLeader()`.
 * Throws `ElectionSettings` when the times do not fit.
 */
export function createElector(options: ElectorOptions): Elector {
  return new LeaseElector(options);
}

interface Term {
  /** Monotonic time at which it ends unless renewed. */
  until: number;
  readonly stop: AbortController;
  timer: Timer;
}

class LeaseElector implements Elector {
  readonly #options: ElectorOptions;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  readonly #log: Logger;
  readonly #status: Gauge;
  #observed: (Observation & { readonly lease: Lease }) | undefined;
  #term: Term | undefined;
  /** What the end of the last term does. */
  #stopping: Promise<void> = Promise.resolve();
  /** Ends the pause before the next look. */
  #wake: () => void = () => undefined;

  constructor(options: ElectorOptions) {
    this.#options = options;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000;
    if (!(this.#retryPeriodMs > 0 && this.#retryPeriodMs < this.#renewDeadlineMs && this.#renewDeadlineMs < this.#leaseDurationMs)) {
      throw new BerthError(
        'ElectionSettings',
        'The times of the election do not fit: retry period < renew deadline < lease duration is needed.',
      );
    }
    this.#log = options.log.child({ lease: `${options.namespace}/${options.name}`, identity: options.identity });
    this.#status = (options.metrics ?? noMetrics).gauge({
      name: 'leader_election_master_status',
      help: '1 while this process leads.',
      labels: ['name'],
    });
    this.#status.set(0, { name: options.name });
  }

  get holder(): string | undefined {
    return this.#observed?.holder === '' ? undefined : this.#observed?.holder;
  }

  isLeader(): boolean {
    return this.#term !== undefined && this.#options.clock.monotonic() < this.#term.until;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { random, leases: cache } = this.#options;
    const told = (lease: Lease) => this.#told(lease);
    const unsubscribe = cache?.subscribe({ added: told, updated: told });
    while (!isAborted(signal)) {
      let pause = this.#retryPeriodMs * (1 + (this.#term === undefined ? 0.2 * random() : 0));
      try {
        pause = Math.min(pause, (await this.#round(signal)) ?? pause);
      } catch (err) {
        if (isKubeError(err, 'Conflict') || isKubeError(err, 'AlreadyExists')) {
          this.#observed = undefined;
          pause = 0;
        } else if (!isAborted(signal)) {
          this.#log.warn({ err, leading: this.isLeader() }, 'Election round failed, trying again');
        }
      }
      await this.#pause(pause, signal);
    }
    unsubscribe?.();
    await this.#release();
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#options.clock, ms, AbortSignal.any([signal, woken.signal])).catch(() => undefined);
  }

  /** The cache has the Lease. Who leads knows better, having written it. */
  #told(lease: Lease): void {
    const { namespace, name } = this.#options;
    if (this.#term !== undefined || lease.metadata.name !== name || lease.metadata.namespace !== namespace) return;
    const known = this.#observed?.resourceVersion;
    if (known !== undefined && (compareVersions(lease.metadata.resourceVersion, known) ?? 1) <= 0) return;
    this.#observe(lease);
    if (this.#observed?.holder === '') this.#wake();
  }

  /** Looks, decides, acts. Returns how long to wait at most. */
  async #round(signal: AbortSignal): Promise<number | undefined> {
    const { clock, identity } = this.#options;
    const request = { signal, timeoutMs: this.#remaining() };
    if (this.#term === undefined || this.#observed === undefined) await this.#look(request);
    const action = decideElection({ observed: this.#observed, identity, now: clock.monotonic(), leaseDurationMs: this.#leaseDurationMs });
    if (action.kind === 'wait') {
      this.#endTerm('another holds the lease');
      return action.ms;
    }
    const began = clock.monotonic();
    const lease = action.kind === 'create' ? await this.#create(request) : await this.#write(action.lease, action.kind, request);
    this.#observe(lease);
    this.#lead(began + this.#renewDeadlineMs);
    return undefined;
  }

  /** How long a request may take: a leader's no longer than its term. */
  #remaining(): number {
    if (this.#term === undefined) return this.#renewDeadlineMs;
    return Math.max(1, this.#term.until - this.#options.clock.monotonic());
  }

  async #look(request: RequestOptions): Promise<void> {
    const { transport, namespace, name } = this.#options;
    try {
      this.#observe(parseLease(await transport.get(leases, { namespace, name }, request)));
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
      this.#observed = undefined;
    }
  }

  #observe(lease: Lease): void {
    const { resourceVersion } = lease.metadata;
    const { holderIdentity: holder = '', leaseDurationSeconds } = lease.spec ?? {};
    const durationMs = leaseDurationSeconds === undefined ? undefined : leaseDurationSeconds * 1000;
    const at = this.#observed?.resourceVersion === resourceVersion ? this.#observed.at : this.#options.clock.monotonic();
    if (this.#observed?.holder !== holder) this.#log.info({ holder }, 'Lease holder seen');
    this.#observed = { lease, resourceVersion, holder, durationMs, at };
  }

  async #create(request: RequestOptions): Promise<Lease> {
    const { transport, namespace, name, identity, clock } = this.#options;
    const lease = newLease({ namespace, name, holder: identity, durationMs: this.#leaseDurationMs, nowMs: clock.now() });
    return parseLease(await transport.create(leases, lease, request));
  }

  async #write(lease: Lease, how: 'take' | 'renew', request: RequestOptions): Promise<Lease> {
    const { transport, identity, clock } = this.#options;
    const now = microTimestamp(clock.now());
    const took = how === 'take' ? { acquireTime: now, leaseTransitions: (lease.spec?.leaseTransitions ?? 0) + 1 } : {};
    const duration = Math.ceil(this.#leaseDurationMs / 1000);
    const spec = { ...lease.spec, ...took, holderIdentity: identity, leaseDurationSeconds: duration, renewTime: now };
    return parseLease(await transport.update(leases, { ...lease, spec } as Lease, request));
  }

  #lead(until: number): void {
    const { clock, name, onStartedLeading } = this.#options;
    const timer = () => clock.after(Math.max(0, until - clock.monotonic()), () => this.#endTerm('the lease was not renewed in time'));
    if (this.#term !== undefined) {
      this.#term.timer.cancel();
      this.#term.until = until;
      this.#term.timer = timer();
      return;
    }
    if (clock.monotonic() >= until) return;
    const stop = new AbortController();
    this.#term = { until, stop, timer: timer() };
    this.#status.set(1, { name });
    this.#log.info({}, 'Started leading');
    void this.#call('onStartedLeading', () => onStartedLeading(stop.signal));
  }

  #endTerm(reason: string): void {
    const term = this.#term;
    if (term === undefined) return;
    this.#term = undefined;
    term.timer.cancel();
    this.#status.set(0, { name: this.#options.name });
    this.#log.warn({ reason }, 'Stopped leading');
    term.stop.abort(new BerthError('LeadershipLost', `Leadership ended: ${reason}.`));
    this.#stopping = Promise.all([this.#stopping, this.#call('onStoppedLeading', () => this.#options.onStoppedLeading())]).then(
      () => undefined,
    );
  }

  async #call(callback: string, call: () => Promise<void> | void): Promise<void> {
    try {
      await call();
    } catch (err) {
      this.#log.error({ callback, err }, 'Election callback failed');
    }
  }

  /** Stops leading, and then gives the Lease away, so that another need not wait for it to expire. */
  async #release(): Promise<void> {
    const { identity, clock, transport } = this.#options;
    const request = { timeoutMs: this.#retryPeriodMs };
    this.#endTerm('shutdown');
    await this.#stopping;
    try {
      await this.#look(request);
      if (this.#observed?.holder !== identity) return;
      const { lease } = this.#observed;
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: microTimestamp(clock.now()) };
      await transport.update(leases, { ...lease, spec } as Lease, request);
      this.#log.info({}, 'Lease released');
    } catch (err) {
      this.#log.warn({ err }, 'Lease not released, it will expire');
    }
  }
}
