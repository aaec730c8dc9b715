interface State {
  entering: number;
  isFrozen: boolean;
  /** Who looks again when something has changed. */
  readonly waiting: Set<() => void>;
}

/**
 * Keeps those apart who pause a container and those who begin a process in it: a runtime that is asked for a process in a paused container refuses,
 * or hangs, and one that is paused in the middle of it leaves half of it.
 */
export class Freezes {
  readonly #states = new Map<string, State>();

  /** Whether somebody pauses the container just now, or waits for those who begin a process in it. */
  isFrozen(id: string): boolean {
    return this.#states.get(id)?.isFrozen === true;
  }

  /** Runs work that begins a process in the container, when that is not paused. Rejects with the signal's reason when aborted while it waits. */
  async entering<T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (; this.isFrozen(id);) await this.#change(id, signal);
    this.#of(id).entering++;
    try {
      return await work();
    } finally {
      this.#of(id).entering--;
      this.#changed(id);
    }
  }

  /** Runs work for which the container is paused: nobody is in the middle of beginning a process there, and who wants to waits for its end. */
  async frozen<T>(id: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (; this.isFrozen(id);) await this.#change(id, signal);
    this.#of(id).isFrozen = true;
    try {
      for (; this.#of(id).entering > 0;) await this.#change(id, signal);
      return await work();
    } finally {
      this.#of(id).isFrozen = false;
      this.#changed(id);
    }
  }

  #of(id: string): State {
    const state = this.#states.get(id) ?? { entering: 0, isFrozen: false, waiting: new Set() };
    this.#states.set(id, state);
    return state;
  }

  /** Resolves at the next change. Whoever waited looks for himself: somebody else may have come first. */
  #change(id: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const { waiting } = this.#of(id);
    return new Promise((resolve, reject) => {
      const look = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        waiting.delete(look);
        reject(signal.reason as Error);
      };
      waiting.add(look);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #changed(id: string): void {
    const state = this.#of(id);
    if (state.entering === 0 && !state.isFrozen) this.#states.delete(id);
    for (const look of state.waiting) look();
    state.waiting.clear();
  }
}
