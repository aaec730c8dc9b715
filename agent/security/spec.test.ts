import { describe, expect, it } from '@jest/globals';
import { CAPABILITIES } from './capabilities.ts';
import { seccompProfile } from './seccomp.ts';
import { buildSpec, type SpecInput } from './spec.ts';

const input: SpecInput = {
  hostname: 'box',
  user: { uid: 1000, gid: 1000, additionalGids: [10] },
  args: ['/bin/sh'],
  env: ['PATH=/bin'],
  cwd: '/work',
  requests: { cpuMillis: 125, memoryBytes: 64, diskBytes: 0 },
  limits: { cpuMillis: 1500, memoryBytes: 512, diskBytes: 0 },
  pidsLimit: 99,
  cgroupsPath: '/berth/u-1',
  swapAccounting: true,
  hostsFile: '/state/hosts',
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO' },
};

/** The whole of what a sandbox may do: a change here is a change of its security. */
it('buildSpec gives exactly this', () => {
  expect(buildSpec(input)).toMatchInlineSnapshot(`
   {
     "hostname": "box",
     "linux": {
       "cgroupsPath": "/berth/u-1",
       "maskedPaths": [
         "/proc/acpi",
         "/proc/asound",
         "/proc/interrupts",
         "/proc/kcore",
         "/proc/keys",
         "/proc/latency_stats",
         "/proc/sched_debug",
         "/proc/scsi",
         "/proc/timer_list",
         "/proc/timer_stats",
         "/sys/devices/virtual/powercap",
         "/sys/firmware",
       ],
       "namespaces": [
         {
           "type": "pid",
         },
         {
           "type": "ipc",
         },
         {
           "type": "uts",
         },
         {
           "type": "mount",
         },
         {
           "type": "network",
         },
         {
           "type": "cgroup",
         },
       ],
       "readonlyPaths": [
         "/proc/bus",
         "/proc/fs",
         "/proc/irq",
         "/proc/sys",
         "/proc/sysrq-trigger",
       ],
       "resources": {
         "cpu": {
           "period": 100000,
           "quota": 150000,
           "shares": 128,
         },
         "devices": [
           {
             "access": "rwm",
             "allow": false,
           },
         ],
         "memory": {
           "limit": 512,
           "swap": 512,
         },
         "pids": {
           "limit": 99,
         },
       },
       "seccomp": {
         "defaultAction": "SCMP_ACT_ERRNO",
       },
     },
     "mounts": [
       {
         "destination": "/proc",
         "options": [
           "nosuid",
           "noexec",
           "nodev",
         ],
         "source": "proc",
         "type": "proc",
       },
       {
         "destination": "/dev",
         "options": [
           "nosuid",
           "strictatime",
           "mode=755",
           "size=65536k",
         ],
         "source": "tmpfs",
         "type": "tmpfs",
       },
       {
         "destination": "/dev/pts",
         "options": [
           "nosuid",
           "noexec",
           "newinstance",
           "ptmxmode=0666",
           "mode=0620",
           "gid=5",
         ],
         "source": "devpts",
         "type": "devpts",
       },
       {
         "destination": "/dev/shm",
         "options": [
           "nosuid",
           "noexec",
           "nodev",
           "mode=1777",
           "size=65536k",
         ],
         "source": "shm",
         "type": "tmpfs",
       },
       {
         "destination": "/dev/mqueue",
         "options": [
           "nosuid",
           "noexec",
           "nodev",
         ],
         "source": "mqueue",
         "type": "mqueue",
       },
       {
         "destination": "/sys",
         "options": [
           "nosuid",
           "noexec",
           "nodev",
           "ro",
         ],
         "source": "sysfs",
         "type": "sysfs",
       },
       {
         "destination": "/sys/fs/cgroup",
         "options": [
           "nosuid",
           "noexec",
           "nodev",
           "relatime",
           "ro",
         ],
         "source": "cgroup",
         "type": "cgroup",
       },
       {
         "destination": "/etc/hosts",
         "options": [
           "bind",
           "ro",
           "nosuid",
           "noexec",
           "nodev",
         ],
         "source": "/state/hosts",
         "type": "bind",
       },
     ],
     "ociVersion": "1.0.2",
     "process": {
       "args": [
         "/bin/sh",
       ],
       "capabilities": {
         "bounding": [
           "CAP_AUDIT_WRITE",
           "CAP_CHOWN",
           "CAP_DAC_OVERRIDE",
           "CAP_FOWNER",
           "CAP_FSETID",
           "CAP_KILL",
           "CAP_NET_BIND_SERVICE",
           "CAP_SETGID",
           "CAP_SETUID",
           "CAP_SYS_CHROOT",
         ],
         "effective": [
           "CAP_AUDIT_WRITE",
           "CAP_CHOWN",
           "CAP_DAC_OVERRIDE",
           "CAP_FOWNER",
           "CAP_FSETID",
           "CAP_KILL",
           "CAP_NET_BIND_SERVICE",
           "CAP_SETGID",
           "CAP_SETUID",
           "CAP_SYS_CHROOT",
         ],
         "permitted": [
           "CAP_AUDIT_WRITE",
           "CAP_CHOWN",
           "CAP_DAC_OVERRIDE",
           "CAP_FOWNER",
           "CAP_FSETID",
           "CAP_KILL",
           "CAP_NET_BIND_SERVICE",
           "CAP_SETGID",
           "CAP_SETUID",
           "CAP_SYS_CHROOT",
         ],
       },
       "cwd": "/work",
       "env": [
         "PATH=/bin",
       ],
       "noNewPrivileges": true,
       "oomScoreAdj": 1000,
       "terminal": false,
       "user": {
         "additionalGids": [
           10,
         ],
         "gid": 1000,
         "uid": 1000,
       },
     },
     "root": {
       "path": "rootfs",
       "readonly": false,
     },
   }
  `);
});

describe('buildSpec', () => {
  it('sets no swap limit where the kernel counts none', () => {
    expect(buildSpec({ ...input, swapAccounting: false }).linux.resources.memory).toEqual({ limit: 512 });
  });
  it('keeps CPU numbers that the kernel accepts', () => {
    const small = { cpuMillis: 1, memoryBytes: 1, diskBytes: 0 };
    expect(buildSpec({ ...input, requests: small, limits: small }).linux.resources.cpu).toEqual({ shares: 2, quota: 1000, period: 100000 });
  });
});

describe('seccompProfile', () => {
  const allowedOn = (architecture: string) =>
    (seccompProfile(architecture).syscalls ?? [])
      .filter((rule) => (rule as { action: string }).action === 'SCMP_ACT_ALLOW')
      .flatMap((rule) => (rule as { names: string[] }).names);

  it.each(['x64', 'arm64'])('on %s refuses what is not named, and names nothing that reaches out', (architecture) => {
    expect(seccompProfile(architecture).defaultAction).toBe('SCMP_ACT_ERRNO');
    const allowed = allowedOn(architecture);
    expect(allowed).toEqual(expect.arrayContaining(['read', 'execve', 'chroot']));
    for (const call of [
      'mount',
      'umount2',
      'unshare',
      'setns',
      'keyctl',
      'add_key',
      'request_key',
      'bpf',
      'perf_event_open',
      'init_module',
      'kexec_load',
      'io_uring_setup',
      'userfaultfd',
      'reboot',
      'open_by_handle_at',
    ])
      expect(allowed).not.toContain(call);
  });

  it('refuses an architecture that it has no profile for', () => {
    expect(() => seccompProfile('mips')).toThrow(/no seccomp profile/);
  });

  it('goes with capabilities that let nobody out', () => {
    for (const capability of [
      'CAP_SYS_ADMIN',
      'CAP_SYS_PTRACE',
      'CAP_NET_ADMIN',
      'CAP_NET_RAW',
      'CAP_MKNOD',
      'CAP_SYS_MODULE',
      'CAP_DAC_READ_SEARCH',
    ])
      expect(CAPABILITIES).not.toContain(capability);
  });
});
