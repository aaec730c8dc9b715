import { isAborted } from '../../process/abort.ts';
import { backoffDelay } from '../../process/backoff.ts';
import type { Clock, Random, Timer } from '../../process/clock.ts';
import { sleep } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { BackupWish } from '../copies/order.ts';
import type { BackupErrorCode, BackupProgress, CopyKey, CopyRuntime, LocalBackup } from '../copies/runtime.ts';
import { BackupError } from './backup-error.ts';
import { type BackupStage, type BackupView, isSameBackup } from './stage.ts';
import type { BackupTurns, Turn } from './turns.client.ts';

export interface OngoingBackupOptions {
  readonly key: CopyKey;
  readonly wish: BackupWish;
  readonly runtime: CopyRuntime;
  readonly turns: BackupTurns;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  tell(): void;
  /** Tells later, unless something else is told before. */
  tellSoon(ms: number): void;
  /** Something else may be the next step now. */
  wake(): void;
  /** It is over, so many milliseconds after the reading began. */
  readonly ended: (result: BackupResult, ms: number, bytes: number) => void;
}

export type BackupResult = 'Done' | 'Failed' | 'GivenUp';

const progressMs = 500;
const backoff = { initialMs: 500, maxMs: 30_000, jitter: 0.5 };
const nothingYet: BackupProgress = { bytes: 0, totalBytes: 0 };

/**
 * One backup that an order asks for, from the order to its answer. Reading is a step of its copy, so that nothing else is done with that meanwhile;
 * sending is not. What was read is kept until the registry has it, however often that is away, and not longer. Nothing of it is durable.
 */
export class OngoingBackup {
  readonly #options: OngoingBackupOptions;
  readonly #abort = new AbortController();
  #wish: BackupWish;
  #stage: BackupStage = { kind: 'Waiting' };
  #turn: Turn | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  /** When the reading began. */
  #begin: number | undefined;
  /** The process ends: what is left here is removed when the next one starts. */
  #hasEnded = false;

  constructor(options: OngoingBackupOptions) {
    this.#options = options;
    this.#wish = options.wish;
  }

  view(): BackupView {
    return { wish: this.#wish, stage: this.#stage, hasTurn: this.#turn?.isGranted === true };
  }

  get isReading(): boolean {
    return this.#stage.kind === 'Reading';
  }

  /** A newer order, or the same once more, asks for it: true when it is this very one. It may come with other credentials. */
  renew(wish: BackupWish): boolean {
    if (!isSameBackup(this.#wish, wish)) return false;
    // It stands in line anew where that is another place.
    if (wish.priority !== this.#wish.priority && this.#turn?.isGranted === false) this.#giveTurnBack();
    this.#wish = wish;
    return true;
  }

  awaitTurn(): void {
    this.#turn ??= this.#options.turns.request(this.#wish.priority, () => this.#options.wake());
  }

  /** Goes out of the line, as long as nothing was read. */
  leaveTurn(): void {
    if (this.#stage.kind === 'Waiting') this.#giveTurnBack();
  }

  /** Reads the files, then sends them away without being waited for. Rejects with the signal's reason when it is aborted. */
  async read(signal: AbortSignal): Promise<void> {
    const { runtime, key, log } = this.#options;
    const { id, repository, contentVersion, credentials } = this.#wish;
    this.#begin ??= this.#options.clock.monotonic();
    this.#enter({ kind: 'Reading', progress: nothingYet });
    const request = { key, id, repository, contentVersion, credentials };
    const aborted = AbortSignal.any([signal, this.#abort.signal]);
    try {
      const local = await runtime.readBackup(request, (progress) => this.#progressed({ kind: 'Reading', progress }), aborted);
      log.info({ ...key, backup: id, bytes: local.sizeBytes, whileStopped: local.takenWhileStopped }, 'Read a backup');
      void this.#deliver(local);
    } catch (error) {
      if (aborted.aborted) throw error;
      if (error instanceof BackupError && error.code !== 'RegistryUnavailable') this.fail(error.code, error.message);
      else this.#readLater(error);
    }
  }

  fail(reason: BackupErrorCode, message: string): void {
    this.#options.log.info({ ...this.#options.key, backup: this.#wish.id, reason, because: message }, 'A backup failed');
    this.#giveTurnBack();
    this.#ended('Failed', 0);
    this.#enter({ kind: 'Failed', reason, message });
  }

  /** The newest order does not name it any more: nothing of it stays on this runner. */
  cancel(): void {
    this.#retry?.cancel();
    if (this.#stage.kind !== 'Done' && this.#stage.kind !== 'Failed' && !this.#hasEnded) this.#ended('GivenUp', 0);
    this.#abort.abort(new Error('the order does not ask for the backup any more'));
    this.#stage = { kind: 'Waiting' };
    this.#giveTurnBack();
  }

  end(): void {
    this.#hasEnded = true;
    this.cancel();
  }

  #enter(stage: BackupStage): void {
    if (this.#abort.signal.aborted) return;
    this.#stage = stage;
    this.#options.tell();
  }

  #progressed(stage: BackupStage): void {
    if (this.#abort.signal.aborted) return;
    this.#stage = stage;
    this.#options.tellSoon(progressMs);
  }

  #ended(result: BackupResult, bytes: number): void {
    const { clock, ended } = this.#options;
    ended(result, this.#begin === undefined ? 0 : clock.monotonic() - this.#begin, bytes);
  }

  #giveTurnBack(): void {
    this.#turn?.release();
    this.#turn = undefined;
  }

  /** Nobody knows why, or it may go another time. */
  #readLater(error: unknown): void {
    const { clock, random, log, key } = this.#options;
    this.#failures++;
    this.#giveTurnBack();
    log.warn({ ...key, backup: this.#wish.id, err: error, failures: this.#failures }, 'A backup could not be read and is tried again');
    this.#enter({ kind: 'Waiting', trouble: troubleOf(error) });
    this.#retry = clock.after(backoffDelay(backoff, this.#failures, random), () => {
      this.#stage = { kind: 'Waiting' };
      this.#options.tell();
      this.#options.wake();
    });
  }

  /** Sends it away and removes it here. Never rejects. */
  async #deliver(local: LocalBackup): Promise<void> {
    const failed = await this.#pushUntilTaken(local);
    // Whoever waits for the backup, or for a turn, need not wait for that.
    void this.#drop(local);
    const { key, log } = this.#options;
    if (failed !== undefined) this.fail(failed.code, failed.message);
    else if (!this.#abort.signal.aborted) {
      const { digest, sizeBytes, takenWhileStopped } = local;
      log.info({ ...key, backup: this.#wish.id, digest }, 'Sent a backup away');
      this.#giveTurnBack();
      this.#ended('Done', sizeBytes);
      this.#enter({ kind: 'Done', made: { digest, sizeBytes, takenWhileStopped } });
    }
  }

  /** Resolves with why it will never be taken, or with undefined: it was, or nobody wants it any more. */
  async #pushUntilTaken(local: LocalBackup): Promise<BackupError | undefined> {
    const { runtime, clock, random, log, key } = this.#options;
    const { signal } = this.#abort;
    for (let failures = 1; !signal.aborted; failures++) {
      this.#enter({ kind: 'Pushing', progress: nothingYet });
      try {
        await runtime.pushBackup(local, this.#wish.credentials, (progress) => this.#progressed({ kind: 'Pushing', progress }), signal);
        return undefined;
      } catch (error) {
        if (isAborted(signal)) return undefined;
        if (error instanceof BackupError && error.code !== 'RegistryUnavailable') return error;
        log.warn({ ...key, backup: this.#wish.id, err: error, failures }, 'A backup could not be sent away and is kept until it can');
        this.#enter({ kind: 'Pushing', progress: nothingYet, trouble: troubleOf(error) });
        await sleep(clock, backoffDelay(backoff, failures, random), signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  async #drop(local: LocalBackup): Promise<void> {
    const { runtime, clock, random, log, key } = this.#options;
    for (let failures = 1; !this.#hasEnded; failures++) {
      try {
        await runtime.dropBackup(local);
        return;
      } catch (err) {
        log.warn({ ...key, backup: local.request.id, err, failures }, 'What is left of a backup on the runner could not be removed');
        await sleep(clock, backoffDelay(backoff, failures, random));
      }
    }
  }
}

function troubleOf(error: unknown): { readonly reason: BackupErrorCode; readonly message: string } {
  return { reason: error instanceof BackupError ? error.code : 'RuntimeFailed', message: messageOf(error) };
}
