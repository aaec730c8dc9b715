import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** A process that cannot be confused with a later one that was given the same pid. */
export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks since boot, from /proc/PID/stat. */
  readonly startTime: number;
}

/** The variable that every started process carries, so that a crashed run's processes (shims too, which inherit it) are found again. */
export const markerVariable = 'BERTH_HARNESS';

/** The process now running under a pid; undefined when there is none or only a zombie, which holds nothing any more. */
export function processRef(pid: number): ProcessRef | undefined {
  const fields = statFields(pid);
  if (fields === undefined || fields[0] === 'X') return undefined;
  // While other threads of it are still ending, the first is a zombie and files and ports are still held.
  if (fields[0] === 'Z' && threadCount(pid) <= 1) return undefined;
  return { pid, startTime: Number(fields[19]) };
}

function threadCount(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

/** The fields after the command name (which may hold spaces and brackets): state first. */
function statFields(pid: number): readonly string[] | undefined {
  const stat = readProc(pid, 'stat');
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

export function isAlive(process: ProcessRef | undefined): process is ProcessRef {
  return process !== undefined && processRef(process.pid)?.startTime === process.startTime;
}

/** Sends the signal if that very process still lives. */
export function sendSignal(target: ProcessRef, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    return process.kill(target.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Waits until the process is gone; false when it still lives after `ms`. */
export async function waitGone(target: ProcessRef, ms: number): Promise<boolean> {
  for (const end = performance.now() + ms; isAlive(target);) {
    if (performance.now() > end) return false;
    await delay(10);
  }
  return true;
}

/** Kills and waits; processes in uninterruptible sleep get `ms`. Returns those that still live. */
export async function killAll(targets: readonly ProcessRef[], ms = 10_000): Promise<readonly ProcessRef[]> {
  for (const target of targets) sendSignal(target, 'SIGKILL');
  const gone = await Promise.all(targets.map((target) => waitGone(target, ms)));
  return targets.filter((_, index) => gone[index] === false);
}

export function commandLine(pid: number): readonly string[] {
  return (readProc(pid, 'cmdline') ?? '').split('\0').slice(0, -1);
}

/** Every process that was started with `variable=value` in its environment, or inherited it from one that was. */
export function processesMarked(value: string, variable = markerVariable): readonly ProcessRef[] {
  return processesWhere((pid) => (readProc(pid, 'environ') ?? '').split('\0').includes(`${variable}=${value}`));
}

/** Every process of a session: what a program that was started in one of its own has left, unless it started a session too. */
export function processesInSession(session: number): readonly ProcessRef[] {
  return processesWhere((pid) => Number(statFields(pid)?.[3]) === session);
}

/** Every process whose root is an overlay that writes below `directory`: the processes of containers, wherever their cgroup is. */
export function processesRootedBelow(directory: string): readonly ProcessRef[] {
  return processesWhere((pid) => (readProc(pid, 'mountinfo') ?? '').split('\n').some((line) => isRootBelow(line, directory)));
}

function isRootBelow(line: string, directory: string): boolean {
  return line.split(' ')[4] === '/' && line.includes(`upperdir=${directory}/`);
}

function processesWhere(test: (pid: number) => boolean): readonly ProcessRef[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => test(Number(name)))
    .map((name) => processRef(Number(name)))
    .filter((found) => found !== undefined);
}

/** A file of a process; undefined when the process ended meanwhile. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
