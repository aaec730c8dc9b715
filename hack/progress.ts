/** Where progress lines go. */
export type Log = (line: string) => void;

export const toStderr: Log = (line) => process.stderr.write(`${line}\n`);

/**
 * Says what is being done and, while it lasts, every `everyMs` how long it has taken so far; at the end, how long it took.
 */
export async function withProgress<T>(log: Log, what: string, work: () => Promise<T>, everyMs = 15_000): Promise<T> {
  const begin = performance.now();
  log(`${what} …`);
  const timer = setInterval(() => log(`${what} … ${elapsed(begin)}`), everyMs);
  try {
    const result = await work();
    log(`${what}: done in ${elapsed(begin)}`);
    return result;
  } finally {
    clearInterval(timer);
  }
}

export function elapsed(begin: number): string {
  return seconds(performance.now() - begin);
}

export function seconds(ms: number): string {
  const total = ms / 1000;
  return total < 60 ? `${total.toFixed(1)} s` : `${Math.floor(total / 60)} min ${Math.round(total % 60)} s`;
}
