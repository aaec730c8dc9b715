/** How much of a sandbox's log is kept. */
export interface LogLimits {
  /** Beyond this a log is rotated, in bytes. */
  readonly maxBytes: number;
  /** Files of one sandbox at most, the one that is written to included. At least 2. */
  readonly maxFiles: number;
}

/** What lies there of one sandbox's log, in bytes. */
export interface LogSizes {
  /** The file that is written to. */
  readonly current: number;
  /** What was rotated out of it, the newest first. */
  readonly rotated: readonly number[];
}

export interface Rotation {
  /** So many bytes at the beginning of the current file are beyond what is kept. */
  readonly skip: number;
  /** So many of the newest rotated files stay; the others go. */
  readonly keep: number;
}

/**
 * What is to be done about a log; undefined while it is small. All files together take `maxBytes × maxFiles` at most afterwards, however far
 * the log has grown while nobody looked: what is dropped is always the oldest.
 */
export function decideRotation({ current, rotated }: LogSizes, { maxBytes, maxFiles }: LogLimits): Rotation | undefined {
  if (current <= maxBytes) return undefined;
  const room = maxBytes * maxFiles;
  const moved = Math.min(current, room);
  const sums = rotated.map((_, index) => moved + rotated.slice(0, index + 1).reduce((sum, size) => sum + size, 0));
  const fitting = sums.findIndex((sum) => sum > room);
  return { skip: current - moved, keep: Math.min(fitting < 0 ? rotated.length : fitting, maxFiles - 2) };
}
