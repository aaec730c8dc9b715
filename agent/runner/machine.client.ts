import { mkdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { bytes, millicores, type ResourceAmounts } from '../../crds/index.ts';
import { BerthError, messageOf } from '../../process/errors.ts';

export interface CapacitySettings {
  readonly stateDir: string;
  readonly capacityCpu?: string | undefined;
  readonly capacityMemory?: string | undefined;
  readonly capacityDisk?: string | undefined;
}

/** What the machine has, or what of it the settings give to Berth. */
export async function machineCapacity(settings: CapacitySettings): Promise<ResourceAmounts> {
  const { capacityCpu, capacityMemory, capacityDisk, stateDir } = settings;
  return {
    cpuMillis: capacityCpu === undefined ? availableParallelism() * 1000 : millicores(capacityCpu),
    memoryBytes: capacityMemory === undefined ? totalmem() : bytes(capacityMemory),
    diskBytes: capacityDisk === undefined ? await diskOf(stateDir) : bytes(capacityDisk),
  };
}

/** The rest is for images, logs, and what sandboxes write beyond their requests. */
const shareOfDisk = 0.9;

async function diskOf(path: string): Promise<number> {
  const { blocks, bsize } = await statfs(path);
  return Math.floor(blocks * bsize * shareOfDisk);
}

/** Changes with every boot of the machine. */
export async function bootID(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Bounds the processes of everything below the cgroup. @throws BerthError `CgroupFailed` */
export async function limitProcesses(parent: string, most: number, mountPoint = '/sys/fs/cgroup'): Promise<void> {
  const hierarchy = await readFile(join(mountPoint, 'cgroup.controllers'), 'utf8').then(
    () => mountPoint,
    () => join(mountPoint, 'pids'),
  );
  const directory = join(hierarchy, parent);
  try {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'pids.max'), String(most));
  } catch (cause) {
    throw new BerthError(
      'CgroupFailed',
      `The processes of ${directory} cannot be limited: ${messageOf(cause)}. Enable the pids controller there, or leave BERTH_CAPACITY_PIDS away.`,
      { cause },
    );
  }
}
