import { LABELS, type Sandbox } from '../../crds/index.ts';
import { keyOf } from '../../kube/object.ts';
import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Counter, Histogram, Metrics } from '../../process/metrics.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import { failpoint } from '../failpoints.ts';
import { RegistryError } from '../../registry/errors.ts';
import { sizeOfBlobs } from '../../registry/manifest.ts';
import type { RegistryClient } from '../../registry/registry.client.ts';
import { parseRepository } from '../../registry/repository.ts';
import type { RegistryResult, RegistryWork } from '../lifecycle/snapshot.ts';
import { backupCredential } from './credential.ts';
import {
  annotationsOf,
  doneOutcome,
  failedOutcome,
  isRegistryDown,
  laneOf,
  subjectOf,
  workKey,
  type Lane,
  type WorkOutcome,
} from './registry-work.ts';

/** What is asked of registries. */
export type BackupRegistryClient = Pick<RegistryClient, 'verify' | 'delete' | 'sweep'>;

/** The registry of backups, as an operator is given it. */
export interface BackupRegistry {
  /** `host[:port]/path`: every sandbox has its own repository below. Undefined: nothing new is backed up. */
  readonly repository: string | undefined;
  readonly client: BackupRegistryClient;
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

/** Work at the same time: quick questions, those that read every byte, and removals, for which nobody waits. */
const lanes: Readonly<Record<Lane, number>> = { Quick: 8, Long: 2, Removal: 2 };
/** Results of one sandbox: more than it can have backups. */
const maxPerSandbox = 256;
/** The same work is not done again before, whoever asks. */
const restMs = 1_000;
const registryBackoff = { initialMs: 1_000, maxMs: 30_000 };
/** Whoever asks again after this long, and was not answered, is told so and may go on without. */
const answerMs = 5_000;
/** So many failures in a row are an outage for those that wait already: one may be any busy moment. */
const toldFailures = 2;
/** A registry that does not remove manifests is not asked to again for this long. */
const unsupportedMs = 3_600_000;

interface Job {
  readonly id: string;
  readonly sandbox: Sandbox;
  readonly work: RegistryWork;
  readonly host: string;
  readonly askedAt: number;
  readonly notBefore: number;
  isRunning: boolean;
}

/** How much is under way. */
interface Busy {
  readonly lanes: Record<Lane, number>;
  /** Quick questions to each host, and other work. */
  readonly hosts: Readonly<Record<'quick' | 'other', Map<string, number>>>;
}

/** What is known of a registry that did not answer. */
interface Outage {
  readonly failures: number;
  readonly until: number;
}

/**
 * Does what decisions ask of registries: the same work once at a time, a bounded number together. While a registry does not answer, one quick question at a time
 * is asked there, after waits that grow, and all other work waits and is told so: what was waiting when that began, what is asked for meanwhile, and what is
 * asked for again without an answer. Results wake their sandbox and are kept for its next decisions.
 */
export class RegistryWorker {
  readonly #options: RegistryWorkerOptions;
  readonly #jobs = new Map<string, Job>();
  readonly #results = new Map<string, Map<string, RegistryResult>>();
  readonly #outages = new Map<string, Outage>();
  /** Hosts that remove nothing, until when that is believed. */
  readonly #removesNothing = new Map<string, number>();
  readonly #busy: Busy = { lanes: { Quick: 0, Long: 0, Removal: 0 }, hosts: { quick: new Map(), other: new Map() } };
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #outcomes: Counter;
  readonly #duration: Histogram;
  #timer: Timer | undefined;

  constructor(options: RegistryWorkerOptions) {
    this.#options = options;
    this.#outcomes = options.metrics.counter({
      name: 'berth_registry_work_total',
      help: 'Verifications and removals of backups by outcome: VerifyMeta, VerifyFull, Delete, and Sweep, which looks for what nobody has recorded.',
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
    const now = this.#options.clock.monotonic();
    const waiting = this.#jobs.get(id);
    if (waiting !== undefined) {
      // What reads every byte takes long, and says so itself. Nobody waits for a removal.
      if (laneOf(work) === 'Quick' && waiting.askedAt + answerMs <= now) this.#tellOutage(waiting);
      return;
    }
    const host = parseRepository(work.repository)?.host ?? work.repository;
    if (laneOf(work) === 'Removal' && (this.#removesNothing.get(host) ?? 0) > now) {
      this.#tell(sandbox, work, { outcome: 'Unsupported', sizeBytes: 0, message: `The registry ${host} removes no manifests.` });
      return;
    }
    const known = this.#results.get(uid)?.get(workKey(work));
    const job = { id, sandbox, work, host, askedAt: now, notBefore: known === undefined ? 0 : known.at + restMs, isRunning: false };
    this.#jobs.set(id, job);
    if (this.#outages.has(host)) this.#tellOutage(job);
  }

  /** Whoever waits while the registry is down is told so, once for each time it asks. What it was told before is said again as it was. */
  #tellOutage({ sandbox, work, host }: Job): void {
    const known = this.#results.get(sandbox.metadata.uid)?.get(workKey(work));
    if (known?.outcome === 'Unavailable' && this.#options.clock.monotonic() - known.at < answerMs) return;
    const message = `The registry ${host} gave no answer lately. It is asked again soon.`;
    this.#tell(sandbox, work, known?.outcome === 'Unavailable' ? known : failedOutcome(work, new Error(message)));
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
    if (this.#busy.lanes[lane] >= lanes[lane]) return false;
    // A quick question shows that the registry answers again: it does not wait for what may take an hour.
    return !(this.#outages.has(host) && this.#busy.hosts[lane === 'Quick' ? 'quick' : 'other'].has(host));
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
    const lane = laneOf(work);
    this.#busy.lanes[lane] += by;
    const hosts = this.#busy.hosts[lane === 'Quick' ? 'quick' : 'other'];
    const left = (hosts.get(host) ?? 0) + by;
    if (left === 0) hosts.delete(host);
    else hosts.set(host, left);
  }

  async #do(job: Job): Promise<void> {
    const { id, sandbox, work, host } = job;
    const { clock, log } = this.#options;
    const began = clock.monotonic();
    const [done, failure] = await this.#carryOut(sandbox, work).then(
      (found) => [found, undefined] as const,
      (error: unknown) => [undefined, { error }] as const,
    );
    const isWanted = this.#jobs.get(id) === job;
    if (isWanted) this.#jobs.delete(id);
    if (this.#stop.signal.aborted) return;
    const outcome = failure === undefined ? doneOutcome(work, done.sizeBytes) : failedOutcome(work, failure.error);
    if (outcome.outcome === 'Unsupported' && work.kind === 'Delete') this.#remembers(host, outcome.message);
    if (failure !== undefined && isRegistryDown(failure.error)) this.#isDown(host, outcome.message);
    else if (failure === undefined || failure.error instanceof RegistryError) this.#outages.delete(host);
    const kind = work.kind === 'Verify' ? `Verify${work.depth}` : work.kind;
    this.#outcomes.inc({ kind, outcome: outcome.outcome });
    this.#duration.observe((clock.monotonic() - began) / 1000, { kind });
    log.info({ sandbox: keyOf(sandbox), kind, subject: subjectOf(work), ...outcome }, 'Registry work done');
    if (isWanted) this.#tell(sandbox, work, outcome);
  }

  async #carryOut(sandbox: Sandbox, work: RegistryWork): Promise<{ readonly sizeBytes: number }> {
    const { registry, credentialsOf } = this.#options;
    const repository = parseRepository(work.repository);
    if (repository === undefined) throw new RegistryError('Unsupported', `"${work.repository}" names no repository: write host/path.`);
    const credential = backupCredential(work.repository, await credentialsOf(sandbox), registry.credentials());
    const access = { credential, signal: this.#stop.signal };
    switch (work.kind) {
      case 'Sweep':
        await registry.client.sweep(repository, work.tagPrefix, { ...access, annotations: { [LABELS.uid]: sandbox.metadata.uid } });
        return { sizeBytes: 0 };
      case 'Delete':
        await registry.client.delete(repository, work.digest, access);
        FAILPOINT: failpoint('registry.deleted');
        return { sizeBytes: 0 };
      case 'Verify': {
        const annotations = annotationsOf(sandbox, work);
        const manifest = await registry.client.verify(repository, work.digest, work.depth, { ...access, annotations });
        FAILPOINT: failpoint('registry.verified');
        return { sizeBytes: sizeOfBlobs(work.digest, manifest) };
      }
    }
  }

  #isDown(host: string, message: string): void {
    const { clock, random, log } = this.#options;
    const failures = (this.#outages.get(host)?.failures ?? 0) + 1;
    const wait = backoffDelay(registryBackoff, failures, random);
    this.#outages.set(host, { failures, until: clock.monotonic() + wait });
    log.warn({ registry: host, failures, waitMs: Math.round(wait), reason: message }, 'Registry gives no answer');
    if (failures < toldFailures) return;
    for (const job of this.#jobs.values()) if (job.host === host && !job.isRunning && laneOf(job.work) === 'Quick') this.#tellOutage(job);
  }

  /** Said once, and not asked of it again for every backup of every sandbox. */
  #remembers(host: string, message: string): void {
    const { clock, log } = this.#options;
    const now = clock.monotonic();
    if ((this.#removesNothing.get(host) ?? 0) <= now) log.warn({ registry: host, reason: message }, 'Registry removes no backups');
    this.#removesNothing.set(host, now + unsupportedMs);
  }

  /** The newest result counts; of too many the oldest goes. */
  #tell(sandbox: Sandbox, work: RegistryWork, { outcome, sizeBytes, message }: WorkOutcome): void {
    const { uid } = sandbox.metadata;
    const results = this.#results.get(uid) ?? new Map<string, RegistryResult>();
    const key = workKey(work);
    const isDone = outcome === 'Whole' || outcome === 'Deleted';
    const failures = isDone ? 0 : (results.get(key)?.failures ?? 0) + 1;
    results.delete(key);
    results.set(key, { work, at: this.#options.clock.monotonic(), failures, outcome, sizeBytes, message });
    const [oldest] = results.keys();
    if (results.size > maxPerSandbox && oldest !== undefined) results.delete(oldest);
    this.#results.set(uid, results);
    this.#options.done(keyOf(sandbox));
  }
}
