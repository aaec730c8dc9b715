import type { BackupRank } from '../copies/order.ts';
import { nextInLine } from './stage.ts';

/** A place among the backups that a runner makes at once, or in the line before them. */
export interface Turn {
  readonly isGranted: boolean;
  /** Gives the place back. May be repeated. */
  release(): void;
}

interface Waiting {
  readonly rank: BackupRank;
  isGranted: boolean;
  readonly granted: () => void;
}

/** Bounds the backups that are made at once on this runner. */
export class BackupTurns {
  readonly #waiting = new Set<Waiting>();
  readonly #atOnce: number;
  #taken = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** Stands in line; `granted` is called when it is its turn, never before this returns. */
  request(rank: BackupRank, granted: () => void): Turn {
    const waiting: Waiting = { rank, isGranted: false, granted };
    this.#waiting.add(waiting);
    queueMicrotask(() => this.#grant());
    const release = () => {
      if (this.#waiting.delete(waiting)) return;
      if (!waiting.isGranted) return;
      waiting.isGranted = false;
      this.#taken--;
      this.#grant();
    };
    return {
      get isGranted() {
        return waiting.isGranted;
      },
      release,
    };
  }

  #grant(): void {
    while (this.#taken < this.#atOnce) {
      const next = nextInLine([...this.#waiting]);
      if (next === undefined) return;
      this.#waiting.delete(next);
      this.#taken++;
      next.isGranted = true;
      next.granted();
    }
  }
}
