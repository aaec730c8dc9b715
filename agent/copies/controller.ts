import { subtract } from '../../crds/resources.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics } from '../../process/metrics.ts';
import type { Metrics } from '../../process/metrics.ts';
import { BackupTurns } from '../backup/turns.client.ts';
import type { Journal } from '../journal/journal.ts';
import type { CopyReport, Order, Preparation, Refusal, RunnerReport, Unclaimed } from '../proto/gen/berth/agent/v1/agent.ts';
import type { TaskCapacity } from '../proto/gen/berth/agent/v1/tasks.ts';
import { allocated, misfit } from './capacity.ts';
import type { Share } from './capacity.ts';
import { Convergence } from './convergence/controller.ts';
import type { ConvergenceHost } from './convergence/controller.ts';
import { readOrder, readPreparation } from './order.ts';
import { abandoned, claimed, heard, isSame, nextAbandoned, type UnclaimedWatch } from './unclaimed.ts';
import { amountsMessage, isSameReport, isSameRunner } from './inventory.ts';
import type { ResourceAmounts } from '../../crds/index.ts';
import type { CopyKey, CopyRuntime, RuntimeCopy, RuntimeEvent } from './runtime.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';

/**
 * Who is told of every change: each stream to an operator, and the Runner's status. Must not block and must not throw. `tick` rises with
 * everything that is told.
 */
export interface ReportSink {
  copyChanged(report: CopyReport, tick: number): void;
  runnerChanged(report: RunnerReport, tick: number): void;
  /** The runtime's events were interrupted and everything was listed anew. */
  relisted(): void;
}

export interface CopyControllerOptions {
  readonly runtime: CopyRuntime;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly storeID: string;
  readonly bootID: string;
  /** What the machine has, for sandboxes and task slots. */
  readonly capacity: ResourceAmounts;
  /** What of it is set aside for task slots. */
  readonly reserved: ResourceAmounts;
  /** Everything is listed anew so often, since events may be lost. Default 30,000 ms. */
  readonly relistMs?: number;
  /** How many backups are made at once. Default 2. */
  readonly backupsAtOnce?: number;
  /** How long nobody must claim a copy before it is stopped. Default 600,000 ms. */
  readonly unclaimedMs?: number;
  /** Nothing may be done any more (the journal failed): the process must end. */
  readonly onFailed: (error: unknown) => void;
}

/** All there is at one moment. */
export interface CopyInventory {
  readonly copies: readonly CopyReport[];
  readonly runner: RunnerReport;
  /** Of the last change that is in it. */
  readonly tick: number;
  /** The copies that nobody claims, as the leader said last; undefined while it has said nothing. */
  readonly unclaimed: readonly CopyKey[] | undefined;
}

const mostImages = 500;
const imagesMs = 1000;

/**
 * The copies of a runner: takes orders from any operator, keeps them durably, brings the runtime to what they want, and tells all sinks.
 * The authority on the runner's capacity.
 */
export class CopyController {
  readonly #options: CopyControllerOptions;
  readonly #host: ConvergenceHost;
  readonly #convergences = new Map<string, Convergence>();
  readonly #published = new Map<string, CopyReport>();
  readonly #sinks = new Set<ReportSink>();
  readonly #ended = new AbortController();
  readonly #metrics: CopyMetrics;
  #reserved: ResourceAmounts;
  #tasks: TaskCapacity | undefined;
  #runner: RunnerReport;
  #images: readonly string[] = [];
  #imagesTimer: Timer | undefined;
  /** Set while many copies may change in one turn: the runner is told once, at its end. */
  #isObserving = false;
  #tick = 0;
  #told = 0;
  /** The list that has not begun yet, and the one that is under way. */
  #nextList: Promise<void> | undefined;
  #listing: Promise<void> | undefined;
  #relistTimer: Timer | undefined;
  #unclaimed: UnclaimedWatch | undefined;
  #unclaimedTimer: Timer | undefined;

  constructor(options: CopyControllerOptions) {
    this.#options = options;
    this.#reserved = options.reserved;
    this.#metrics = copyMetrics(options.metrics ?? noMetrics);
    this.#runner = this.#runnerReport();
    this.#host = {
      ...options,
      turns: new BackupTurns(options.backupsAtOnce ?? 2),
      tick: () => ++this.#tick,
      relist: () => this.#relist(),
      misfit: (key, requests) => misfit(subtract(options.capacity, this.#reserved), this.#sharesExcept(key), requests),
      publish: (report, again) => this.#publish(report, again),
      imagesChanged: () => this.#refreshImagesSoon(),
      backupEnded: (result, ms, bytes) => {
        this.#metrics.backups.inc({ result });
        if (result !== 'Done') return;
        this.#metrics.backupSeconds.observe(ms / 1000);
        this.#metrics.backupBytes.inc({}, bytes);
      },
      failed: (error) => this.#fail(error),
    };
  }

  /**
   * Adopts what is there: lists the runtime, holds it against the journal and goes on with what was ordered. Orders may be delivered
   * once it has resolved. Rejects when the runtime cannot be listed.
   */
  async start(): Promise<void> {
    const { runtime, journal } = this.#options;
    const [copies] = await Promise.all([runtime.list(), this.#refreshImages()]);
    for (const uid of journal.state().sandboxes.keys()) this.#convergence(uid);
    this.#observe(copies, ++this.#tick);
    runtime.subscribe((event) => this.#happened(event), this.#ended.signal);
    this.#relistLater();
  }

  /** Does nothing more. What runs goes on. */
  stop(): void {
    this.#ended.abort(new Error('the agent ends'));
    this.#relistTimer?.cancel();
    this.#imagesTimer?.cancel();
    this.#unclaimedTimer?.cancel();
    for (const convergence of this.#convergences.values()) convergence.end();
  }

  /** Takes an order from whichever operator. What is returned goes to the one who sent it, everything else to all sinks. */
  deliver(message: Order): Refusal | undefined {
    if (this.#ended.signal.aborted) return undefined;
    const order = readOrder(message);
    const { uid, epoch, order: number } = message;
    if (typeof order === 'string') {
      const highestOrder = this.#options.journal.state().sandboxes.get(uid)?.order ?? 0;
      this.#options.log.warn({ uid, epoch, order: number, because: order }, 'An order cannot be understood');
      return { uid, epoch, order: number, code: 'Malformed', message: `The order cannot be understood: ${order}.`, highestOrder };
    }
    this.#options.log.debug({ uid, epoch, order: number, wanted: order.wish.wanted }, 'Order received');
    const refusal = this.#convergence(uid).deliver(order);
    if (refusal === undefined) this.#claimed(order.key);
    this.#metrics.orders.inc({ wanted: order.wish.wanted, answer: refusal?.code ?? 'Taken' });
    if (refusal !== undefined) this.#options.log.info({ uid, epoch, order: number, code: refusal.code }, 'An order was refused');
    return refusal;
  }

  /** Makes ready what an order will want in a moment. Nobody is answered. */
  prepareAhead(message: Preparation): void {
    if (this.#ended.signal.aborted) return;
    const preparation = readPreparation(message);
    const { uid, epoch } = message;
    this.#options.log.debug({ uid, epoch }, 'Preparation received');
    const because = typeof preparation === 'string' ? preparation : this.#convergence(uid).prepareAhead(preparation);
    if (because !== undefined) this.#options.log.debug({ uid, epoch, because }, 'A preparation is left out');
  }

  /** The leader says which copies nobody claims. It says so again and again; silence makes nothing unclaimed. */
  unclaimed({ storeId, copies, validSeconds }: Unclaimed): void {
    if (this.#ended.signal.aborted || storeId !== this.#options.storeID) return;
    const { clock } = this.#options;
    const before = this.#unclaimed;
    this.#unclaimed = heard(before, copies, validSeconds * 1000, clock.monotonic());
    this.#lookAtUnclaimed();
    if (isSameList(before?.copies, this.#unclaimed.copies)) return;
    for (const { uid, epoch } of this.#unclaimed.copies) {
      if (before?.copies.some((one) => isSame(one, { uid, epoch })) !== true) {
        this.#options.log.warn({ uid, epoch }, 'Nobody claims a copy: it is kept, and stopped if that lasts');
      }
    }
    this.#told++;
    for (const sink of this.#sinks) sink.runnerChanged(this.#runner, this.#told);
  }

  /** Calls `sink` for every change from now on. Returns the unsubscriber. */
  attach(sink: ReportSink): () => void {
    this.#sinks.add(sink);
    return () => this.#sinks.delete(sink);
  }

  /** Everything as it was told last. */
  inventory(): CopyInventory {
    const named = [...this.#convergences].flatMap(([uid, convergence]) => convergence.inventory().map((epoch) => textOf({ uid, epoch })));
    return {
      copies: named.map((key) => this.#published.get(key)).filter((report) => report !== undefined),
      runner: this.#runner,
      tick: this.#told,
      unclaimed: this.#unclaimed?.copies,
    };
  }

  /** What is set aside for task slots from now on. What does not fit any more stays. */
  setReserved(reserved: ResourceAmounts): void {
    this.#reserved = reserved;
  }

  /** What there is of task slots from now on: told to all sinks. */
  setTasks(capacity: TaskCapacity): void {
    this.#tasks = capacity;
    this.#tellRunner();
  }

  #convergence(uid: string): Convergence {
    const known = this.#convergences.get(uid);
    if (known !== undefined) return known;
    const convergence = new Convergence(uid, this.#host);
    this.#convergences.set(uid, convergence);
    return convergence;
  }

  #claimed(key: CopyKey): void {
    if (this.#unclaimed?.copies.some((one) => isSame(one, key)) !== true) return;
    this.#unclaimed = claimed(this.#unclaimed, key);
    this.#lookAtUnclaimed();
  }

  #lookAtUnclaimed(): void {
    const { clock, log, unclaimedMs = 600_000 } = this.#options;
    const watch = this.#unclaimed;
    this.#unclaimedTimer?.cancel();
    if (watch === undefined) return;
    const now = clock.monotonic();
    const long = Map.groupBy(abandoned(watch, now, unclaimedMs), ({ uid }) => uid);
    for (const [uid, convergence] of this.#convergences) {
      const epochs = new Set((long.get(uid) ?? []).map(({ epoch }) => epoch));
      if (convergence.abandon(epochs)) log.warn({ uid, epochs: [...epochs] }, 'What runs of the copies that nobody claims is stopped');
    }
    const next = nextAbandoned(watch, now, unclaimedMs);
    this.#unclaimedTimer = next === undefined ? undefined : clock.after(next, () => this.#lookAtUnclaimed());
  }

  #sharesExcept({ uid, epoch }: CopyKey): readonly Share[] {
    return [...this.#convergences].flatMap(([other, convergence]) => convergence.shares(other === uid ? epoch : undefined));
  }

  #publish(report: CopyReport, again: boolean): void {
    const key = textOf(report);
    const before = this.#published.get(key);
    const isAbsent = report.state === CopyState.COPY_STATE_ABSENT;
    const isNew = before === undefined ? !isAbsent : !isSameReport(before, report);
    if (isAbsent) this.#published.delete(key);
    else this.#published.set(key, report);
    if (isNew && report.state === CopyState.COPY_STATE_REJECTED) this.#metrics.rejections.inc({ reason: report.reason });
    if (again || isNew) {
      this.#told++;
      for (const sink of this.#sinks) sink.copyChanged(report, this.#told);
    }
    this.#tellRunner();
  }

  #tellRunner(): void {
    if (this.#isObserving) return;
    const report = this.#runnerReport();
    if (isSameRunner(this.#runner, report)) return;
    this.#runner = report;
    this.#metrics.running.set(report.startedSandboxes);
    this.#told++;
    for (const sink of this.#sinks) sink.runnerChanged(report, this.#told);
  }

  #runnerReport(): RunnerReport {
    const convergences = [...this.#convergences.values()];
    return {
      capacity: amountsMessage(this.#options.capacity),
      allocated: amountsMessage(allocated(convergences.flatMap((convergence) => convergence.shares()))),
      startedSandboxes: convergences.reduce((sum, { running }) => sum + running, 0),
      images: [...this.#images],
      tasks: this.#tasks,
    };
  }

  #happened(event: RuntimeEvent): void {
    if (event.kind === 'Resubscribed') {
      this.#relist().then(
        () => {
          for (const sink of this.#sinks) sink.relisted();
        },
        (err: unknown) => this.#options.log.warn({ err }, 'The runtime could not be listed'),
      );
      return;
    }
    if (event.kind === 'ImagesChanged') {
      this.#refreshImagesSoon();
      return;
    }
    if (event.kind === 'DiskLimitExceeded') {
      const { key, usedBytes, limitBytes } = event;
      this.#options.log.warn({ ...key, usedBytes, limitBytes }, 'A sandbox has written more than its disk limit and is stopped');
      this.#convergence(key.uid).overrun(key.epoch);
      return;
    }
    this.#convergence(event.key.uid).startle(event.key.epoch, event.kind === 'Exited' ? event.exit : undefined);
  }

  /** A list that begins after this call; calls that wait for one share it. */
  #relist(): Promise<void> {
    if (this.#nextList !== undefined) return this.#nextList;
    const list = async () => {
      await this.#listing?.catch(() => undefined);
      this.#nextList = undefined;
      this.#listing = this.#list();
      await this.#listing;
    };
    this.#nextList = list();
    return this.#nextList;
  }

  async #list(): Promise<void> {
    const tick = ++this.#tick;
    const copies = await this.#options.runtime.list();
    if (!this.#ended.signal.aborted) this.#observe(copies, tick);
  }

  #observe(copies: readonly RuntimeCopy[], tick: number): void {
    const byUid = Map.groupBy(copies, ({ key }) => key.uid);
    for (const uid of byUid.keys()) this.#convergence(uid);
    this.#isObserving = true;
    try {
      for (const [uid, convergence] of this.#convergences) convergence.observe(byUid.get(uid) ?? [], tick);
    } finally {
      this.#isObserving = false;
    }
    this.#tellRunner();
  }

  #relistLater(): void {
    this.#relistTimer = this.#options.clock.after(this.#options.relistMs ?? 30_000, () => {
      this.#forgetIdle();
      this.#relist()
        .catch((err: unknown) => this.#options.log.warn({ err }, 'The runtime could not be listed'))
        .finally(() => {
          if (!this.#ended.signal.aborted) this.#relistLater();
        });
    });
  }

  /** Of a sandbox that has nothing here the journal alone is enough. */
  #forgetIdle(): void {
    for (const [uid, convergence] of this.#convergences) {
      if (convergence.inventory().length === 0 && convergence.isIdle) this.#convergences.delete(uid);
    }
  }

  #refreshImagesSoon(): void {
    this.#imagesTimer ??= this.#options.clock.after(imagesMs, () => {
      this.#imagesTimer = undefined;
      this.#refreshImages().catch((err: unknown) => this.#options.log.warn({ err }, 'The images could not be listed'));
    });
  }

  async #refreshImages(): Promise<void> {
    this.#images = (await this.#options.runtime.images()).toSorted().slice(0, mostImages);
    this.#tellRunner();
  }

  #fail(error: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.stop();
    this.#options.onFailed(error);
  }
}

function isSameList(a: readonly CopyKey[] | undefined, b: readonly CopyKey[]): boolean {
  return a?.length === b.length && a.every((one) => b.some((other) => isSame(one, other)));
}

type CopyMetrics = ReturnType<typeof copyMetrics>;

function copyMetrics(metrics: Metrics) {
  return {
    orders: metrics.counter({
      name: 'berth_agent_orders_total',
      help: 'Orders delivered, by what they want and whether they were taken or why they were refused.',
      labels: ['wanted', 'answer'],
    }),
    rejections: metrics.counter({
      name: 'berth_agent_rejections_total',
      help: 'Orders that will never be carried out here, by reason.',
      labels: ['reason'],
    }),
    backups: metrics.counter({
      name: 'berth_agent_backups_total',
      help: 'Backups that are over: done, failed, or given up because no order asked for them any more.',
      labels: ['result'],
    }),
    backupSeconds: metrics.histogram({
      name: 'berth_agent_backup_duration_seconds',
      help: 'From the begin of reading the files until the registry has the backup.',
      buckets: [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000],
    }),
    backupBytes: metrics.counter({ name: 'berth_agent_backup_bytes_total', help: 'Size of the backups that the registry has taken.' }),
    running: metrics.gauge({ name: 'berth_agent_started_sandboxes', help: 'Sandboxes that run on this runner.' }),
  };
}

function textOf({ uid, epoch }: CopyKey): string {
  return `${uid}/${epoch}`;
}
