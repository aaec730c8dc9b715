import type { Random } from '../engine/random.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { ResourceAmounts } from '../../../crds/index.ts';
import type { CopyKey, CopyNote, ExitStatus, RuntimeEvent } from '../../../agent/copies/runtime.ts';
import { epoch } from '../engine/process.ts';
import { lastWrite, written } from './content.ts';
import type { Content, Run } from './content.ts';

/** What lies on a machine of one copy. Survives the agent, containerd and a reboot, but for its task. */
export interface StoredCopy {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  note: CopyNote;
  configHash: string;
  command: readonly string[];
  requests: ResourceAmounts;
  baseDigest: string;
  bootID: string;
  /** What the snapshot holds; undefined: the snapshot is gone. */
  content: Content | undefined;
  /** A process was started in it: else it is an attempt, which nobody misses. */
  hasRun?: boolean;
  task: Task;
}

export type Task =
  | { readonly state: 'None' }
  | { readonly state: 'Created' }
  /** `paused`: what it is to do when it goes on. */
  | { readonly state: 'Running'; readonly startTimeMs: number; readonly run: Run; paused?: (() => void)[] }
  | { readonly state: 'Stopped'; readonly exit: ExitStatus };

/** Told of every effect in the moment in which it happens. */
export interface MachineObserver {
  taskCreated(machine: Machine, copy: StoredCopy): void;
  taskStarting(machine: Machine, copy: StoredCopy): Run;
  taskEnded(machine: Machine, copy: StoredCopy, why: string): void;
  removing(machine: Machine, copy: StoredCopy): void;
}

/** How containerd is just now. Faults change it. */
export interface RuntimeWeather {
  isDown: boolean;
  /** Probability that a call fails for certain and without an effect. */
  failed: number;
  /** Probability that a call fails, and nobody knows whether it had its effect. */
  ambiguous: number;
  /** Probability that an event is lost. */
  lostEvent: number;
  /** Everything takes so many times as long. */
  slowness: number;
}

/** A node: its disk, its processes, its containerd. */
export class Machine {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly observer: MachineObserver;
  readonly weather: RuntimeWeather = { isDown: false, failed: 0, ambiguous: 0, lostEvent: 0, slowness: 1 };
  readonly copies = new Map<string, StoredCopy>();
  readonly images = new Set<string>();
  readonly capacity: ResourceAmounts;
  #boots = 1;
  #stores = 1;
  #era = 0;
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();
  readonly #onWipe: (() => void)[] = [];

  constructor(name: string, scheduler: Scheduler, random: Random, observer: MachineObserver, capacity: ResourceAmounts) {
    this.name = name;
    this.scheduler = scheduler;
    this.random = random;
    this.observer = observer;
    this.capacity = capacity;
  }

  get bootID(): string {
    return `boot-${this.name}-${this.#boots}`;
  }

  get storeID(): string {
    return `store-${this.name}-${this.#stores}`;
  }

  /** Rises when containerd ends: calls under way in an earlier era are lost. */
  get era(): number {
    return this.#era;
  }

  subscribe(listener: (event: RuntimeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: RuntimeEvent): void {
    if (this.weather.isDown || this.random.chance(this.weather.lostEvent)) return;
    for (const listener of this.#listeners) listener(event);
  }

  /** Starts the main process of a created task. */
  start(copy: StoredCopy): number {
    const run = this.observer.taskStarting(this, copy);
    const startTimeMs = epoch + this.scheduler.now;
    copy.task = { state: 'Running', startTimeMs, run };
    if (copy.content !== undefined) copy.content = written(run, 1);
    copy.hasRun = true;
    const [program, ms = '0', code = '0'] = copy.command;
    if (program === 'job') {
      this.scheduler.after(Number(ms), () => {
        this.end(copy, run, { code: Number(code), signal: 0, oomKilled: false });
      });
    }
    return startTimeMs;
  }

  /** The main process of this run ends, when it still runs. A paused one can only be killed; all else waits until it goes on. */
  end(copy: StoredCopy, run: Run, how: { readonly code: number; readonly signal: number; readonly oomKilled: boolean }): void {
    if (copy.task.state !== 'Running' || copy.task.run !== run) return;
    const { paused } = copy.task;
    if (paused !== undefined && how.signal !== 9) {
      paused.push(() => this.end(copy, run, how));
      return;
    }
    const exit = { ...how, finishTimeMs: epoch + this.scheduler.now, lost: false };
    if (paused === undefined) writeLast(copy, run);
    copy.task = { state: 'Stopped', exit };
    this.observer.taskEnded(this, copy, how.oomKilled ? 'OOM' : how.signal > 0 ? `signal ${how.signal}` : `code ${how.code}`);
    this.emit({ kind: 'Exited', key: copy.key, exit });
  }

  /** Nothing of it happens any more until it is resumed. */
  pause({ task }: StoredCopy): void {
    if (task.state === 'Running') task.paused ??= [];
  }

  resume({ task }: StoredCopy): void {
    if (task.state !== 'Running') return;
    const { paused = [] } = task;
    delete task.paused;
    for (const late of paused) late();
  }

  /** containerd ends; processes go on. */
  stopContainerd(): void {
    this.weather.isDown = true;
    this.#era++;
  }

  startContainerd(): void {
    this.weather.isDown = false;
    for (const listener of this.#listeners) listener({ kind: 'Resubscribed' });
  }

  /** Power off and on: every process is gone, what was on disk stays. */
  reboot(): void {
    this.#boots++;
    this.#endAll('power loss');
  }

  /** The disk is replaced by an empty one while the machine goes on. */
  wipe(): void {
    this.#endAll('its disk is gone');
    this.copies.clear();
    this.images.clear();
    this.#stores++;
    for (const wipe of this.#onWipe) wipe();
  }

  #endAll(why: string): void {
    this.#era++;
    for (const copy of this.copies.values()) {
      const { task } = copy;
      copy.task = { state: 'None' };
      if (task.state !== 'Running') continue;
      if (task.paused === undefined) writeLast(copy, task.run);
      this.observer.taskEnded(this, copy, why);
    }
  }

  onWipe(wipe: () => void): void {
    this.#onWipe.push(wipe);
  }
}

export function idOfKey(key: CopyKey): string {
  return `${key.uid}/${key.epoch}`;
}

/** Until its end a program writes. */
function writeLast(copy: StoredCopy, run: Run): void {
  if (copy.content?.run === run) copy.content = written(run, lastWrite);
}
