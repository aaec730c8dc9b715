import type { Dirent } from 'node:fs';
import { join } from 'node:path';
import { entriesBelow } from './below.ts';
import { cgroupMounts } from './cgroups.ts';
import { commandLine } from './processes.ts';
import type { Runner } from './runner.ts';

/**
 * Everything on a runner that lives as long as a sandbox does, one line each: containers, tasks, snapshots that are not image layers, leases,
 * ingests, sandbox records, processes, cgroups, mounts, network namespaces, files of the agent, the runtime and the shims. What may stay (images,
 * their content and layers, the agent's journal, containerd's own database) is not named. Two lists compared say what was left behind.
 */
export async function livingOn(runner: Runner): Promise<readonly string[]> {
  const namespaces = linesOf(await runner.ctr('default', 'namespaces', 'ls', '-q'));
  const ofContainerd = await Promise.all(namespaces.map((namespace) => livingIn(runner, namespace)));
  return [...ofContainerd.flat(), ...processesOf(runner), ...cgroupsOf(runner), ...(await mountsOf(runner)), ...filesOf(runner)].toSorted();
}

/** What is there now and was not before; a line that is there more often than before counts as well. */
export function added(before: readonly string[], now: readonly string[]): readonly string[] {
  const times = (lines: readonly string[], line: string) => lines.filter((other) => other === line).length;
  return now.filter((line, index) => times(now.slice(0, index + 1), line) > times(before, line));
}

async function livingIn(runner: Runner, namespace: string): Promise<readonly string[]> {
  const listed = async (what: string, ...args: readonly string[]) =>
    linesOf(await runner.ctr(namespace, ...args)).map((line) => `${what} ${namespace}/${line.trim().split(/\s+/)[0] ?? ''}`);
  const snapshots = linesOf(await runner.ctr(namespace, 'snapshots', 'ls'))
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.at(-1) !== 'Committed')
    .map(([key = '']) => `snapshot ${namespace}/${key}`);
  return [
    ...(await listed('container', 'containers', 'ls', '-q')),
    ...(await listed('task', 'tasks', 'ls', '-q')),
    ...(await listed('lease', 'leases', 'ls', '-q')),
    ...(await listed('ingest', 'content', 'active')).slice(1),
    ...(await listed('sandbox record', 'sandboxes', 'ls')).slice(1),
    ...snapshots,
  ];
}

/** Without their pids, which mean nothing to a reader: shims by their arguments, the others by their program. */
function processesOf(runner: Runner): readonly string[] {
  return runner.sandboxProcesses().map((pid) => `process ${pid} ${commandLine(pid).join(' ').slice(0, 120)}`);
}

/** The runner's own cgroup stays; those of sandboxes lie below it. */
function cgroupsOf({ cgroupParent }: Runner): readonly string[] {
  return cgroupMounts().flatMap((mount) => directoriesBelow(join(mount, cgroupParent)).map((path) => `cgroup ${path}`));
}

/** In the machine's mount namespace; the mounts that a machine is made of are there before and after. Network namespaces are bind mounts too. */
async function mountsOf(runner: Runner): Promise<readonly string[]> {
  const mounts = linesOf(await runner.exec('cat', '/proc/self/mountinfo')).map((line) => line.split(' ')[4] ?? '');
  return mounts
    .filter((path) => path.startsWith(runner.stateDir) || path.startsWith(runner.dataDir) || path.includes('netns'))
    .map((path) => `mount ${path}`);
}

function filesOf(runner: Runner): readonly string[] {
  const places = [runner.agentStateDir, runner.runtimeRoot, runner.shimSockets, runner.taskStateDir];
  // The lock has another name at every start of the agent.
  return places.flatMap((path) => everythingBelow(path)).map((path) => `file ${path.replace(/agent\.lock\.[0-9a-f]{8}$/, 'agent.lock.…')}`);
}

function directoriesBelow(directory: string): readonly string[] {
  return everythingBelow(directory, (entry) => entry.isDirectory());
}

function everythingBelow(directory: string, wanted: (entry: Dirent) => boolean = () => true): readonly string[] {
  return entriesBelow(directory)
    .filter(wanted)
    .map(({ parentPath, name }) => join(parentPath, name));
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}
