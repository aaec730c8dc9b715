/** How long nothing has gone wrong. */
export class Calm {
  readonly #now: () => number;
  #troubledUntil = -Infinity;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Something goes wrong now, for so many milliseconds at the most. */
  trouble(forMs: number): void {
    this.#troubledUntil = Math.max(this.#troubledUntil, this.#now() + forMs);
  }

  hasLasted(ms: number): boolean {
    return this.#now() >= this.#troubledUntil + ms;
  }
}
