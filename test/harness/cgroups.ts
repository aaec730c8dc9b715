import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import { type ProcessRef, processRef, sendSignal } from './processes.ts';

/** Mount points of all cgroup hierarchies: one with version 2, one per controller with version 1. */
export function cgroupMounts(): readonly string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4] ?? '');
}

/** The version 2 hierarchy that a version 1 machine keeps beside the others (crun refuses to run where it is mounted). */
export function hybridUnifiedMount(): string | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const hasVersion1 = lines.some((line) => line.includes(' - cgroup '));
  const unified = lines.find((line) => line.includes(' - cgroup2 '))?.split(' ')[4];
  return hasVersion1 ? unified : undefined;
}

/** The processes in a cgroup (`/name/…`) and below, in any hierarchy. */
export function cgroupProcesses(cgroup: string): readonly ProcessRef[] {
  const pids = new Set(directories(cgroup).flatMap((directory) => readLines(join(directory, 'cgroup.procs')).map(Number)));
  return [...pids].map(processRef).filter((found) => found !== undefined);
}

/** Whether something is in a cgroup so that `freezeCgroup` stops it: with version 1 a process comes into one hierarchy after the other. */
export function canBeFrozen(cgroup: string): boolean {
  return directories(cgroup)
    .filter((directory) => existsSync(join(directory, 'freezer.state')) || existsSync(join(directory, 'cgroup.freeze')))
    .some((directory) => readLines(join(directory, 'cgroup.procs')).length > 0);
}

/** Whether a cgroup is there in any hierarchy. */
export function cgroupExists(cgroup: string): boolean {
  return cgroupMounts().some((mount) => existsSync(join(mount, cgroup)));
}

/** Stops what is in a cgroup and below, and what comes into it; `thawCgroup` lets it go on. */
export function freezeCgroup(cgroup: string): void {
  for (const directory of cgroupMounts().map((mount) => join(mount, cgroup))) setFrozen(directory, true);
}

/** Lets a cgroup and what is below go on, but for one below that stays as it is. */
export function thawCgroup(cgroup: string, but = ''): void {
  const kept = but === '' ? [] : directories(but);
  for (const directory of directories(cgroup).filter((one) => !kept.includes(one))) setFrozen(directory, false);
}

/** Kills what runs in a cgroup and below, frozen or not, and removes it from every hierarchy. @throws BerthError `CgroupBusy`. */
export async function removeCgroup(cgroup: string): Promise<void> {
  const end = performance.now() + 20_000;
  while (cgroupExists(cgroup)) {
    thawCgroup(cgroup);
    for (const target of cgroupProcesses(cgroup)) sendSignal(target, 'SIGKILL');
    for (const directory of directories(cgroup)) tryRemove(directory);
    if (performance.now() > end)
      throw new BerthError('CgroupBusy', `The cgroup ${cgroup} cannot be removed: something in it does not end.`);
    await delay(10);
  }
}

/** The cgroup's directories in all hierarchies, deepest first. */
function directories(cgroup: string): readonly string[] {
  return cgroupMounts().flatMap((mount) => below(join(mount, cgroup)));
}

function below(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  const children = readDirectory(directory).flatMap((name) => below(join(directory, name)));
  return [...children, directory];
}

function readDirectory(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function setFrozen(directory: string, isFrozen: boolean): void {
  for (const [file, value] of [
    ['freezer.state', isFrozen ? 'FROZEN' : 'THAWED'],
    ['cgroup.freeze', isFrozen ? '1' : '0'],
  ] as const) {
    try {
      if (existsSync(join(directory, file))) writeFileSync(join(directory, file), value);
    } catch {
      continue;
    }
  }
}

function tryRemove(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    return;
  }
}

function readLines(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}
