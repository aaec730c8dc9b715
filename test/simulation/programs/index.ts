import { defects } from '../defects.ts';
import type { Defect } from '../defects.ts';
import type { Sabotage } from '../sabotage.ts';
import { planOf } from '../plan.ts';
import type { Plan, Scale } from '../plan.ts';
import type { Programs } from '../world.ts';
import { startAgent } from './agent.ts';
import { startOperator } from './operator.ts';

/** The history of this seed: one in which the defect can do harm, where it needs another than those that are drawn. */
export function planFor(seed: string, scale: Scale, defect?: Defect): Plan {
  return sabotageOf(defect).planOf?.(seed) ?? planOf(seed, scale);
}

/** The real programs, or with one defect put in. */
export function programsWith(defect?: Defect): Programs {
  const sabotage = sabotageOf(defect);
  return {
    sabotage,
    agent: (world, node, process) => {
      startAgent(world, node, process, sabotage);
    },
    operator: (world, pod, process) => {
      startOperator(world, pod, process, sabotage);
    },
  };
}

function sabotageOf(defect: Defect | undefined): Sabotage {
  return defect === undefined ? {} : defects[defect];
}
