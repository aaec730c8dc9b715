import { readdir, readFile, readlink } from 'node:fs/promises';
import { parseStat, type ProcessStat } from '../tasks/process-tree.ts';

/** What there is of a process; undefined when it has ended. */
export async function statOf(pid: number): Promise<ProcessStat | undefined> {
  return unlessEnded(async () => parseStat(await readFile(`/proc/${pid}/stat`, 'utf8')));
}

/** The command line; empty when it has ended. */
export async function commandLineOf(pid: number): Promise<readonly string[]> {
  const line = await unlessEnded(() => readFile(`/proc/${pid}/cmdline`, 'utf8'));
  return line?.split('\0').slice(0, -1) ?? [];
}

/**
 * The processes of this name, as the kernel cuts it off, in the pid namespace of this process: those in containers are none of them. One after
 * another: to read of all at once would make others wait who read a file.
 */
export async function processesNamed(name: string): Promise<readonly number[]> {
  const own = await readlink('/proc/self/ns/pid');
  const found: number[] = [];
  for (const pid of await processIDs()) {
    const comm = await unlessEnded(() => readFile(`/proc/${pid}/comm`, 'utf8'));
    if (comm?.trim() === name && (await unlessEnded(() => readlink(`/proc/${pid}/ns/pid`).catch(unlessHidden))) === own) found.push(pid);
  }
  return found;
}

/** Whether a process has others below it. */
export async function hasChildren(pid: number): Promise<boolean> {
  for (const other of await processIDs()) if ((await statOf(other))?.parent === pid) return true;
  return false;
}

async function processIDs(): Promise<readonly number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Without CAP_SYS_PTRACE the namespaces of those who may do more are hidden. */
function unlessHidden(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES' && code !== 'EPERM') throw error;
  return undefined;
}

async function unlessEnded<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
