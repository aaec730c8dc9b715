/** A process as /proc/<pid>/stat tells it. Times in ticks; those of children are of the ones that it has waited for. */
export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
  readonly childTicks: number;
  /** When it was started, in ticks since the boot: with the pid it names a process. */
  readonly started: number;
}

/** The processes that are known to descend from one, and what they have used. */
export interface ProcessTree {
  readonly root: number;
  readonly known: readonly ProcessStat[];
  /** Ticks in all, never less than was seen before. */
  readonly ticks: number;
}

/** Undefined for anything else than such a line. The name of the program, in brackets, may hold anything. */
export function parseStat(line: string): ProcessStat | undefined {
  const close = line.lastIndexOf(')');
  const fields = line.slice(close + 2).split(' ');
  const number = (at: number) => Number(fields[at - 3]);
  const stat = {
    pid: Number.parseInt(line, 10),
    parent: number(4),
    ticks: number(14) + number(15),
    childTicks: number(16) + number(17),
    started: number(22),
  };
  return close < 0 || Object.values(stat).some((value) => !Number.isInteger(value)) ? undefined : stat;
}

export function rootedAt(root: number): ProcessTree {
  return { root, known: [], ticks: 0 };
}

/**
 * The tree as it is now. Who was seen to descend from the root stays in it when its parent ends and another one adopts it. What ended between
 * two looks counts if its parent waited for it and is still there.
 */
export function look(before: ProcessTree, all: readonly ProcessStat[]): ProcessTree {
  const wasKnown = (stat: ProcessStat) => before.known.some(({ pid, started }) => pid === stat.pid && started === stat.started);
  const known = grow(
    all.filter((stat) => stat.pid === before.root || wasKnown(stat)),
    all,
  );
  const ticks = known.reduce((sum, stat) => sum + stat.ticks + stat.childTicks, 0);
  return { root: before.root, known, ticks: Math.max(before.ticks, ticks) };
}

function grow(known: readonly ProcessStat[], all: readonly ProcessStat[]): readonly ProcessStat[] {
  const pids = new Set(known.map(({ pid }) => pid));
  const more = all.filter(({ pid, parent }) => !pids.has(pid) && pids.has(parent));
  return more.length === 0 ? known : grow([...known, ...more], all);
}
