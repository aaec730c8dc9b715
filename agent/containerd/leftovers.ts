/** A shim process. */
export interface Shim {
  readonly pid: number;
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

/** The shims that no live container is in. One that is about to get its first is among them, so that one look alone proves nothing. */
export function idleShims(shims: readonly Shim[], users: readonly ShimUser[]): readonly Shim[] {
  const used = new Set(users.filter(({ isLive }) => isLive).flatMap(({ id, group }) => [id, group, founderOf(group)]));
  return shims.filter(({ founder }) => !used.has(founder));
}

/** A container that founds one more group while its first is there names it with a number behind a dot. */
function founderOf(group: string): string {
  return group.replace(/\.\d+$/, '');
}

/** The founder of the shim that this is the command line of; undefined when it is none of this containerd and namespace. */
export function founderIn(
  commandLine: readonly string[],
  { address, namespace }: { readonly address: string; readonly namespace: string },
): string | undefined {
  const [program = '', ...args] = commandLine;
  const option = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
  const isOurs = program.endsWith('containerd-shim-runc-v2') && option('-namespace') === namespace && option('-address') === address;
  return isOurs ? option('-id') : undefined;
}
