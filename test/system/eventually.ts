import { setTimeout as delay } from 'node:timers/promises';

/** Generous on purpose: a test waits for what must come, and how long it takes is not its matter. */
export const longEnoughMs = 180_000;

/**
 * Looks again and again until there is something to return.
 * Rejects after `longEnoughMs` with what was waited for and what `seen` tells of the last look.
 */
export async function eventually<T>(what: string, look: () => Promise<T | undefined>, seen: () => unknown = () => ''): Promise<T> {
  for (const end = performance.now() + longEnoughMs; ;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end)
      throw new Error(`${what}: did not happen within ${longEnoughMs / 1000} s. ${JSON.stringify(seen(), null, 2)}`);
    await delay(100);
  }
}

/** Looks for `ms` milliseconds, and rejects as soon as a look returns something: the sentence that says what went wrong. */
export async function neverWithin(ms: number, look: () => Promise<string | undefined>): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end;) {
    const wrong = await look();
    if (wrong !== undefined) throw new Error(wrong);
    await delay(100);
  }
}
