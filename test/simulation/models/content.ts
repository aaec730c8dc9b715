/** One process that ran, or runs: numbered over the whole fleet. */
export interface Run {
  readonly number: number;
  readonly contentVersion: number;
}

/**
 * The bytes of a sandbox, as far as anybody can tell them apart. Only a running program changes them: it writes when it starts and once more
 * when it ends, so that bytes of an earlier run, and those that were read while a run went on, differ from the newest. A run is started on exactly one
 * content, so that the last run says everything about those before it.
 */
export interface Content {
  /** The run that wrote last; undefined: the bytes of the image. */
  readonly run: Run | undefined;
  /** How often that run had written. */
  readonly writes: number;
  /** A program wrote while they were read: they were never on any disk. */
  readonly isTorn: boolean;
}

/** Nothing but the image. */
export const fromImage: Content = { run: undefined, writes: 0, isTorn: false };

/** What a run leaves when it has ended. */
export const lastWrite = 2;

export function written(run: Run, writes: number): Content {
  return { run, writes, isTorn: false };
}

export function isSameContent(one: Content, other: Content): boolean {
  return one.run?.number === other.run?.number && one.writes === other.writes && one.isTorn === other.isTorn;
}

/** What a reader has who began with one and ended with the other. */
export function readBetween(begin: Content, end: Content): Content {
  return isSameContent(begin, end) ? begin : { ...begin, isTorn: true };
}

export function describeContent({ run, writes, isTorn }: Content): string {
  if (run === undefined) return 'the bytes of the image';
  const when = writes === lastWrite ? '' : ' so far';
  return `what run ${run.number} (version ${run.contentVersion}) wrote${when}${isTorn ? ', torn' : ''}`;
}
