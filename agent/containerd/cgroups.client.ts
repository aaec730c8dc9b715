import { readFile, readdir, rmdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  cgroupDirectory,
  type CgroupLayout,
  containerIn,
  containerPath,
  controllerDirectory,
  oomFile,
  parentPath,
  parseCpuTime,
  parseOomKills,
  parsePids,
  parsePidsRefused,
} from './cgroups.ts';
import { sendSignal } from './signal.client.ts';

export interface CgroupOptions {
  /** Where the hierarchies are mounted. Default /sys/fs/cgroup. */
  readonly mountPoint?: string;
  /** Default /berth. */
  readonly parent?: string;
  readonly driver?: 'cgroupfs' | 'systemd';
}

/** What the kernel says about the sandboxes' cgroups: the proof that nothing runs. */
export class Cgroups {
  readonly layout: CgroupLayout;
  /** Whether swap is counted, so that a limit for it can be set. */
  readonly swapAccounting: boolean;

  constructor({ mountPoint = '/sys/fs/cgroup', parent = '/berth', driver = 'cgroupfs' }: CgroupOptions) {
    const version = existsSync(join(mountPoint, 'cgroup.controllers')) ? 2 : 1;
    this.layout = { version, mountPoint, parent, driver };
    // In version 2 the runtimes ignore a limit of no swap where swap is not counted.
    this.swapAccounting = version === 2 || existsSync(join(mountPoint, 'memory/memory.memsw.limit_in_bytes'));
  }

  /** The processes of a container, of cgroups below its own too; none when the cgroup is not there. */
  processes(id: string): Promise<readonly number[]> {
    return processesBelow(cgroupDirectory(this.layout, id));
  }

  async oomKills(id: string): Promise<number> {
    return parseOomKills(await readOrEmpty(join(cgroupDirectory(this.layout, id), oomFile(this.layout))));
  }

  /** Processor time in microseconds of all processes that ever were in it. */
  async cpuTimeUs(id: string): Promise<number> {
    const { version } = this.layout;
    const file = version === 1 ? 'cpuacct.usage' : 'cpu.stat';
    return parseCpuTime(version, await readOrEmpty(join(controllerDirectory(this.layout, 'cpuacct', id), file)));
  }

  /** 0 where the kernel does not know. */
  async memoryPeakBytes(id: string): Promise<number> {
    const file = this.layout.version === 1 ? 'memory.max_usage_in_bytes' : 'memory.peak';
    return Number((await readOrEmpty(join(cgroupDirectory(this.layout, id), file))).trim() || 0);
  }

  /** How often a process was refused for the limit of their number. */
  async pidsRefused(id: string): Promise<number> {
    return parsePidsRefused(await readOrEmpty(join(controllerDirectory(this.layout, 'pids', id), 'pids.events')));
  }

  /** SIGKILL for every process of a container whose task containerd has lost. */
  async kill(id: string): Promise<void> {
    const directory = cgroupDirectory(this.layout, id);
    const all = join(directory, 'cgroup.kill');
    if (existsSync(all)) {
      await writeFile(all, '1');
      return;
    }
    for (const pid of await processesBelow(directory)) if (pid > 0) sendSignal(pid, 'SIGKILL');
  }

  /** The containers that have a cgroup in any hierarchy. */
  async containers(): Promise<readonly string[]> {
    const hierarchies = await this.#hierarchies();
    const names = await Promise.all(hierarchies.map((hierarchy) => entries(join(hierarchy, parentPath(this.layout)))));
    const ids = names.flatMap((found) => found ?? []).map((name) => containerIn(this.layout, name));
    return [...new Set(ids.filter((id) => id !== undefined))];
  }

  /** Removes a container's cgroups, in which nothing may run, from every hierarchy. */
  async remove(id: string): Promise<void> {
    const hierarchies = await this.#hierarchies();
    await Promise.all(hierarchies.map((hierarchy) => removeWithChildren(join(hierarchy, containerPath(this.layout, id)))));
  }

  async #hierarchies(): Promise<readonly string[]> {
    const { version, mountPoint } = this.layout;
    if (version === 2) return [mountPoint];
    // A directory in which nothing is mounted is none.
    return ((await entries(mountPoint)) ?? [])
      .map((name) => join(mountPoint, name))
      .filter((path) => existsSync(join(path, 'cgroup.procs')));
  }
}

async function removeWithChildren(directory: string): Promise<void> {
  const children = await entries(directory);
  if (children === undefined) return;
  await Promise.all(children.map((child) => removeWithChildren(join(directory, child))));
  await rmdir(directory).catch(absent);
}

async function processesBelow(directory: string): Promise<readonly number[]> {
  const children = await entries(directory);
  if (children === undefined) return [];
  const below = await Promise.all(children.map((child) => processesBelow(join(directory, child))));
  return [...parsePids(await readOrEmpty(join(directory, 'cgroup.procs'))), ...below.flat()];
}

/** The directories in a directory; undefined when it does not exist. */
async function entries(directory: string): Promise<readonly string[] | undefined> {
  const found = await readdir(directory, { withFileTypes: true }).catch(absent);
  return found?.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function readOrEmpty(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(absent)) ?? '';
}

function absent(error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  // ENODEV: a cgroup that is being removed.
  if (code === 'ENOENT' || code === 'ENODEV') return undefined;
  throw error;
}
