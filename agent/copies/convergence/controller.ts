import { backoffDelay } from '../../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../../process/clock.ts';
import { messageOf } from '../../../process/errors.ts';
import type { Logger } from '../../../process/log.ts';
import { type BackupResult, OngoingBackup } from '../../backup/controller.ts';
import type { BackupTurns } from '../../backup/turns.client.ts';
import { failpoint } from '../../failpoints.ts';
import type { Journal } from '../../journal/journal.ts';
import type { SandboxRecord } from '../../journal/record.ts';
import type { CopyReport, Refusal } from '../../proto/gen/berth/agent/v1/agent.ts';
import { admitOrder, diskFull } from '../admit-order.ts';
import { refusePreparation } from '../admit-preparation.ts';
import type { Share } from '../capacity.ts';
import { copyStep, nextStep } from '../next-step.ts';
import type { Step } from '../next-step.ts';
import { noteFor, noteText } from '../note.ts';
import type { BackupWish, CopyOrder, CopyPreparation } from '../order.ts';
import { acceptedRecord, preparingRecord, refusalOf, rejectedRecord } from '../records.ts';
import { isInInventory, reportOf } from '../report.ts';
import type { ResourceAmounts } from '../../../crds/index.ts';
import type { CopyKey, CopyNote, CopyRuntime, ExitStatus, RuntimeCopy } from '../runtime.ts';
import { shareOf } from '../share.ts';
import { isAlive } from '../view.ts';
import { passingMs, StepActor } from './act.ts';
import { SandboxMemory } from './gather.ts';
import type { Copy } from './gather.ts';

/** What the convergence of one sandbox needs of the agent around it. */
export interface ConvergenceHost {
  readonly runtime: CopyRuntime;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly storeID: string;
  readonly bootID: string;
  /** Of the backups of the runner. */
  readonly turns: BackupTurns;
  /** Rises with every effect and every list: what began before an effect ended knows nothing of it. */
  tick(): number;
  /** Lists the runtime anew; `observe` is called before it resolves. */
  relist(): Promise<void>;
  /** Why these requests do not fit beside everything else than `key`, in a sentence. */
  misfit(key: CopyKey, requests: ResourceAmounts): string | undefined;
  /** What is durable of a copy; `again` when somebody asked, so that it is told even if it is not new. */
  publish(report: CopyReport, again: boolean): void;
  /** An image may have come or gone. */
  imagesChanged(): void;
  backupEnded(result: BackupResult, ms: number, bytes: number): void;
  /** Nothing may be done any more: the journal failed, or the code did what it must not. */
  failed(error: unknown): void;
}

/** The note is a second witness beside the journal: what it tells of is told first. */
const noteMs = 25;
const listBackoff = { initialMs: 200, maxMs: 10_000, jitter: 0.5 };

/**
 * Brings the copies of one sandbox to what its newest order wants, one step at a time. `nextStep` decides, a StepActor does it; what is told
 * is durable. A newer order interrupts waiting and preparing, never a half-done effect.
 */
export class Convergence {
  readonly #host: ConvergenceHost;
  readonly #memory: SandboxMemory;
  readonly #actor: StepActor;
  readonly #untold = new Set<Copy>();
  #isRunning = false;
  #isWokenAgain = false;
  #hasEnded = false;
  #lastEffect = 0;
  #needsList = false;
  #listFailures = 0;
  #listRetry: Timer | undefined;
  #noteTimer: Timer | undefined;
  #isNoteDue = false;
  #pending = 0;
  #durable: Promise<void> = Promise.resolve();

  constructor(uid: string, host: ConvergenceHost) {
    this.#host = host;
    this.#memory = new SandboxMemory({ uid, bootID: host.bootID, entry: () => host.journal.state().sandboxes.get(uid) });
    this.#actor = new StepActor({
      memory: this.#memory,
      runtime: host.runtime,
      clock: host.clock,
      random: host.random,
      log: host.log,
      append: (...records) => this.#append(records),
      durable: () => (this.#pending === 0 ? undefined : this.#durable),
      tell: (copy) => this.#tell(copy),
      tellSoon: (copy, ms) => this.#tellSoon(copy, ms),
      effectEnded: () => {
        this.#lastEffect = host.tick();
      },
      listFirst: () => {
        this.#needsList = true;
      },
      wake: () => this.wake(),
      imagesChanged: () => host.imagesChanged(),
    });
  }

  /** Takes an order on, or says why not. What came of it is told to all. */
  deliver(order: CopyOrder): Refusal | undefined {
    const { storeID, bootID, clock } = this.#host;
    const { entry } = this.#memory;
    const misfit = 'attempt' in order.wish ? this.#host.misfit(order.key, order.wish.attempt.config.requests) : undefined;
    const admission = admitOrder(order, { storeID, bootID, sandbox: entry, misfit, isDiskFull: this.#host.journal.isFull() });
    if (admission.kind === 'Refuse') return refusalOf(order, admission, entry?.order ?? 0);
    const copy = this.#memory.copy(order.key.epoch);
    if (admission.kind === 'Reject') this.#append([rejectedRecord(order, admission, clock.now())]);
    if (admission.kind === 'Accept') this.#append([acceptedRecord(order, clock.now())]);
    FAILPOINT: failpoint('order.accepted');
    if (admission.kind !== 'Repeat') this.#orderBackup(copy, admission.kind === 'Reject' ? undefined : order.backup);
    if (admission.kind === 'Accept' || admission.kind === 'Resume') {
      copy.wish = 'attempt' in order.wish ? order.wish.attempt : undefined;
      if (admission.kind === 'Accept') copy.dropAhead();
    }
    copy.isAsked = true;
    copy.isAbandoned = false;
    if (admission.kind !== 'Repeat') this.#wantedChanged(copy);
    if (this.#actor.busyWith === copy) this.#tellSoon(copy, passingMs);
    else this.#tell(copy);
    return undefined;
  }

  /** The newest order names a backup of this copy, or none: any other one is given up. */
  #orderBackup(copy: Copy, wish: BackupWish | undefined): void {
    for (const one of this.#memory.copies) {
      if (one === copy && wish !== undefined && one.backup?.renew(wish) === true) continue;
      one.backup?.cancel();
      one.backup = undefined;
      if (one === copy && wish !== undefined) copy.backup = this.#backup(copy, wish);
    }
  }

  #backup(copy: Copy, wish: BackupWish): OngoingBackup {
    return new OngoingBackup({
      ...this.#host,
      ...{ key: { uid: this.#memory.uid, epoch: copy.epoch }, wish },
      tell: () => this.#tell(copy),
      tellSoon: (ms) => this.#tellSoon(copy, ms),
      wake: () => this.wake(),
      ended: (result, ms, bytes) => this.#host.backupEnded(result, ms, bytes),
    });
  }

  /** Makes an attempt ahead of its order, or says why not. */
  prepareAhead(preparation: CopyPreparation): string | undefined {
    const { storeID, bootID, clock } = this.#host;
    const { key, attempt } = preparation;
    const misfit = this.#host.journal.isFull() ? diskFull : this.#host.misfit(key, attempt.config.requests);
    const refused = refusePreparation(preparation, { storeID, bootID, sandbox: this.#memory.entry, misfit });
    if (refused !== undefined) return refused;
    const copy = this.#memory.copy(key.epoch);
    copy.dropAhead();
    const expiry = clock.after(preparation.ttlSeconds * 1000, () => {
      copy.ahead = undefined;
      this.#wantedChanged();
    });
    copy.ahead = { wish: attempt, expiry };
    this.#append([preparingRecord(preparation, clock.now())]);
    this.#wantedChanged();
    return undefined;
  }

  /** A copy that runs has written more than its disk limit: its process is ended. */
  overrun(epoch: number): void {
    const copy = this.#memory.copy(epoch);
    if (copy.hasOverrun || !isAlive(copy)) return;
    copy.hasOverrun = true;
    this.wake();
  }

  /** Exactly these epochs have been claimed by nobody for a long time. True when some are, and were not before. */
  abandon(epochs: ReadonlySet<number>): boolean {
    const changed = [...this.#memory.copies].filter((copy) => copy.isAbandoned !== epochs.has(copy.epoch));
    if (changed.length === 0) return false;
    for (const copy of changed) copy.isAbandoned = epochs.has(copy.epoch);
    this.#wantedChanged();
    return epochs.size > 0;
  }

  /** What a list of the runtime that began at `tick` has of this sandbox. Left out when an effect has been at work since. */
  observe(seen: readonly RuntimeCopy[], tick: number): void {
    if (this.#actor.busyWith !== undefined || this.#lastEffect > tick) return;
    for (const { key } of seen) this.#memory.copy(key.epoch);
    for (const copy of this.#memory.copies) {
      copy.observed = seen.find(({ key }) => key.epoch === copy.epoch);
      if (copy.observed !== undefined) copy.isRemoved = false;
      this.#tell(copy);
    }
    this.wake();
  }

  /** Something happened to a copy: the runtime is asked what it is. */
  startle(epoch: number, exit: ExitStatus | undefined): void {
    const copy = this.#memory.copy(epoch);
    copy.exitHint = exit ?? copy.exitHint;
    if (this.#actor.busyWith === copy) return;
    this.#needsList = true;
    this.wake();
  }

  /** What its copies take of the runner, but for `except`. */
  shares(except?: number): readonly Share[] {
    const view = this.#memory.view();
    return view.copies.filter(({ epoch }) => epoch !== except).map((copy) => shareOf(view, copy));
  }

  /** The epochs that a full inventory names. */
  inventory(): readonly number[] {
    const view = this.#memory.view();
    return view.copies.filter((copy) => isInInventory(view, copy)).map(({ epoch }) => epoch);
  }

  /** Processes that run. */
  get running(): number {
    return [...this.#memory.copies].filter(isAlive).length;
  }

  /** Nothing lies there and nothing is under way: it can be made again from the journal. */
  get isIdle(): boolean {
    if (this.#isRunning || this.#pending > 0 || this.#needsList) return false;
    const isQuiet = [...this.#memory.copies].every(
      ({ observed, wish, ahead, soon, retry, backup }) => !(observed ?? wish ?? ahead ?? soon ?? retry ?? backup),
    );
    return isQuiet && nextStep(this.#memory.view()).kind === 'Rest';
  }

  /** Goes on with what is to be done, if anything is. */
  wake(): void {
    if (this.#hasEnded) return;
    if (this.#isRunning) {
      this.#isWokenAgain = true;
      return;
    }
    this.#isRunning = true;
    this.#converge().then(
      () => {
        this.#isRunning = false;
        if (this.#isWokenAgain) this.wake();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** Ends what may be interrupted and does nothing more. */
  end(): void {
    this.#hasEnded = true;
    this.#listRetry?.cancel();
    this.#noteTimer?.cancel();
    for (const copy of this.#memory.copies) {
      copy.cancelTimers();
      copy.backup?.end();
    }
    this.#actor.end();
  }

  #fail(error: unknown): void {
    this.end();
    this.#host.failed(error);
  }

  #append(records: readonly SandboxRecord[]): void {
    this.#pending++;
    this.#durable = this.#host.journal.append(records).then(
      () => {
        this.#pending--;
        if (this.#pending === 0) this.#flush();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** Tells what is known of the copy as soon as all that it rests on is durable. */
  #tell(copy: Copy): void {
    copy.soon?.cancel();
    copy.soon = undefined;
    this.#untold.add(copy);
    if (this.#pending === 0) this.#flush();
  }

  #tellSoon(copy: Copy, ms: number): void {
    copy.soon ??= this.#host.clock.after(ms, () => this.#tell(copy));
  }

  #flush(): void {
    if (this.#hasEnded || this.#untold.size === 0) return;
    const view = this.#memory.view();
    const untold = [...this.#untold];
    this.#untold.clear();
    for (const copy of untold) {
      const seen = view.copies.find(({ epoch }) => epoch === copy.epoch);
      if (seen === undefined || (seen.entry === undefined && seen.observed === undefined)) continue;
      const again = copy.isAsked;
      copy.isAsked = false;
      this.#host.publish(reportOf(view, seen, copy.activity, copy.trouble), again);
      FAILPOINT: failpoint('copy.told');
    }
  }

  /** Nobody waits any longer, and what is under way is asked whether it is still right. */
  #wantedChanged(except?: Copy): void {
    for (const copy of this.#memory.copies) {
      copy.tryAgain();
      copy.trouble = undefined;
    }
    this.#actor.reconsider();
    for (const copy of this.#memory.copies) if (copy !== except) this.#tell(copy);
    this.wake();
  }

  async #converge(): Promise<void> {
    while (!this.#hasEnded) {
      this.#isWokenAgain = false;
      if (this.#needsList) {
        if (this.#listRetry !== undefined || !(await this.#list())) return;
        continue;
      }
      const step = nextStep(this.#memory.view());
      this.#keepTurns(step);
      if (step.kind === 'Rest' || step.kind === 'AwaitOrder' || step.kind === 'AwaitTurn') {
        this.#settle();
        if (!this.#isNoteDue || !(await this.#annotate())) {
          this.#annotateLater();
          return;
        }
      } else await this.#actor.take(step);
    }
  }

  /** A place among the backups of the runner is asked for when one could be read, and not kept while something else is done. */
  #keepTurns(step: Step): void {
    for (const { backup, epoch } of this.#memory.copies) {
      const isNext = (step.kind === 'AwaitTurn' || step.kind === 'ReadBackup') && step.epoch === epoch;
      if (isNext) backup?.awaitTurn();
      else backup?.leaveTurn();
    }
  }

  /** What was in trouble and has come right by itself. */
  #settle(): void {
    const view = this.#memory.view();
    for (const copy of this.#memory.copies) {
      if (copy.trouble === undefined || copyStep(view, this.#memory.viewOf(copy)).kind !== 'Rest') continue;
      copy.tryAgain();
      copy.trouble = undefined;
      this.#tell(copy);
    }
  }

  async #list(): Promise<boolean> {
    const { clock, random, log } = this.#host;
    this.#needsList = false;
    try {
      await this.#host.relist();
      this.#listFailures = 0;
      return true;
    } catch (err) {
      this.#needsList = true;
      this.#listFailures++;
      log.warn({ uid: this.#memory.uid, err, failures: this.#listFailures, said: messageOf(err) }, 'The runtime could not be listed');
      this.#listRetry = clock.after(backoffDelay(listBackoff, this.#listFailures, random), () => {
        this.#listRetry = undefined;
        this.wake();
      });
      return false;
    }
  }

  /** Orders that follow each other quickly are noted once. */
  #annotateLater(): void {
    this.#isNoteDue = false;
    if (this.#noteTimer !== undefined || this.#nextNote() === undefined) return;
    this.#noteTimer = this.#host.clock.after(noteMs, () => {
      this.#noteTimer = undefined;
      this.#isNoteDue = true;
      this.wake();
    });
  }

  #nextNote(): { readonly copy: Copy; readonly note: CopyNote } | undefined {
    for (const copy of this.#memory.copies) {
      const note = noteFor(this.#memory.viewOf(copy));
      if (note !== undefined && copy.noted !== noteText(note)) return { copy, note };
    }
    return undefined;
  }

  /** Puts order and contentVersion on one container that does not have them; false when there is none. A failure costs only the note. */
  async #annotate(): Promise<boolean> {
    const { runtime, log } = this.#host;
    const { uid } = this.#memory;
    const next = this.#nextNote();
    if (next === undefined) return false;
    const { copy, note } = next;
    copy.noted = noteText(note);
    try {
      await runtime.annotate({ uid, epoch: copy.epoch }, note);
      FAILPOINT: failpoint('copy.annotated');
      if (copy.observed !== undefined) copy.observed = { ...copy.observed, note };
    } catch (err) {
      log.debug({ uid, epoch: copy.epoch, err }, 'A container could not be annotated');
    }
    return true;
  }
}
