import { parentPort, workerData } from 'node:worker_threads';
import type { Defect } from './defects.ts';
import { runHistory, shortfall } from './history.ts';
import type { Scale } from './plan.ts';
import type { Summary } from './pool.ts';
import { planFor, programsWith } from './programs/index.ts';

/** One thread of the pool: runs the histories whose seeds it is sent, one after the other. */
const { scale, defect } = workerData as { readonly scale: Scale; readonly defect: Defect | undefined };
const programs = programsWith(defect);

/** Errors are thrown often here and read never: a history that fails is told again by the main thread. */
Error.stackTraceLimit = 0;

parentPort?.on('message', (seed: string) => {
  void runHistory(planFor(seed, scale, defect), programs).then((outcome) => {
    const { violation, counts, hash } = outcome;
    const summary: Summary = { seed, violation, counts, hash, shortfall: shortfall(outcome) };
    parentPort?.postMessage(summary);
  });
});
