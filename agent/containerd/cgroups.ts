/** How the machine's cgroups are organised, and where the sandboxes' are. */
export interface CgroupLayout {
  readonly version: 1 | 2;
  /** Where the hierarchies are mounted, as this process sees it. */
  readonly mountPoint: string;
  /** Below the mount point: the cgroup above the sandboxes'. With the systemd driver a slice. */
  readonly parent: string;
  readonly driver: 'cgroupfs' | 'systemd';
}

/** `cgroupsPath` of the OCI spec for a container. */
export function specCgroup({ driver, parent }: CgroupLayout, id: string): string {
  return driver === 'systemd' ? `${sliceName(parent)}:berth:${id}` : `${parent}/${id}`;
}

/** The directory with the container's processes and memory counters. In version 1 every process is in each hierarchy, so that one says all. */
export function cgroupDirectory(layout: CgroupLayout, id: string): string {
  return controllerDirectory(layout, 'memory', id);
}

/** The directory with the container's files of a controller. */
export function controllerDirectory(layout: CgroupLayout, controller: 'memory' | 'cpuacct' | 'pids', id: string): string {
  return `${layout.mountPoint}${layout.version === 1 ? `/${controller}` : ''}${containerPath(layout, id)}`;
}

/** The container's cgroup in a hierarchy. */
export function containerPath(layout: CgroupLayout, id: string): string {
  return `${parentPath(layout)}/${layout.driver === 'systemd' ? `berth-${id}.scope` : id}`;
}

/** The cgroup above those of containers, in a hierarchy. */
export function parentPath({ driver, parent }: CgroupLayout): string {
  return driver === 'systemd' ? slicePath(sliceName(parent)) : parent;
}

/** The container whose cgroup has this name below `parentPath`; undefined for another's. */
export function containerIn({ driver }: CgroupLayout, name: string): string | undefined {
  return driver === 'systemd' ? /^berth-(.+)\.scope$/.exec(name)?.[1] : name;
}

/** The file that counts how often the kernel killed for want of memory. */
export function oomFile(layout: CgroupLayout): string {
  return layout.version === 1 ? 'memory.oom_control' : 'memory.events';
}

/** The count in such a file. */
export function parseOomKills(content: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(content)?.[1] ?? 0);
}

/** The pids in a cgroup.procs file; 0 stands for a process outside this pid namespace. */
export function parsePids(content: string): readonly number[] {
  return content
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

/** `/berth` and `berth.slice` both name berth.slice. */
function sliceName(parent: string): string {
  const name = parent.replace(/^\/+|\/+$/g, '').replace(/\//g, '-');
  return name.endsWith('.slice') ? name : `${name}.slice`;
}

/** systemd nests slices by their dashes: a-b.slice lies in a.slice. */
function slicePath(slice: string): string {
  const parts = slice.slice(0, -'.slice'.length).split('-');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}

/** Processor time in microseconds, from `cpuacct.usage` (version 1) or `cpu.stat`. */
export function parseCpuTime(version: CgroupLayout['version'], content: string): number {
  if (version === 1) return Math.floor(Number(content.trim() || 0) / 1000);
  return Number(/^usage_usec (\d+)$/m.exec(content)?.[1] ?? 0);
}

/** How often a process was refused, from `pids.events`. */
export function parsePidsRefused(content: string): number {
  return Number(/^max (\d+)$/m.exec(content)?.[1] ?? 0);
}
