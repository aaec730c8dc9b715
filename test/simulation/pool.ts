import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Defect } from './defects.ts';
import type { Outcome } from './history.ts';
import type { Scale } from './plan.ts';

/** What a thread tells of a history. */
export type Summary = Pick<Outcome, 'violation' | 'counts' | 'hash'> & {
  readonly seed: string;
  /** What it fell short of its scale, in a sentence. */
  readonly shortfall: string | undefined;
};

export interface PoolOptions {
  readonly scale: Scale;
  readonly defect: Defect | undefined;
  readonly threads: number;
  /** Told of every history when it has ended, in no certain order. False: no more are begun. */
  readonly ended: (summary: Summary) => boolean;
}

/** Most of what a history makes is garbage soon: a large nursery halves what collecting it costs. */
const maxYoungGenerationSizeMb = 192;

/** Runs the history of every seed, several at a time; resolves when the last one has ended. A thread that fails fails the whole. */
export async function runInThreads(seeds: readonly string[], { scale, defect, threads, ended }: PoolOptions): Promise<void> {
  const left = seeds[Symbol.iterator]();
  let isOver = false;
  const thread = async () => {
    const worker = new Worker(new URL('worker.ts', import.meta.url), {
      workerData: { scale, defect },
      resourceLimits: { maxYoungGenerationSizeMb },
    });
    try {
      for (let next = left.next(); next.done !== true && !isOver; next = left.next()) {
        worker.postMessage(next.value);
        const [summary] = (await once(worker, 'message')) as [Summary];
        if (!ended(summary)) isOver = true;
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(threads, seeds.length) }, thread));
}
