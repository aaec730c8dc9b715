import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { commandLine, processRef } from '../../harness/processes.ts';

const lookMs = 50;

/**
 * Looks at the kernel alone, again and again: which programs run that carry a mark as an argument. Neither agents nor containerd nor operators are
 * asked, so that it sees what they do not know of.
 */
export class RunWitness {
  /** By mark, each program that was seen: process and start. */
  readonly seen = new Map<string, Set<string>>();
  readonly #mark: RegExp;
  readonly #watching: Promise<void>;
  #isOver = false;

  /** A mark is a whole argument. */
  constructor(mark: RegExp) {
    this.#mark = mark;
    this.#watching = this.#watch();
  }

  /** The marks that more than one program carried. */
  get twice(): readonly string[] {
    return [...this.seen].filter(([, runs]) => runs.size > 1).map(([mark, runs]) => `${mark} ran as ${[...runs].join(' and ')}`);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      this.#look();
      await delay(lookMs);
    }
  }

  #look(): void {
    const marked = new Map<number, string>();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const mark = commandLine(Number(name)).at(-1);
      if (mark !== undefined && this.#mark.test(mark)) marked.set(Number(name), mark);
    }
    for (const [pid, mark] of marked) {
      const found = processRef(pid);
      // What a program starts is a copy of it until it becomes another one.
      if (found === undefined || marked.has(parentOf(pid))) continue;
      this.seen.set(mark, (this.seen.get(mark) ?? new Set()).add(`process ${pid} started at ${found.startTime}`));
    }
  }
}

/** 0 when it is gone. */
function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
