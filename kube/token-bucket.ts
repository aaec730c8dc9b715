/** So many at once, then one every `everyMs`. Takes the monotonic time as a value. */
export class TokenBucket {
  readonly #size: number;
  readonly #everyMs: number;
  #tokens: number;
  #at: number;

  constructor(size: number, everyMs: number, now: number) {
    this.#size = size;
    this.#everyMs = everyMs;
    this.#tokens = size;
    this.#at = now;
  }

  take(now: number): boolean {
    this.#refill(now);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  isFull(now: number): boolean {
    this.#refill(now);
    return this.#tokens >= this.#size;
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#size, this.#tokens + (now - this.#at) / this.#everyMs);
    this.#at = now;
  }
}
