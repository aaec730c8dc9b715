import { API_GROUP_VERSION, RUNNER_KIND, type Runner } from '../../crds/index.ts';
import type { Client } from '../../kube/client.ts';
import { createController, type Controller, type ReconcileResult } from '../../kube/controller.ts';
import { equalJson } from '../../kube/diff.ts';
import { LeaseObserver, type Lease } from '../../kube/lease.ts';
import { createWorkQueue } from '../../kube/queue.ts';
import type { Cache, EventRecorder, WorkQueue } from '../../kube/types.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Gauge, Metrics } from '../../process/metrics.ts';
import { failpoint } from '../failpoints.ts';
import type { Hub } from '../hub/controller.ts';
import { resendMs } from '../lifecycle/decide.ts';
import { conditionsOfLost, hasBecomeLost, hasConditions, runnerConditions, runnerEvents } from './conditions.ts';
import type { Fleet, Liveness } from './gather.ts';
import { applyRemovals } from './removals.client.ts';
import { planRemovals } from './removals.ts';
import { suspensionOf } from './suspension.ts';

/** The Lease of the runner `a` is `runner-a`, so that no node's name can be that of another Lease. */
const leasePrefix = 'runner-';

/** Which runners are alive: by their Leases, as this process saw them change on its own clock. */
export class RunnerLeases implements Liveness {
  readonly #observer = new LeaseObserver();
  readonly #clock: Clock;

  /** `changed` is told of every runner whose Lease begins to be renewed, or goes. An expiry is found by looking at `remaining`. */
  constructor(leases: Cache<Lease>, clock: Clock, changed: (runnerName: string) => void) {
    this.#clock = clock;
    const observe = (lease: Lease) => {
      const runnerName = runnerOf(lease);
      if (runnerName === undefined) return;
      const wasReady = this.isReady(runnerName);
      this.#observer.observe(runnerName, lease, clock.monotonic());
      if (!wasReady) changed(runnerName);
    };
    leases.subscribe({
      added: observe,
      updated: observe,
      deleted: (lease) => {
        const runnerName = runnerOf(lease);
        if (runnerName === undefined) return;
        this.#observer.forget(runnerName);
        changed(runnerName);
      },
    });
  }

  isReady(runnerName: string): boolean {
    return (this.remaining(runnerName) ?? 0) > 0;
  }

  /** Milliseconds until the Lease expires, 0 or less when it has; undefined when there is none. */
  remaining(runnerName: string): number | undefined {
    return this.#observer.remaining(runnerName, this.#clock.monotonic());
  }
}

function runnerOf({ metadata: { name } }: Lease): string | undefined {
  return name.startsWith(leasePrefix) ? name.slice(leasePrefix.length) : undefined;
}

export interface RunnerControllerOptions {
  readonly runners: Cache<Runner>;
  readonly client: Client<Runner>;
  readonly leases: RunnerLeases;
  readonly hub: Hub;
  readonly fleet: Fleet;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly isLeader: () => boolean;
  /** Monotonic time before which silence is not taken for an answer. */
  readonly patientUntil: number;
  /** Something that placement looks at has changed. */
  readonly changed: (runnerName: string) => void;
}

const fieldManager = 'berth-operator';

/** Keeps Ready and Schedulable of every Runner, and has the copies removed that deleted Sandboxes left behind. */
export class RunnerController {
  readonly #options: RunnerControllerOptions;
  readonly #queue: WorkQueue;
  readonly #controller: Controller;
  readonly #suspended: Gauge;
  readonly #lost: Gauge;
  #suspension: 'None' | 'Suspended' = 'None';

  constructor(options: RunnerControllerOptions) {
    const { clock, random, log, metrics } = options;
    this.#options = options;
    this.#suspended = metrics.gauge({
      name: 'berth_recovery_suspended',
      help: '1 while so many runners are lost at once that recovery is suspended.',
    });
    this.#lost = metrics.gauge({ name: 'berth_lost_runners', help: 'Runners whose Lease has expired and whose agent is not reached.' });
    this.#queue = createWorkQueue({ name: 'runners', clock, random, metrics });
    this.#controller = createController({
      name: 'runners',
      queue: this.#queue,
      reconcile: (name) => this.#reconcile(name),
      workers: 4,
      clock,
      log,
      metrics,
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const { runners, hub, changed } = this.#options;
    const stops = [
      runners.subscribe({
        added: ({ metadata }) => {
          this.#queue.add(metadata.name);
          changed(metadata.name);
        },
        updated: (runner, old) => {
          this.#queue.add(runner.metadata.name);
          if (isOfInterest(runner, old)) changed(runner.metadata.name);
        },
        deleted: ({ metadata }) => {
          changed(metadata.name);
          // There are fewer of them now.
          this.#watchSuspension();
        },
      }),
      hub.subscribe({
        copiesChanged: (runnerName) => this.#removalsMayGo(runnerName),
        runnerChanged: (runnerName, what) => what !== 'Amounts' && this.#queue.add(runnerName),
      }),
    ];
    try {
      await this.#controller.run(signal);
    } finally {
      for (const stop of stops) stop();
    }
  }

  /** The Lease of the runner began or ended. */
  leaseChanged(runnerName: string): void {
    this.#queue.add(runnerName);
    this.#options.changed(runnerName);
  }

  stuck(limitMs: number): string | undefined {
    return this.#controller.stuck(limitMs);
  }

  #removalsMayGo(runnerName: string): void {
    const runner = this.#options.runners.get(runnerName);
    if (runner !== undefined && runner.status.removals.length > 0) this.#queue.add(runnerName);
  }

  async #reconcile(name: string): Promise<ReconcileResult | undefined> {
    const { runners, client, hub, events, isLeader } = this.#options;
    const runner = runners.get(name);
    if (runner === undefined || !isLeader()) return undefined;
    const plan = planRemovals(runner, hub.facts(name));
    if (plan.removals !== runner.status.removals) {
      await applyRemovals({ runners: client, events }, runner, plan);
      FAILPOINT: failpoint('removals.dropped');
    }
    for (const order of plan.orders) {
      hub.send(name, order, { isAccepted: false });
      FAILPOINT: failpoint('removals.ordered');
    }
    await this.#writeConditions(name);
    this.#watchSuspension();
    return this.#lookAgain(name, plan.orders.length > 0);
  }

  async #writeConditions(name: string): Promise<void> {
    const { runners, client, leases, hub, fleet, events, clock, patientUntil, isLeader } = this.#options;
    const runner = runners.get(name);
    if (runner === undefined || !isLeader()) return;
    const now = clock.now();
    const conditions = runnerConditions(runner, {
      leaseLeftMs: leases.remaining(name),
      isConnected: hub.facts(name)?.isComplete === true,
      fencing: fleet.fencing(runner),
      isPatient: clock.monotonic() < patientUntil,
      now,
    });
    if (hasConditions(runner, conditions)) return;
    if (hasBecomeLost(runner, conditions)) {
      // In one write, so that a leader that dies leaves nothing half done, and once, so that it does not contend with an agent that lives.
      await client.patchStatus(runner, { ...runner.status, conditions: conditionsOfLost(runner, conditions, now) });
    } else {
      const body = { apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name }, status: { conditions } };
      await client.apply(body, { fieldManager, subresource: 'status' });
    }
    for (const event of runnerEvents(runner, conditions)) events.record({ regarding: runner, ...event });
    this.#options.changed(name);
  }

  /** Says when recovery is suspended and when no longer, and has everybody on a lost runner look again. */
  #watchSuspension(): void {
    const { fleet, runners, events, log } = this.#options;
    const health = fleet.health();
    const suspension = suspensionOf(health);
    this.#lost.set(health.lost);
    if (suspension.kind === this.#suspension) return;
    this.#suspension = suspension.kind;
    const isSuspended = suspension.kind === 'Suspended';
    this.#suspended.set(Number(isSuspended));
    if (isSuspended) log.warn({ ...health }, 'Recovery is suspended: many runners were lost at once');
    else log.info({ ...health }, 'Recovery is not suspended any more');
    const note = isSuspended
      ? suspension.message
      : `${health.lost} of ${health.known} runners are lost: recovery is not suspended any more.`;
    const [type, reason] = isSuspended ? (['Warning', 'RecoverySuspended'] as const) : (['Normal', 'RecoveryResumed'] as const);
    for (const runner of runners.list()) {
      const { name } = runner.metadata;
      if (!fleet.isLost(name)) continue;
      events.record({ regarding: runner, type, reason, action: 'Watch', note });
      this.#options.changed(name);
    }
  }

  /** When the Lease may expire, patience ends, or an order has to be sent again. */
  #lookAgain(name: string, awaitsAnswer: boolean): ReconcileResult | undefined {
    const { leases, clock, patientUntil } = this.#options;
    const patience = patientUntil - clock.monotonic();
    const times = [leases.remaining(name) ?? 0, patience, awaitsAnswer ? resendMs : 0].filter((ms) => ms > 0);
    return times.length === 0 ? undefined : { requeueAfterMs: Math.min(...times) + 1 };
  }
}

/** What a decision looks at has changed: not the numbers that an agent writes every few seconds. */
function isOfInterest(runner: Runner, old: Runner): boolean {
  if (runner.status.storeID !== old.status.storeID || runner.status.bootID !== old.status.bootID) return true;
  return !equalJson(runner.spec, old.spec) || !equalJson(runner.metadata.labels, old.metadata.labels);
}
