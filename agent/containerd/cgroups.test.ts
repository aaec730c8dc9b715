import { basename } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { cgroupDirectory, type CgroupLayout, containerIn, oomFile, parentPath, parseOomKills, parsePids, specCgroup } from './cgroups.ts';

const layout = (version: 1 | 2, driver: CgroupLayout['driver'], parent: string): CgroupLayout => ({
  version,
  driver,
  parent,
  mountPoint: '/cg',
});

it.each([
  { of: layout(1, 'cgroupfs', '/berth'), spec: '/berth/u-1', directory: '/cg/memory/berth/u-1' },
  { of: layout(2, 'cgroupfs', '/a/b'), spec: '/a/b/u-1', directory: '/cg/a/b/u-1' },
  { of: layout(2, 'systemd', '/berth'), spec: 'berth.slice:berth:u-1', directory: '/cg/berth.slice/berth-u-1.scope' },
  {
    of: layout(2, 'systemd', 'kube-berth.slice'),
    spec: 'kube-berth.slice:berth:u-1',
    directory: '/cg/kube.slice/kube-berth.slice/berth-u-1.scope',
  },
  { of: layout(1, 'systemd', '/berth'), spec: 'berth.slice:berth:u-1', directory: '/cg/memory/berth.slice/berth-u-1.scope' },
])('version $of.version, $of.driver, $of.parent', ({ of, spec, directory }) => {
  expect(specCgroup(of, 'u-1')).toBe(spec);
  expect(cgroupDirectory(of, 'u-1')).toBe(directory);
  expect(directory.endsWith(`${parentPath(of)}/${basename(directory)}`)).toBe(true);
  expect(containerIn(of, basename(directory))).toBe('u-1');
});

describe('how often the kernel killed', () => {
  it.each([
    { version: 1 as const, file: 'memory.oom_control', content: 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n', want: 3 },
    { version: 2 as const, file: 'memory.events', content: 'low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n', want: 2 },
    { version: 1 as const, file: 'memory.oom_control', content: 'oom_kill_disable 0\nunder_oom 0\n', want: 0 },
    { version: 2 as const, file: 'memory.events', content: '', want: 0 },
  ])('version $version: $want', ({ version, file, content, want }) => {
    expect(oomFile(layout(version, 'cgroupfs', '/berth'))).toBe(file);
    expect(parseOomKills(content)).toBe(want);
  });
});

it('processes are one number a line', () => {
  expect(parsePids('12\n0\n345\n')).toEqual([12, 0, 345]);
  expect(parsePids('')).toEqual([]);
});

it('a cgroup of another below a slice is no container of ours', () => {
  expect(containerIn(layout(2, 'systemd', '/berth'), 'other.scope')).toBeUndefined();
});
