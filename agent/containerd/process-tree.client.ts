import { look, type ProcessTree, rootedAt } from '../tasks/process-tree.ts';
import { statOf } from './machine-processes.client.ts';
import { sendSignal } from './signal.client.ts';

/** Microseconds of a tick: the kernel tells processor time of processes in hundredths of a second on every machine. */
const tickUs = 10_000;

/** A process and what descends from it, among the processes of its container. Needs to see the machine's processes. */
export class WatchedTree {
  #tree: ProcessTree;

  constructor(root: number) {
    this.#tree = rootedAt(root);
  }

  /** Looks again; returns the processor time so far, in microseconds. */
  async cpuTimeUs(candidates: readonly number[]): Promise<number> {
    const stats = await Promise.all([...new Set([this.#tree.root, ...candidates])].map(statOf));
    this.#tree = look(
      this.#tree,
      stats.filter((stat) => stat !== undefined),
    );
    return this.#tree.ticks * tickUs;
  }

  /** SIGKILL for all that are there now, and for what they start meanwhile. */
  async kill(processes: () => Promise<readonly number[]>): Promise<void> {
    for (let before = -1; ;) {
      await this.cpuTimeUs(await processes());
      for (const { pid } of this.#tree.known) sendSignal(pid, 'SIGKILL');
      if (this.#tree.known.length === before) return;
      before = this.#tree.known.length;
    }
  }
}
