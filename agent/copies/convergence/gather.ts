import type { Timer } from '../../../process/clock.ts';
import type { SandboxEntry } from '../../journal/record.ts';
import { copyEntry } from '../../journal/reduce.ts';
import type { OngoingBackup } from '../../backup/controller.ts';
import type { AttemptWish } from '../order.ts';
import type { Activity, Trouble } from '../report.ts';
import type { ExitStatus, RuntimeCopy, RuntimeTask } from '../runtime.ts';
import type { CopyView, SandboxView } from '../view.ts';

/** What this process knows of one epoch besides the journal. */
export class Copy {
  readonly epoch: number;
  observed: RuntimeCopy | undefined;
  /** How the newest order wants it made. */
  wish: AttemptWish | undefined;
  ahead: { readonly wish: AttemptWish; readonly expiry: Timer } | undefined;
  /** The newest contentVersion whose start was asked for, by this process or maybe by one before it. */
  askedVersion: number;
  exitHint: ExitStatus | undefined;
  /** It has written more than its disk limit, since it was started last. */
  hasOverrun = false;
  /** Nobody has claimed it for a long time. */
  isAbandoned = false;
  /** Everything of it is proven to be gone. */
  isRemoved = false;
  /** Its container exists and only the task is being created. */
  isCreatingTask = false;
  activity: Activity | undefined;
  trouble: (Trouble & { readonly failures: number }) | undefined;
  /** Set while a step that failed waits to be tried again. */
  retry: Timer | undefined;
  /** Set while something that may pass waits to be told. */
  soon: Timer | undefined;
  /** An operator waits for an answer, even if it is not new. */
  isAsked = false;
  /** The backup that the newest order asks for. */
  backup: OngoingBackup | undefined;
  /** The note that the container has, or was tried to get, as one text. */
  noted = '';

  constructor(epoch: number, started: number) {
    this.epoch = epoch;
    this.askedVersion = started;
  }

  /** An event told that its process ended. */
  get sawExit(): boolean {
    return this.exitHint !== undefined;
  }

  setTask(task: RuntimeTask): void {
    if (this.observed !== undefined) this.observed = { ...this.observed, task };
  }

  dropAhead(): void {
    this.ahead?.expiry.cancel();
    this.ahead = undefined;
  }

  /** Ends the waiting for another try. */
  tryAgain(): void {
    this.retry?.cancel();
    this.retry = undefined;
  }

  cancelTimers(): void {
    this.dropAhead();
    this.tryAgain();
    this.soon?.cancel();
    this.soon = undefined;
  }
}

export interface SandboxMemoryOptions {
  readonly uid: string;
  readonly bootID: string;
  /** What the journal has of the sandbox now. */
  readonly entry: () => SandboxEntry | undefined;
}

/** What this process and the journal know of one sandbox, as a frozen moment for the decisions. */
export class SandboxMemory {
  readonly #options: SandboxMemoryOptions;
  readonly #copies = new Map<number, Copy>();

  constructor(options: SandboxMemoryOptions) {
    this.#options = options;
    for (const { epoch } of this.entry?.copies ?? []) this.copy(epoch);
  }

  get uid(): string {
    return this.#options.uid;
  }

  get bootID(): string {
    return this.#options.bootID;
  }

  get entry(): SandboxEntry | undefined {
    return this.#options.entry();
  }

  get copies(): Iterable<Copy> {
    return this.#copies.values();
  }

  /** The memory of an epoch, made when there is none. */
  copy(epoch: number): Copy {
    const known = this.#copies.get(epoch);
    if (known !== undefined) return known;
    const copy = new Copy(epoch, copyEntry(this.entry, epoch)?.started ?? 0);
    this.#copies.set(epoch, copy);
    return copy;
  }

  view(): SandboxView {
    const { uid, bootID } = this.#options;
    const entry = this.entry;
    return { uid, bootID, entry, copies: [...this.#copies.values()].map((copy) => viewOf(copy, entry)) };
  }

  viewOf(copy: Copy): CopyView {
    return viewOf(copy, this.entry);
  }
}

function viewOf(copy: Copy, sandbox: SandboxEntry | undefined): CopyView {
  const entry = copyEntry(sandbox, copy.epoch);
  return {
    epoch: copy.epoch,
    entry,
    observed: copy.observed,
    wish: copy.wish,
    ahead: copy.ahead?.wish,
    wasStartAsked: entry !== undefined && entry.started > 0 && entry.started <= copy.askedVersion,
    exitHint: copy.exitHint,
    isRemoved: copy.isRemoved,
    isWaiting: copy.retry !== undefined,
    isAbandoned: copy.isAbandoned,
    hasOverrun: copy.hasOverrun,
    backup: copy.backup?.view(),
  };
}
