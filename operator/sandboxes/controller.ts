import type { CopyConfig } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Runner, Sandbox } from '../../crds/index.ts';
import { createController, type Controller, type ReconcileContext, type ReconcileResult } from '../../kube/controller.ts';
import type { Client } from '../../kube/client.ts';
import { keyOf } from '../../kube/object.ts';
import { createWorkQueue } from '../../kube/queue.ts';
import type { Cache, EventRecorder, KubeTransport, WorkQueue } from '../../kube/types.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Counter, Metrics } from '../../process/metrics.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import { stableLines } from '../../process/stable-log-lines.ts';
import { RegistryWorker, type BackupRegistry } from '../backups/controller.ts';
import type { Hub } from '../hub/controller.ts';
import { copyKey } from '../hub/facts.ts';
import { decide } from '../lifecycle/decide.ts';
import type { Deadlines } from '../lifecycle/deadlines.ts';
import { SandboxMetrics } from '../observability/act.ts';
import type { Fleet } from '../runners/gather.ts';
import { act, type ActPorts } from './act.ts';
import { copyConfigOf } from './copy-config.ts';
import { gather, type BackupSources, type GatherSources, type SandboxSecrets } from './gather.ts';
import { secretReferences, type SecretEnvironment } from './secret-environment.ts';
import { readSecretEnvironment } from './secret-environment.client.ts';
import { PullSecrets } from './secrets.client.ts';

export interface SandboxControllerOptions {
  readonly transport: KubeTransport;
  readonly sandboxes: Cache<Sandbox>;
  readonly sandboxClient: Client<Sandbox>;
  readonly runnerClient: Client<Runner>;
  readonly hub: Hub;
  readonly fleet: Fleet;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly isLeader: () => boolean;
  /** Sandboxes worked on at the same time. Default 16. */
  readonly workers?: number | undefined;
  /** Monotonic time before which no deadline is judged. */
  readonly patientUntil: number;
  readonly deadlines: Deadlines;
  /** Absent: nothing can be backed up, and no registry is asked. */
  readonly backups?: BackupRegistry | undefined;
}

/** Those that wait for room are looked at again this long after a change of the fleet: many changes come together. */
const wakeMs = 100;

/** Names of the indexes that the sandbox cache must have. */
export const sandboxIndexes = {
  uid: ({ metadata }: Sandbox) => [metadata.uid],
  runner: namedRunners,
} as const;

/** Where the sandbox lies, or something of it may. */
function namedRunners({ status }: Sandbox): readonly string[] {
  const { runnerName, assignment, releases } = status;
  return [...new Set([runnerName ?? [], assignment?.previous?.runnerName ?? [], ...releases.map((one) => one.runnerName)].flat())];
}

/** Whether something of the sandbox lies on the runner, or is to be removed there. */
function mayHaveCopy(sandbox: Sandbox, runnerName: string): boolean {
  return namedRunners(sandbox).includes(runnerName) || sandbox.status.assignment?.previous?.runnerName === runnerName;
}

/** Keeps the metric that says how many sandboxes are in each state. */
export function countByState(sandboxes: Cache<Sandbox>, metrics: Metrics): void {
  const gauge = metrics.gauge({ name: 'berth_sandboxes', help: 'Sandboxes by state.', labels: ['state'] });
  const counts = new Map<string, number>();
  const change = (state: string, by: number) => {
    const count = (counts.get(state) ?? 0) + by;
    counts.set(state, count);
    gauge.set(count, { state });
  };
  sandboxes.subscribe({
    added: ({ status }) => change(status.state, 1),
    updated: ({ status }, old) => {
      if (status.state === old.status.state) return;
      change(old.status.state, -1);
      change(status.state, 1);
    },
    deleted: ({ status }) => change(status.state, -1),
  });
}

/**
 * Reconciles Sandboxes while this operator leads: gather → decide → act, one key at a time for each Sandbox. Reports, changes of runners and
 * timers only add keys to the queue.
 */
export class SandboxController {
  readonly #options: SandboxControllerOptions;
  readonly #queue: WorkQueue;
  readonly #controller: Controller;
  readonly #secrets: PullSecrets;
  readonly #sources: GatherSources;
  readonly #ports: Omit<ActPorts, 'log'>;
  readonly #registry: RegistryWorker | undefined;
  /** Keys of those that wait for room on some runner. */
  readonly #waiting = new Set<string>();
  readonly #foreign: Counter;
  readonly #configs = new WeakMap<Sandbox['spec'], CopyConfig>();

  constructor(options: SandboxControllerOptions) {
    const { transport, clock, random, log, metrics, hub, fleet } = options;
    this.#options = options;
    this.#secrets = new PullSecrets(transport, clock);
    this.#queue = createWorkQueue({ name: 'sandboxes', clock, random, metrics });
    this.#registry = options.backups && this.#workerFor(options.backups);
    this.#sources = {
      clock,
      random,
      fleet,
      facts: (runnerName) => hub.facts(runnerName),
      sentOrder: (runnerName, uid, epoch) => hub.sentOrder(runnerName, uid, epoch),
      patientUntil: options.patientUntil,
      deadlines: options.deadlines,
      backups: this.#backupSources(),
    };
    const statusWrites = metrics.counter({
      name: 'berth_sandbox_status_writes_total',
      help: 'Status patches of Sandboxes by the state and reason they wrote.',
      labels: ['state', 'reason'],
    });
    this.#foreign = metrics.counter({
      name: 'berth_foreign_reports_total',
      help: 'Reports about copies that are neither assigned to the runner that reported nor to be released there. They change nothing.',
    });
    const { sandboxClient, runnerClient, events, isLeader } = options;
    this.#ports = {
      ...{ sandboxes: sandboxClient, runners: runnerClient, hub, events, fleet, isLeader, statusWrites },
      metrics: new SandboxMetrics(metrics),
      registry: { begin: (sandbox, works) => this.#registry?.begin(sandbox, works) },
      credentials: { read: (sandbox) => this.#credentialsIn(sandbox), own: () => options.backups?.credentials() ?? [] },
    };
    this.#controller = createController({
      name: 'sandboxes',
      queue: this.#queue,
      reconcile: (key, context) => this.#reconcile(key, context),
      workers: options.workers ?? 16,
      clock,
      log,
      metrics,
    });
  }

  /** Works until the signal is aborted; resolves when the last reconcile is over. */
  async run(signal: AbortSignal): Promise<void> {
    const { sandboxes, hub } = this.#options;
    const stops = [
      sandboxes.subscribe({
        added: (sandbox) => this.#queue.add(keyOf(sandbox)),
        updated: (sandbox) => this.#queue.add(keyOf(sandbox)),
        deleted: (sandbox) => this.#forget(sandbox),
      }),
      hub.subscribe({
        copiesChanged: (runnerName, uids) => this.#copiesChanged(runnerName, uids),
        runnerChanged: (runnerName, what) => this.runnerChanged(runnerName, what),
      }),
    ];
    try {
      await Promise.all([this.#controller.run(signal), this.#registry?.run(signal)]);
    } finally {
      for (const stop of stops) stop();
    }
  }

  /** A runner may be able to take more, or to take nothing: those on it, and those that wait, are looked at again. */
  runnerChanged(runnerName: string, what: 'Connected' | 'Disconnected' | 'Amounts' | 'Object'): void {
    if (what !== 'Amounts') for (const sandbox of this.#options.sandboxes.byIndex('runner', runnerName)) this.#queue.add(keyOf(sandbox));
    if (what !== 'Disconnected') this.#wake();
  }

  /** Why it is not alive, in a sentence. */
  stuck(limitMs: number): string | undefined {
    return this.#controller.stuck(limitMs);
  }

  /** What a runner says of copies that are neither assigned to it nor to be released there changes nothing. */
  #copiesChanged(runnerName: string, uids: readonly string[]): void {
    for (const sandbox of uids.flatMap((uid) => this.#options.sandboxes.byIndex('uid', uid))) {
      if (mayHaveCopy(sandbox, runnerName)) this.#queue.add(keyOf(sandbox));
      else this.#foreign.inc();
    }
  }

  #wake(): void {
    for (const key of this.#waiting) this.#queue.addAfter(key, wakeMs);
  }

  #forget(sandbox: Sandbox): void {
    const key = keyOf(sandbox);
    this.#registry?.forget(sandbox.metadata.uid);
    this.#waiting.delete(key);
    this.#queue.add(key);
    this.#wake();
  }

  async #reconcile(key: string, { log }: ReconcileContext): Promise<ReconcileResult | undefined> {
    const secrets = await this.#secretsFor(key);
    // Read after the wait: the decision is made of what is newest, and of one moment.
    const sandbox = this.#options.sandboxes.get(key);
    if (sandbox === undefined || !this.#options.isLeader()) return undefined;
    if (namedRunners(sandbox).some((name) => this.#options.fleet.isUnreadable(name))) {
      log.warn({ runners: namedRunners(sandbox) }, 'Sandbox left alone: its Runner can not be read');
      return undefined;
    }
    const config = this.#configOf(sandbox.spec);
    const world = gather(this.#sources, sandbox, config.hash, secrets);
    const decision = decide(world);
    if (decision.assignment !== undefined) log.debug({ ...decision.assignment }, stableLines.assigning);
    if (decision.waitsForRunner) this.#waiting.add(key);
    else this.#waiting.delete(key);
    await act({ ...this.#ports, log }, world, decision, { config, secrets });
    if (hasLeftRoom(decision.status, sandbox.status)) this.#wake();
    return decision.lookAgainMs === undefined ? undefined : { requeueAfterMs: decision.lookAgainMs };
  }

  /** Objects of the cache never change, and are looked at many times. */
  #configOf(spec: Sandbox['spec']): CopyConfig {
    const known = this.#configs.get(spec);
    if (known !== undefined) return known;
    const config = copyConfigOf(spec);
    this.#configs.set(spec, config);
    return config;
  }

  #workerFor(registry: BackupRegistry): RegistryWorker {
    const { clock, random, log, metrics } = this.#options;
    return new RegistryWorker({
      ...{ registry, clock, random, metrics, log: log.child({ part: 'registry' }) },
      credentialsOf: (sandbox) => this.#credentialsIn(sandbox),
      done: (key) => this.#queue.add(key),
    });
  }

  #backupSources(): BackupSources {
    const prefix = this.#options.backups?.repository;
    return {
      repositoryOf: ({ metadata }) => prefix && `${prefix}/${metadata.namespace}.${metadata.name}`,
      resultsFor: (uid) => this.#registry?.resultsFor(uid) ?? [],
    };
  }

  /** Those of a Secret that is not there are none: what lacks them is told by what they were needed for. */
  async #credentialsIn(sandbox: Sandbox): Promise<readonly RegistryCredential[]> {
    const read = await this.#secrets.credentialsOf(sandbox);
    return read.kind === 'Ready' ? read.credentials : [];
  }

  /** Secrets are read only when something may have to be pulled or started. */
  async #secretsFor(key: string): Promise<SandboxSecrets> {
    const sandbox = this.#options.sandboxes.get(key);
    const [credentials, environment] = await Promise.all([
      sandbox !== undefined && needsCredentials(sandbox) ? this.#secrets.credentialsOf(sandbox) : notRead,
      this.#environmentOf(sandbox),
    ]);
    return { credentials, environment };
  }

  async #environmentOf(sandbox: Sandbox | undefined): Promise<SecretEnvironment> {
    if (sandbox === undefined || secretReferences(sandbox.spec).length === 0) return { kind: 'Ready', variables: [] };
    return this.#mayStart(sandbox) ? readSecretEnvironment(this.#options.transport, sandbox) : { kind: 'NotRead' };
  }

  /** All but what runs as ordered may be started next. */
  #mayStart({ metadata, spec, status }: Sandbox): boolean {
    if (metadata.deletionTimestamp !== undefined || spec.desiredState !== 'Started') return false;
    const { state, order, runnerName = '', assignment } = status;
    const copy = this.#options.hub.facts(runnerName)?.copies.get(copyKey(metadata.uid, assignment?.epoch ?? 0));
    return state !== 'Started' || copy?.state !== 'Running' || copy.order < order;
  }
}

const notRead = { kind: 'NotRead' } as const;
const atRest: ReadonlySet<Sandbox['status']['state']> = new Set(['Pending', 'Stopped', 'Archived', 'Error', 'Creating', 'Restoring']);

/** Something may have to be made ready before a patch is acknowledged: an image, or a backup. Other orders read them when they are sent. */
function needsCredentials({ metadata, spec, status }: Sandbox): boolean {
  if (metadata.deletionTimestamp !== undefined || spec.desiredState !== 'Started') return false;
  return status.contentVersion === 0 || atRest.has(status.state);
}

/** It has just given back what it took while it ran. */
function hasLeftRoom(next: Sandbox['status'], before: Sandbox['status']): boolean {
  return next.state !== before.state && (next.state === 'Stopped' || next.state === 'Error' || next.state === 'Pending');
}
