import type { ResourceAmounts } from '../../crds/index.ts';
import { CAPABILITIES } from './capabilities.ts';
import type { ContainerUser, RuntimeSpec, SeccompProfile, SpecMount } from './oci.ts';

export interface SpecInput {
  /** The sandbox's name. */
  readonly hostname: string;
  readonly user: ContainerUser;
  readonly args: readonly string[];
  /** `NAME=value`, each name once. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts;
  readonly pidsLimit: number;
  /** As the runtime wants it: `/parent/id`, or `slice:prefix:id` with the systemd driver. */
  readonly cgroupsPath: string;
  /** Whether the kernel counts swap, so that it can be limited. */
  readonly swapAccounting: boolean;
  /** A file of the host shown as /etc/hosts. */
  readonly hostsFile: string;
  readonly seccomp: SeccompProfile;
  /** Files of the host that it sees besides. Default: none. */
  readonly files?: readonly { readonly path: string; readonly source: string }[];
  /** Each of its processes is ended by the kernel after so many seconds of processor time. Default: never. */
  readonly cpuSeconds?: number;
}

/** CFS period in microseconds: the kernel's default. */
const cpuPeriod = 100_000;
/** The kernel's smallest CPU weight and smallest quota in microseconds. */
const smallestShares = 2;
const smallestQuota = 1_000;
/** Sandboxes are the first to go when the whole node runs out of memory. Without a value they would inherit the shim's protection. */
const oomScoreAdj = 1000;

const hidden = ['nosuid', 'noexec', 'nodev'];
const mounts: readonly SpecMount[] = [
  { destination: '/proc', type: 'proc', source: 'proc', options: hidden },
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...hidden, 'mode=1777', 'size=65536k'] },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: hidden },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...hidden, 'ro'] },
  // Programs that size themselves (Go, the JVM, Node) read their limits here.
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [...hidden, 'relatime', 'ro'] },
];

/** What of /proc and /sys tells about the machine or reaches into it. */
const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** The OCI spec of a sandbox's container: what untrusted code may do is decided here, and only here. */
export function buildSpec(input: SpecInput): RuntimeSpec {
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: input.user,
      args: input.args,
      env: input.env,
      cwd: input.cwd,
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      noNewPrivileges: true,
      oomScoreAdj,
      ...(input.cpuSeconds === undefined ? {} : { rlimits: [{ type: 'RLIMIT_CPU', soft: input.cpuSeconds, hard: input.cpuSeconds + 1 }] }),
    },
    root: { path: 'rootfs', readonly: false },
    hostname: input.hostname,
    mounts: [
      ...mounts,
      { destination: '/etc/hosts', type: 'bind', source: input.hostsFile, options: ['bind', 'ro', ...hidden] },
      ...(input.files ?? []).map(({ path, source }) => ({
        destination: path,
        type: 'bind',
        source,
        options: ['bind', 'rw', 'nosuid', 'nodev'],
      })),
    ],
    linux: {
      cgroupsPath: input.cgroupsPath,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', 'cgroup'].map((type) => ({ type })),
      resources: {
        // Everything is denied; the runtime allows /dev/null, zero, full, random, urandom, tty and the terminals itself.
        devices: [{ allow: false, access: 'rwm' }],
        memory: {
          limit: input.limits.memoryBytes,
          // Memory and swap together: none is swapped.
          ...(input.swapAccounting ? { swap: input.limits.memoryBytes } : {}),
        },
        cpu: {
          shares: Math.max(smallestShares, Math.floor((input.requests.cpuMillis * 1024) / 1000)),
          quota: Math.max(smallestQuota, Math.floor((input.limits.cpuMillis * cpuPeriod) / 1000)),
          period: cpuPeriod,
        },
        pids: { limit: input.pidsLimit },
      },
      seccomp: input.seccomp,
      maskedPaths,
      readonlyPaths,
    },
  };
}
