import { backoffDelay } from '../../../process/backoff.ts';
import type { Clock, Random } from '../../../process/clock.ts';
import { messageOf } from '../../../process/errors.ts';
import type { Logger } from '../../../process/log.ts';
import { failpoint } from '../../failpoints.ts';
import type { SandboxRecord } from '../../journal/record.ts';
import { AttemptError } from '../attempt-error.ts';
import { copyStep, nextStep } from '../next-step.ts';
import type { Step } from '../next-step.ts';
import { rejectionFor } from '../records.ts';
import type { CopyKey, CopyRuntime, ExitStatus, PrepareProgress, RuntimeCopy } from '../runtime.ts';
import { hasNotRun, taskOf } from '../view.ts';
import type { Copy, SandboxMemory } from './gather.ts';

/** What the steps of one sandbox work on. */
export interface ActorHost {
  readonly memory: SandboxMemory;
  readonly runtime: CopyRuntime;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  append(...records: SandboxRecord[]): void;
  /** Resolves when everything appended is durable; at once, without a turn of the loop, undefined is returned when it is. */
  durable(): Promise<void> | undefined;
  tell(copy: Copy): void;
  /** Tells later, unless something else is told before. */
  tellSoon(copy: Copy, ms: number): void;
  /** From now on lists that began before know too little. */
  effectEnded(): void;
  /** The runtime must be listed before the next step. */
  listFirst(): void;
  wake(): void;
  imagesChanged(): void;
}

/** States that mostly pass at once are told when they have lasted so long: every report costs every operator a look. */
export const passingMs = 200;
const progressMs = 500;
const retryBackoff = { initialMs: 200, maxMs: 10_000, jitter: 0.5 };

type StepOf<Kind extends Step['kind']> = Extract<Step, { readonly kind: Kind }>;
type CopyStep = Exclude<Step, { readonly kind: 'Rest' | 'AwaitOrder' | 'AwaitTurn' }>;

/** Does the steps: an effect on the runtime, then what it changes in the records and in what is known. */
export class StepActor {
  readonly #host: ActorHost;
  #effect: { readonly copy: Copy; readonly step: Step; readonly abort: AbortController } | undefined;

  constructor(host: ActorHost) {
    this.#host = host;
  }

  /** The copy that an effect is at work on. */
  get busyWith(): Copy | undefined {
    return this.#effect?.copy;
  }

  /** Does one step. Never rejects for what the runtime does: what failed waits in the copy to be tried again. */
  async take(step: CopyStep): Promise<void> {
    const { memory } = this.#host;
    const { uid } = memory;
    const { epoch } = step;
    const copy = memory.copy(epoch);
    switch (step.kind) {
      case 'RecordExit':
        this.#record(copy, { kind: 'Exited', uid, epoch, contentVersion: step.contentVersion, exit: step.exit });
        return;
      case 'TakeBack':
        this.#takeBack(copy, step.contentVersion);
        return;
      case 'RecordAbsent':
        this.#record(copy, { kind: 'Absent', uid, epoch, timeMs: this.#host.clock.now() });
        return;
      case 'Forget':
        this.#record(copy, { kind: 'Forgotten', uid, epoch, next: step.next });
        return;
      case 'RecordStart':
        this.#host.append({ kind: 'Starting', uid, epoch, contentVersion: step.contentVersion });
        return;
      case 'Prepare':
        return this.#carryOut(copy, step, (signal) => this.#prepare(copy, step, signal));
      case 'Start':
        return this.#start(copy, step);
      case 'Stop':
        return this.#carryOut(copy, step, (signal) => this.#stop(copy, step, signal));
      case 'Remove':
        return this.#carryOut(copy, step, () => this.#remove(copy));
      case 'Resume':
        return this.#carryOut(copy, step, () => this.#resume(copy));
      case 'ReadBackup':
        return this.#carryOut(copy, step, (signal) => this.#readBackup(copy, signal));
      case 'FailBackup':
        copy.backup?.fail(step.reason, step.message);
        return;
    }
  }

  /** What is wanted has changed: records a start that has become certain, and ends what is not wanted any more and may be ended. */
  reconsider(): void {
    if (this.#effect === undefined) return;
    const { copy, step, abort } = this.#effect;
    this.#recordStartAhead(copy);
    const { memory } = this.#host;
    const now = copyStep(memory.view(), memory.viewOf(copy));
    const isGivenUp = step.kind === 'ReadBackup' && copy.backup?.isReading !== true;
    if (isGivenUp || isOutdated(step, now)) abort.abort(new Error('a newer order came'));
  }

  /** Ends what may be interrupted. */
  end(): void {
    const { kind } = this.#effect?.step ?? {};
    if (kind === 'Prepare' || kind === 'Stop' || kind === 'ReadBackup') this.#effect?.abort.abort(new Error('the agent ends'));
  }

  #key(copy: Copy): CopyKey {
    return { uid: this.#host.memory.uid, epoch: copy.epoch };
  }

  #record(copy: Copy, record: SandboxRecord): void {
    this.#host.append(record);
    this.#host.tell(copy);
  }

  #takeBack(copy: Copy, contentVersion: number): void {
    this.#record(copy, { kind: 'TakenBack', uid: this.#host.memory.uid, epoch: copy.epoch, contentVersion });
    this.#startWasNotAsked(copy);
  }

  /** The start that was recorded last counts no more: the one before it was asked for, or there is none. */
  #startWasNotAsked(copy: Copy): void {
    copy.askedVersion = this.#host.memory.viewOf(copy).entry?.started ?? 0;
  }

  async #carryOut(copy: Copy, step: CopyStep, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const abort = new AbortController();
    this.#effect = { copy, step, abort };
    const about = { uid: this.#host.memory.uid, epoch: copy.epoch, step: step.kind };
    this.#host.log.debug(about, 'Step begun');
    let isPassing = false;
    try {
      await work(abort.signal);
      copy.trouble = undefined;
      isPassing = step.kind === 'Prepare';
    } catch (error) {
      if (abort.signal.aborted) this.#host.listFirst();
      else this.#failed(copy, step, error);
    }
    this.#host.log.debug(about, 'Step ended');
    copy.activity = undefined;
    copy.isCreatingTask = false;
    this.#effect = undefined;
    this.#host.effectEnded();
    if (isPassing) this.#host.tellSoon(copy, passingMs);
    else this.#host.tell(copy);
  }

  async #prepare(copy: Copy, { wish }: StepOf<'Prepare'>, signal: AbortSignal): Promise<void> {
    const { memory, runtime } = this.#host;
    const { namespace = '', name = '' } = memory.entry ?? {};
    const [{ source, config, credentials, secretEnv }, key] = [wish, this.#key(copy)];
    copy.isRemoved = false;
    copy.activity = { kind: 'Preparing', progress: undefined };
    this.#host.tellSoon(copy, passingMs);
    const attempt = { key, namespace, name, source, config, credentials, secretEnv };
    const { baseDigest } = await runtime.prepare(attempt, (progress) => this.#progressed(copy, progress, signal), signal);
    const note = copy.observed?.note ?? { order: 0, contentVersion: 0 };
    copy.observed = {
      ...{ key, namespace, name, note, baseDigest },
      configHash: config.hash,
      requests: config.requests,
      hasContent: true,
      bootID: memory.bootID,
      task: { state: 'Created' },
    };
  }

  #progressed(copy: Copy, progress: PrepareProgress, signal: AbortSignal): void {
    if (signal.aborted || this.#effect?.copy !== copy) return;
    copy.activity = { kind: 'Preparing', progress };
    if (progress.phase === 'CreatingTask') {
      copy.isCreatingTask = true;
      this.#recordStartAhead(copy);
    }
    if (progress.phase === 'Unpacking') this.#host.imagesChanged();
    this.#host.tellSoon(copy, progressMs);
  }

  /**
   * While the task is being created, the start that comes next is recorded already: so the record costs the start nothing. Not before the
   * container exists, since afterwards a copy that is not there counts as lost content.
   */
  #recordStartAhead(copy: Copy): void {
    const { memory } = this.#host;
    const step = this.#effect?.step;
    if (!copy.isCreatingTask || step?.kind !== 'Prepare') return;
    const seen = memory.viewOf(copy);
    const observed = created(this.#key(copy), seen.observed, step.wish.config.hash);
    const next = copyStep(memory.view(), { ...seen, observed });
    if (next.kind === 'RecordStart') {
      this.#host.append({ kind: 'Starting', uid: memory.uid, epoch: copy.epoch, contentVersion: next.contentVersion });
    }
  }

  async #start(copy: Copy, step: StepOf<'Start'>): Promise<void> {
    const { memory, runtime } = this.#host;
    const durable = this.#host.durable();
    if (durable !== undefined) {
      await durable;
      const next = nextStep(memory.view());
      if (next.kind !== 'Start' || next.epoch !== step.epoch || next.contentVersion !== step.contentVersion) return;
    }
    await this.#carryOut(copy, step, async () => {
      copy.askedVersion = step.contentVersion;
      copy.exitHint = undefined;
      copy.hasOverrun = false;
      copy.activity = { kind: 'Starting' };
      this.#host.tellSoon(copy, passingMs);
      FAILPOINT: failpoint('task.starting');
      const { startTimeMs } = await runtime.start(this.#key(copy));
      FAILPOINT: failpoint('task.started');
      copy.setTask({ state: 'Running', startTimeMs });
      if (copy.sawExit) this.#host.listFirst();
    });
  }

  async #stop(copy: Copy, { graceSeconds }: StepOf<'Stop'>, signal: AbortSignal): Promise<void> {
    const { memory, runtime } = this.#host;
    const { uid } = memory;
    copy.activity = taskOf(copy).state === 'Created' ? copy.activity : { kind: 'Stopping' };
    this.#host.tellSoon(copy, passingMs);
    const exit = await runtime.stop(this.#key(copy), graceSeconds, signal);
    FAILPOINT: failpoint('copy.stopped');
    const before = memory.viewOf(copy);
    const { started = 0, exit: known } = before.entry ?? {};
    if (started > 0 && known === undefined) {
      if (exit === undefined && hasNotRun(before)) this.#takeBack(copy, started);
      else this.#exited(uid, copy, started, exit ?? copy.exitHint);
    }
    copy.setTask({ state: 'None' });
  }

  #exited(uid: string, copy: Copy, contentVersion: number, exit: ExitStatus | undefined): void {
    const why = copy.hasOverrun ? { ordered: false, diskLimitExceeded: true } : { ordered: true };
    const status = exit ?? { code: 255, signal: 0, oomKilled: false, finishTimeMs: this.#host.clock.now(), lost: true };
    this.#record(copy, { kind: 'Exited', uid, epoch: copy.epoch, contentVersion, exit: { ...status, ...why } });
  }

  async #remove(copy: Copy): Promise<void> {
    copy.activity = { kind: 'Removing' };
    await this.#host.runtime.remove(this.#key(copy));
    FAILPOINT: failpoint('copy.removed');
    copy.observed = undefined;
    copy.isRemoved = true;
    this.#host.imagesChanged();
  }

  async #resume(copy: Copy): Promise<void> {
    await this.#host.runtime.resume(this.#key(copy));
    this.#host.listFirst();
  }

  /** An end that was told while nobody could look is looked into now. */
  async #readBackup(copy: Copy, signal: AbortSignal): Promise<void> {
    await copy.backup?.read(signal);
    if (copy.sawExit) this.#host.listFirst();
  }

  #failed(copy: Copy, step: CopyStep, error: unknown): void {
    if (error instanceof AttemptError && (step.kind === 'Prepare' || step.kind === 'Start')) this.#refused(copy, step, error);
    else this.#retryLater(copy, step, error);
    if (step.kind !== 'Start' || !(error instanceof AttemptError)) this.#host.listFirst();
  }

  /** It certainly failed and nothing ran: the order is rejected for ever, and with it its start. */
  #refused(copy: Copy, step: CopyStep, error: AttemptError): void {
    const { memory, clock, log } = this.#host;
    log.info({ uid: memory.uid, epoch: copy.epoch, reason: error.code, err: error }, 'An attempt failed');
    if (step.kind === 'Start') copy.setTask({ state: 'None' });
    const rejection = rejectionFor(memory.view(), memory.viewOf(copy), error, clock.now());
    copy.dropAhead();
    if (rejection === undefined) {
      if (step.kind === 'Start') this.#takeBack(copy, step.contentVersion);
      return;
    }
    this.#host.append(rejection);
    if (rejection.takenBack > 0) this.#startWasNotAsked(copy);
  }

  /** Nobody knows what came of it, or it may succeed another time. Said in the report, tried again with a growing wait. */
  #retryLater(copy: Copy, step: CopyStep, error: unknown): void {
    const { clock, random, log, memory } = this.#host;
    const failures = (copy.trouble?.failures ?? 0) + 1;
    const reason = step.kind === 'Stop' ? 'StopFailed' : step.kind === 'Remove' ? 'RemoveFailed' : 'RuntimeFailed';
    copy.trouble = { reason, message: messageOf(error), failures };
    log.warn({ uid: memory.uid, epoch: copy.epoch, step: step.kind, failures, err: error }, 'A step failed and is tried again');
    copy.retry = clock.after(backoffDelay(retryBackoff, failures, random), () => {
      copy.retry = undefined;
      this.#host.wake();
    });
  }
}

/** What the runtime will have once the task is created. */
function created(key: CopyKey, observed: RuntimeCopy | undefined, configHash: string): RuntimeCopy {
  const blank = { namespace: '', name: '', note: { order: 0, contentVersion: 0 }, baseDigest: '', bootID: '', requests: noRequests };
  return { ...blank, ...observed, key, configHash, hasContent: true, task: { state: 'Created' } };
}

const noRequests = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 };

/** Preparing is ended when it is for something else than what is wanted now; a stop, when less patience is wanted. */
function isOutdated(step: Step, now: Step): boolean {
  if (step.kind === 'Stop') return now.kind === 'Stop' && now.graceSeconds < step.graceSeconds;
  if (step.kind !== 'Prepare') return false;
  if (now.kind !== 'Prepare') return true;
  const [a, b] = [step.wish, now.wish];
  const digests = [a.source, b.source].map((source) => (source.kind === 'Local' ? '' : source.digest));
  return a.source.kind !== b.source.kind || digests[0] !== digests[1] || a.config.hash !== b.config.hash;
}
