import type { Timer } from '../../../process/clock.ts';

interface Entry {
  readonly at: number;
  readonly order: number;
  fire: (() => void) | undefined;
}

/**
 * Virtual time. What is to happen waits in a heap; between two happenings every promise that can go on goes on, so that a run
 * is a function of its inputs alone.
 */
export class Scheduler {
  #now = 0;
  #order = 0;
  #fired = 0;
  #live = 0;
  readonly #heap: Entry[] = [];

  /** Virtual milliseconds since the start. */
  get now(): number {
    return this.#now;
  }

  /** How many things have happened. */
  get fired(): number {
    return this.#fired;
  }

  /** How many things wait to happen. */
  get waiting(): number {
    return this.#live;
  }

  /** Calls `fire` after `ms` of virtual time; of the same moment, in the order of the calls. */
  after(ms: number, fire: () => void): Timer {
    const entry: Entry = { at: this.#now + Math.max(0, ms), order: this.#order++, fire };
    this.#push(entry);
    this.#live++;
    return {
      cancel: () => {
        if (entry.fire === undefined) return;
        entry.fire = undefined;
        this.#live--;
      },
    };
  }

  /** Runs until the virtual time `end`, or until `stop` says true. */
  async run(end: number, stop: () => boolean = () => false): Promise<void> {
    await turn();
    for (let fire = this.#take(end); fire !== undefined; fire = this.#take(end)) {
      this.#fired++;
      fire();
      await (this.#fired % turnEvery === 0 ? turn() : drain());
      if (stop()) return;
    }
    await turn();
    this.#now = Math.max(this.#now, end);
  }

  /** What happens next, if it does until `end`; the time is then its time. */
  #take(end: number): (() => void) | undefined {
    for (let top = this.#heap[0]; top !== undefined && top.at <= end; top = this.#heap[0]) {
      this.#pop();
      const { fire } = top;
      if (fire === undefined) continue;
      top.fire = undefined;
      this.#live--;
      this.#now = Math.max(this.#now, top.at);
      return fire;
    }
    return undefined;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(entry, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, left)) child++;
      const least = heap[child];
      if (least === undefined || !before(least, last)) break;
      heap[i] = least;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** So often Node has its turn: it tells of rejections that nobody handles only then. */
const turnEvery = 64;

/**
 * Lets everything that awaits go on until nothing can. A tick that is asked for within a promise's job comes after all other jobs, and costs a
 * fraction of a turn of the event loop.
 */
function drain(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/** The same, by a turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
