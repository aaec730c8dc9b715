/** A slot that this pod has asked for at a runner, and that the runner's own numbers may not show yet. */
export interface Assumption {
  readonly runnerName: string;
  /** The number of what the runner had told of its slots when it gave this one; undefined while it has not answered. */
  readonly givenAt: number | undefined;
  /** It counts no longer than until then, whatever is told; monotonic milliseconds. */
  readonly until: number;
}

/** Those that still count, when the newest that each runner told of its slots has this number. */
export function stillAssumed(
  assumptions: readonly Assumption[],
  seqOf: (runnerName: string) => number | undefined,
  now: number,
): readonly Assumption[] {
  return assumptions.filter(({ runnerName, givenAt, until }) => {
    const seq = seqOf(runnerName);
    return now < until && seq !== undefined && (givenAt === undefined || seq <= givenAt);
  });
}

export function countAssumed(assumptions: readonly Assumption[]): ReadonlyMap<string, number> {
  const names = [...new Set(assumptions.map(({ runnerName }) => runnerName))];
  return new Map(names.map((name) => [name, assumptions.filter(({ runnerName }) => runnerName === name).length]));
}
