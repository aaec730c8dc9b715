import type { Sandbox } from '../../crds/index.ts';
import { keyOf } from '../../kube/object.ts';
import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Counter, Histogram, Metrics } from '../../process/metrics.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import { failpoint } from '../failpoints.ts';
import { RegistryError } from '../../registry/errors.ts';
import type { RegistryClient } from '../../registry/registry.client.ts';
import { parseRepository } from '../../registry/repository.ts';
import type { RegistryResult, RegistryWork } from '../lifecycle/snapshot.ts';
import { backupCredential } from './credential.ts';
import { doneOutcome, failedOutcome, isRegistryDown, laneOf, workKey } from './registry-work.ts';

/** The registry of backups, as an operator is given it. */
export interface BackupRegistry {
  /** `host[:port]/path`: every sandbox has its own repository below. Undefined: nothing new is backed up. */
  readonly repository: string | undefined;
  readonly client: Pick<RegistryClient, 'verify' | 'delete'>;
  /** The operator's own credentials as they are now; those of a sandbox come before them. */
  readonly credentials: () => readonly RegistryCredential[];
}

export interface RegistryWorkerOptions {
  readonly registry: BackupRegistry;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** What the Secrets of the sandbox hold. A rejection is taken for a registry that can not be asked now. */
  readonly credentialsOf: (sandbox: Sandbox) => Promise<readonly RegistryCredential[]>;
  /** There is a new result for the sandbox with this key. */
  readonly done: (key: string) => void;
}

/** Work at the same time: quick questions, and those that read every byte. */
const lanes = { Quick: 8, Long: 2 } as const;
/** Results of one sandbox: more than it can have backups. */
const maxPerSandbox = 256;
/** The same work is not done again before, whoever asks. */
const restMs = 1_000;
const registryBackoff = { initialMs: 1_000, maxMs: 30_000 };

interface Job {
  readonly id: string;
  readonly sandbox: Sandbox;
  readonly work: RegistryWork;
  readonly host: string;
  readonly notBefore: number;
  isRunning: boolean;
}

/** How much is under way. */
interface Busy {
  readonly lanes: { Quick: number; Long: number };
  readonly hosts: Map<string, number>;
}

/** What is known of a registry that did not answer. */
interface Outage {
  readonly failures: number;
  readonly until: number;
}

/**
 * Does what decisions ask of registries: the same work once at a time, a bounded number together. While a registry does not answer, one question at a time is
 * asked there, after waits that grow, and all other work waits and is told so. Results wake their sandbox and are kept for its next decisions.
 */
export class RegistryWorker {
  readonly #options: RegistryWorkerOptions;
  readonly #jobs = new Map<string, Job>();
  readonly #results = new Map<string, Map<string, RegistryResult>>();
  readonly #outages = new Map<string, Outage>();
  readonly #busy: Busy = { lanes: { Quick: 0, Long: 0 }, hosts: new Map() };
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #outcomes: Counter;
  readonly #duration: Histogram;
  #timer: Timer | undefined;

  constructor(options: RegistryWorkerOptions) {
    this.#options = options;
    this.#outcomes = options.metrics.counter({
      name: 'berth_registry_work_total',
      help: 'Verifications and removals of backups by outcome.',
      labels: ['kind', 'outcome'],
    });
    this.#duration = options.metrics.histogram({
      name: 'berth_registry_work_duration_seconds',
      help: 'Time that a verification or removal took.',
      labels: ['kind'],
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800],
    });
  }

  /** The newest result of each work about the sandbox's backups. */
  resultsFor(uid: string): readonly RegistryResult[] {
    return [...(this.#results.get(uid)?.values() ?? [])];
  }

  /** Sees to it that the work is done: what is under way or waits already is not begun again. */
  begin(sandbox: Sandbox, works: readonly RegistryWork[]): void {
    if (works.length === 0) return;
    for (const work of works) this.#begin(sandbox, work);
    this.#pump();
  }

  /** The object is gone: nothing about it is of interest. */
  forget(uid: string): void {
    this.#results.delete(uid);
    for (const [id, { sandbox }] of this.#jobs) if (sandbox.metadata.uid === uid) this.#jobs.delete(id);
  }

  /** Works until the signal is aborted; resolves when nothing is under way. */
  async run(signal: AbortSignal): Promise<void> {
    if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.#stop.abort(new Error('this operator leads no more'));
    this.#timer?.cancel();
    await Promise.all(this.#running);
  }

  #begin(sandbox: Sandbox, work: RegistryWork): void {
    const { uid } = sandbox.metadata;
    const id = `${uid} ${workKey(work)}`;
    if (this.#jobs.has(id)) return;
    const host = parseRepository(work.repository)?.host ?? work.repository;
    const known = this.#results.get(uid)?.get(workKey(work));
    const outage = this.#outages.get(host);
    this.#jobs.set(id, { id, sandbox, work, host, notBefore: known === undefined ? 0 : known.at + restMs, isRunning: false });
    // Whoever asks while the registry is down is told so, and not left waiting.
    if (outage === undefined || known?.outcome === 'Unavailable') return;
    this.#tell(sandbox, work, failedOutcome(work, new Error(`The registry ${host} gave no answer lately. It is asked again soon.`)));
  }

  /** Begins what may be begun, and comes back when more may. */
  #pump(): void {
    if (this.#stop.signal.aborted) return;
    const { clock } = this.#options;
    const now = clock.monotonic();
    this.#timer?.cancel();
    this.#timer = undefined;
    let next = Infinity;
    for (const job of this.#jobs.values()) {
      if (this.#busy.lanes.Quick >= lanes.Quick && this.#busy.lanes.Long >= lanes.Long) return;
      if (job.isRunning) continue;
      const due = this.#dueAt(job);
      if (due > now) next = Math.min(next, due);
      else if (this.#hasRoom(job)) this.#start(job);
    }
    if (Number.isFinite(next)) this.#timer = clock.after(next - now, () => this.#pump());
  }

  #dueAt({ host, notBefore }: Job): number {
    return Math.max(notBefore, this.#outages.get(host)?.until ?? 0);
  }

  #hasRoom({ host, work }: Job): boolean {
    const lane = laneOf(work);
    return this.#busy.lanes[lane] < lanes[lane] && !(this.#outages.has(host) && this.#busy.hosts.has(host));
  }

  #start(job: Job): void {
    job.isRunning = true;
    this.#count(job, 1);
    const running = this.#do(job).finally(() => {
      this.#running.delete(running);
      this.#count(job, -1);
      this.#pump();
    });
    this.#running.add(running);
  }

  #count({ host, work }: Job, by: 1 | -1): void {
    const { lanes: busy, hosts } = this.#busy;
    busy[laneOf(work)] += by;
    const left = (hosts.get(host) ?? 0) + by;
    if (left === 0) hosts.delete(host);
    else hosts.set(host, left);
  }

  async #do(job: Job): Promise<void> {
    const { id, sandbox, work, host } = job;
    const { clock, log } = this.#options;
    const began = clock.monotonic();
    const failure = await this.#carryOut(sandbox, work).catch((error: unknown) => ({ error }));
    const isWanted = this.#jobs.get(id) === job;
    if (isWanted) this.#jobs.delete(id);
    if (this.#stop.signal.aborted) return;
    const outcome = failure === undefined ? doneOutcome(work) : failedOutcome(work, failure.error);
    if (failure !== undefined && isRegistryDown(failure.error)) this.#isDown(host, outcome.message);
    else if (failure === undefined || failure.error instanceof RegistryError) this.#outages.delete(host);
    const kind = work.kind === 'Verify' ? `Verify${work.depth}` : work.kind;
    this.#outcomes.inc({ kind, outcome: outcome.outcome });
    this.#duration.observe((clock.monotonic() - began) / 1000, { kind });
    log.info({ sandbox: keyOf(sandbox), kind, digest: work.digest, ...outcome }, 'Registry work done');
    if (isWanted) this.#tell(sandbox, work, outcome);
  }

  async #carryOut(sandbox: Sandbox, work: RegistryWork): Promise<undefined> {
    const { registry, credentialsOf } = this.#options;
    const repository = parseRepository(work.repository);
    if (repository === undefined) throw new RegistryError('Unsupported', `"${work.repository}" names no repository: write host/path.`);
    const credential = backupCredential(work.repository, await credentialsOf(sandbox), registry.credentials());
    const access = { credential, signal: this.#stop.signal };
    if (work.kind === 'Delete') {
      await registry.client.delete(repository, work.digest, access);
      FAILPOINT: failpoint('registry.deleted');
    } else {
      await registry.client.verify(repository, work.digest, work.depth, access);
      FAILPOINT: failpoint('registry.verified');
    }
    return undefined;
  }

  #isDown(host: string, message: string): void {
    const { clock, random, log } = this.#options;
    const failures = (this.#outages.get(host)?.failures ?? 0) + 1;
    const wait = backoffDelay(registryBackoff, failures, random);
    this.#outages.set(host, { failures, until: clock.monotonic() + wait });
    log.warn({ registry: host, failures, waitMs: Math.round(wait), reason: message }, 'Registry gives no answer');
  }

  /** The newest result counts; of too many the oldest goes. */
  #tell(sandbox: Sandbox, work: RegistryWork, outcome: Pick<RegistryResult, 'outcome' | 'message'>): void {
    const { uid } = sandbox.metadata;
    const results = this.#results.get(uid) ?? new Map<string, RegistryResult>();
    const key = workKey(work);
    results.delete(key);
    results.set(key, { work, at: this.#options.clock.monotonic(), ...outcome });
    const [oldest] = results.keys();
    if (results.size > maxPerSandbox && oldest !== undefined) results.delete(oldest);
    this.#results.set(uid, results);
    this.#options.done(keyOf(sandbox));
  }
}
