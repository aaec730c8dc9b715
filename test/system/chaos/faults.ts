import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from '../../harness/cluster.ts';
import type { Part } from '../../harness/part.ts';
import type { Fault, Target } from './plan.ts';

/** Carries a plan of faults out. */
export class Faults {
  readonly #parts: ReadonlyMap<Target, Part>;
  /** When each part was ended, again and again; as `performance.now()`. */
  readonly #ends = new Map<Target, number[]>();
  /** Sentences about parts that ended although nobody ended them. */
  readonly endedAlone: string[] = [];

  constructor({ operators, runners }: Cluster) {
    const named: readonly (readonly [string, Part])[] = [
      ...operators.map((operator, index) => [`operator-${index + 1}`, operator] as const),
      ...runners.map(({ agent }, index) => [`agent-${index + 1}`, agent] as const),
    ];
    this.#parts = new Map(named as readonly (readonly [Target, Part])[]);
  }

  /** How many there were, by kind. */
  get counts(): Readonly<Record<string, number>> {
    const of = (kind: string) =>
      [...this.#ends].filter(([target]) => target.startsWith(kind)).reduce((sum, [, ends]) => sum + ends.length, 0);
    return { operators: of('operator'), agents: of('agent') };
  }

  /** Whether the agent of a runner was ended since. */
  hasAgentEnded(runnerName: string, since: number): boolean {
    return (this.#ends.get(runnerName.replace('runner', 'agent') as Target) ?? []).some((at) => at >= since);
  }

  /** Resolves when the last part is back. */
  async run(plan: readonly Fault[]): Promise<void> {
    const begin = performance.now();
    const busy = new Map<Target, Promise<void>>();
    for (const fault of plan) {
      await delay(Math.max(0, begin + fault.at - performance.now()));
      const before = busy.get(fault.target) ?? Promise.resolve();
      busy.set(
        fault.target,
        before.then(() => this.#strike(fault)),
      );
    }
    await Promise.all(busy.values());
    for (const part of this.#parts.values()) await part.start();
  }

  async #strike({ target, how, downMs }: Fault): Promise<void> {
    const part = this.#part(target);
    if (!part.isRunning) {
      this.endedAlone.push(`${target}: ${part.log().trim().split('\n').at(-1) ?? ''}`);
      await part.launch();
      return;
    }
    this.#ends.set(target, [...(this.#ends.get(target) ?? []), performance.now()]);
    await (how === 'kill' ? part.kill() : part.stop());
    await delay(downMs);
    await part.start();
  }

  #part(target: Target): Part {
    const part = this.#parts.get(target);
    if (part === undefined) throw new Error(`there is no ${target}`);
    return part;
  }
}
