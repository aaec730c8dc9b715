import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { entriesBelow } from '../harness/below.ts';
import type { Runner } from '../harness/runner.ts';
import { eventually } from './eventually.ts';

/** What a runner still holds of a sandbox, by the sandbox's uid. Everything that Berth makes for a copy carries it in its name. */
export interface Remains {
  readonly containers: readonly string[];
  readonly snapshots: readonly string[];
  readonly tasks: readonly string[];
  readonly files: readonly string[];
  readonly cgroups: readonly string[];
}

export const nothing: Remains = { containers: [], snapshots: [], tasks: [], files: [], cgroups: [] };

/** Everything of the sandbox that lies on the runner. */
export async function lyingOn(runner: Runner, uid: string): Promise<Remains> {
  const namespaces = await namespacesOf(runner);
  const named = async (...args: readonly string[]) =>
    (await rowsOf(runner, namespaces, ...args)).map(([name = '']) => name).filter((name) => name.includes(uid));
  return {
    containers: await named('containers', 'ls', '-q'),
    snapshots: await named('snapshots', 'ls'),
    tasks: await named('tasks', 'ls', '-q'),
    files: under(runner.agentStateDir, uid),
    cgroups: [join('/sys/fs/cgroup', runner.cgroupParent), ...hierarchies().map((path) => join(path, runner.cgroupParent))].flatMap(
      (path) => under(path, uid),
    ),
  };
}

/**
 * The tasks of the sandbox on the runner that were started and have not ended. Those that are created only are not among them: a
 * preparation whose operator was ended or deposed lies there until its time is over, and never runs.
 */
export async function runningOn(runner: Runner, uid: string): Promise<readonly string[]> {
  const rows = await rowsOf(runner, await namespacesOf(runner), 'tasks', 'ls');
  return rows
    .filter(([name = '', , state = '']) => name.includes(uid) && ['RUNNING', 'PAUSING', 'PAUSED'].includes(state))
    .map(([name = '']) => name);
}

/** Waits until nothing of the sandbox lies on the runner any more. */
export async function nothingLiesOn(runner: Runner, uid: string): Promise<void> {
  const last = { seen: nothing };
  const look = async () => {
    last.seen = await lyingOn(runner, uid);
    return Object.values(last.seen).every((found: readonly string[]) => found.length === 0) ? true : undefined;
  };
  await eventually(`nothing of ${uid} lies on ${runner.name}`, look, () => last.seen);
}

/** The container of a sandbox and the containerd namespace it lies in. */
export async function containerOf(runner: Runner, uid: string): Promise<{ readonly namespace: string; readonly id: string }> {
  for (const namespace of await namespacesOf(runner)) {
    const id = lines(await runner.ctr(namespace, 'containers', 'ls', '-q')).find((name) => name.includes(uid));
    if (id !== undefined) return { namespace, id };
  }
  throw new Error(`no container of ${uid} lies on ${runner.name}`);
}

/** Runs a command inside a running sandbox, beside its main program; returns what it printed. */
export async function inside(runner: Runner, uid: string, ...command: readonly string[]): Promise<string> {
  const { namespace, id } = await containerOf(runner, uid);
  return runner.ctr(namespace, 'tasks', 'exec', '--exec-id', `look-${process.hrtime.bigint()}`, id, ...command);
}

/**
 * What a file inside a running sandbox holds once `isWhole` says so, by default as soon as it holds anything: a program that runs may not
 * have come so far as to write it.
 */
export async function written(
  runner: Runner,
  uid: string,
  path: string,
  isWhole: (text: string) => boolean = (text) => text !== '',
): Promise<string> {
  const last = { seen: '' };
  return eventually(
    `${path} of ${uid} is written`,
    async () => {
      last.seen = await inside(runner, uid, 'sh', '-c', `[ ! -e ${path} ] || cat ${path}`);
      return isWhole(last.seen) ? last.seen : undefined;
    },
    () => last.seen,
  );
}

/** The memory limit of a sandbox as its cgroup has it, of either cgroup version, in bytes. */
export async function memoryLimitOf(runner: Runner, uid: string): Promise<number> {
  const { cgroups } = await lyingOn(runner, uid);
  const limit = cgroups.find((path) => /\/memory\.(limit_in_bytes|max)$/.test(path));
  if (limit === undefined) throw new Error(`${uid} has no memory cgroup on ${runner.name}`);
  return Number(readFileSync(limit, 'utf8'));
}

/** The mount points of the version 1 hierarchies; with version 2 alone, its directories, which hold nothing of a runner. */
function hierarchies(): readonly string[] {
  return readdirSync('/sys/fs/cgroup', { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join('/sys/fs/cgroup', name));
}

function under(directory: string, part: string): readonly string[] {
  return entriesBelow(directory)
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => path.slice(directory.length).includes(part));
}

async function namespacesOf(runner: Runner): Promise<readonly string[]> {
  return lines(await runner.ctr('default', 'namespaces', 'ls', '-q'));
}

/** What ctr prints in all the namespaces, by line and column. */
async function rowsOf(runner: Runner, namespaces: readonly string[], ...args: readonly string[]): Promise<readonly string[][]> {
  const printed = await Promise.all(namespaces.map((namespace) => runner.ctr(namespace, ...args)));
  return printed.flatMap(lines).map((line) => line.split(/\s+/));
}

function lines(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}
