import { isOneShotID } from './one-shot.ts';
import { parseCopyID } from './labels.ts';
import { isProbeID } from './probe-program.ts';

/** A shim process. */
export interface Shim {
  readonly pid: number;
  /** As the kernel counts: with the pid it is the process, whoever has that pid later. */
  readonly started: number;
  /** The id that it was started for: the container that founded its group. */
  readonly founder: string;
}

/** A container's record, as far as it says which shim it is in. */
export interface ShimUser {
  readonly id: string;
  /** Name of its shim group; empty: it has a shim of its own. */
  readonly group: string;
  /** containerd has a task of it, or its cgroup has processes. */
  readonly isLive: boolean;
}

/** What a look has found, for the next one. */
export interface LookedAt {
  /** Containers of the OCI runtime without a record. */
  readonly unrecorded: ReadonlySet<string>;
  /** Since when nothing was in a shim, by the monotonic clock. */
  readonly idleSince: ReadonlyMap<string, number>;
}

export const nothingLookedAt: LookedAt = { unrecorded: new Set(), idleSince: new Map() };

/** Longer than any call to a shim may take: one that is about to get its first container, or to remove its last, has nothing in it for so long. */
export const idleMs = 45_000;

/** What is to be removed, and what the next look has to know. */
export function decideLeftovers(
  before: LookedAt,
  now: {
    readonly atMs: number;
    /** What the OCI runtime has. */
    readonly ids: readonly string[];
    readonly shims: readonly Shim[];
    /** All records, read after the others. */
    readonly users: readonly ShimUser[];
  },
): { readonly lost: readonly string[]; readonly idle: readonly Shim[]; readonly next: LookedAt } {
  const recorded = new Set(now.users.map(({ id }) => id));
  // A record that is replaced is away for a moment.
  const unrecorded = now.ids.filter((id) => isContainerID(id) && !recorded.has(id));
  const idle = idleShims(now.shims, now.users);
  const idleSince = new Map(idle.map((shim) => [nameOf(shim), before.idleSince.get(nameOf(shim)) ?? now.atMs]));
  return {
    lost: unrecorded.filter((id) => before.unrecorded.has(id)),
    idle: idle.filter((shim) => now.atMs - (idleSince.get(nameOf(shim)) ?? now.atMs) >= idleMs),
    next: { unrecorded: new Set(unrecorded), idleSince },
  };
}

/** The founder of the shim that this is the command line of; undefined when it serves another containerd or namespace, or nobody. */
export function founderIn(
  commandLine: readonly string[],
  { address, namespace }: { readonly address: string; readonly namespace: string },
): string | undefined {
  const option = (name: string) => (commandLine.includes(name) ? commandLine[commandLine.indexOf(name) + 1] : undefined);
  // containerd calls the same program to start a shim and to remove what one left.
  const serves = !['start', 'delete'].includes(commandLine.at(-1) ?? '');
  return serves && option('-namespace') === namespace && option('-address') === address ? option('-id') : undefined;
}

/** The shims that no live container is in. */
function idleShims(shims: readonly Shim[], users: readonly ShimUser[]): readonly Shim[] {
  const used = new Set(users.filter(({ isLive }) => isLive).flatMap(({ id, group }) => [id, group, founderOf(group)]));
  return shims.filter(({ founder }) => !used.has(founder));
}

/** A container that founds one more group while its first is there names it with a number behind a dot. */
function founderOf(group: string): string {
  return group.replace(/\.\d+$/, '');
}

/** The OCI runtime keeps more than containers in its directory. */
function isContainerID(name: string): boolean {
  return parseCopyID(name) !== undefined || isOneShotID(name) || isProbeID(name);
}

function nameOf({ pid, started }: Shim): string {
  return `${pid}/${started}`;
}
