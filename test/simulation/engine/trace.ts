import { hash32 } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** What happened, one line each. Two runs are the same when their hashes are. */
export class Trace {
  readonly #scheduler: Scheduler;
  readonly #lines: { readonly at: number; readonly actor: string; readonly text: string }[] = [];
  #hash = 0x811c9dc5;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  add(actor: string, text: string): void {
    const at = this.#scheduler.now;
    this.#lines.push({ at, actor, text });
    this.#hash = hash32(text, hash32(actor, (this.#hash ^ (at | 0)) >>> 0));
  }

  get hash(): string {
    return `${this.#lines.length.toString(16)}-${this.#hash.toString(16).padStart(8, '0')}`;
  }

  /** The lines for which `want` holds, readable: virtual time, actor, text. What repeats is told once. */
  lines(want: (actor: string, text: string) => boolean = () => true): string[] {
    const told: string[] = [];
    const recent = new Map<string, number>();
    for (const { at, actor, text } of this.#lines) {
      if (!want(actor, text)) continue;
      const line = `${actor.padEnd(12)} ${text}`;
      const times = (recent.get(line) ?? 0) + 1;
      if (times === 1 && !isMessage(text)) recent.clear();
      recent.set(line, times);
      if (times <= 2) told.push(`${timeOf(at).padStart(13)}  ${line}`);
      if (times === 3) told.push(`${''.padStart(13)}  ${''.padEnd(12)} … and again and again`);
    }
    return told;
  }
}

/** What is said and changes nothing by itself. */
function isMessage(text: string): boolean {
  return /^(order|reports|refuses) /.test(text);
}

/** Virtual time as h:mm:ss.mmm. */
export function timeOf(ms: number): string {
  const whole = Math.floor(ms);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${Math.floor(whole / 3_600_000)}:${two(Math.floor(whole / 60_000) % 60)}:${two(Math.floor(whole / 1000) % 60)}.${String(whole % 1000).padStart(3, '0')}`;
}
