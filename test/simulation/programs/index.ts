import { defects } from '../defects.ts';
import type { Defect } from '../defects.ts';
import type { Sabotage } from '../sabotage.ts';
import type { Programs } from '../world.ts';
import { startAgent } from './agent.ts';
import { startOperator } from './operator.ts';

/** The real programs, or with one defect put in. */
export function programsWith(defect?: Defect): Programs {
  const sabotage: Sabotage = defect === undefined ? {} : defects[defect];
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
