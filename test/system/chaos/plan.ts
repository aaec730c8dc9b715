import { Random } from '../../simulation/engine/random.ts';

export const operatorTargets = ['operator-1', 'operator-2', 'operator-3'] as const;
export const agentTargets = ['agent-1', 'agent-2', 'agent-3', 'agent-4'] as const;
export type Target = (typeof operatorTargets)[number] | (typeof agentTargets)[number];

/** A process dies, or is asked to end, and comes back. */
export interface Fault {
  /** Milliseconds from the beginning. */
  readonly at: number;
  readonly target: Target;
  readonly how: 'kill' | 'stop';
  /** How long it is away before it is started again. */
  readonly downMs: number;
}

/** Nobody could be asked, and nothing could be seen, if all were down: so many of a kind are at most. */
const mostDown = 2;

/** Faults of operators and agents for so long: a function of the seed alone, in the order of their times. */
export function planChaos(seed: string, durationMs: number): readonly Fault[] {
  const random = new Random(seed).fork('faults');
  const faults: Fault[] = [];
  for (let at = random.between(500, 2_000); at < durationMs; at += random.between(400, 2_500)) {
    const down = faults.filter((fault) => fault.at + fault.downMs > at).map(({ target }) => target);
    const kinds = [operatorTargets, agentTargets].filter((kind) => kind.filter((one) => down.includes(one)).length < mostDown);
    if (kinds.length === 0) continue;
    const target = random.pick(random.pick<readonly Target[]>(kinds).filter((one) => !down.includes(one)));
    faults.push({ at, target, how: random.chance(0.7) ? 'kill' : 'stop', downMs: random.between(0, 4_000) });
  }
  return faults;
}
