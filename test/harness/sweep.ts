import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '../../process/errors.ts';
import { succeeds } from '../../hack/command.ts';
import type { Log } from '../../hack/progress.ts';
import { cgroupExists, cgroupProcesses, removeCgroup } from './cgroups.ts';
import { networkTable } from './network.ts';
import { closePodNetwork } from './pod-network.ts';
import { isAbandoned, knownInstances, readLedger } from './ledger.ts';
import { commandLine, isAlive, killAll, processesMarked, processesRootedBelow } from './processes.ts';

/** An instance by where it lies. */
export interface InstancePlace {
  readonly instance: string;
  readonly stateDir: string;
  readonly dataDir: string;
}

/** The cgroup that holds all sandboxes of an instance. */
export const instanceCgroup = (instance: string) => `/berth-${instance}`;

/**
 * Removes everything of an instance, however it ended: processes (those in the ledger and all that carry its mark: shims, containers),
 * cgroups in every hierarchy, mounts, directories. With `BERTH_KEEP_LOGS=directory` the logs are copied there first. Safe to repeat.
 * @throws BerthError `NotSwept` naming what could not be removed.
 */
export async function sweep(place: InstancePlace): Promise<void> {
  await sweepProcesses(place);
  for (const mount of mountsBelow(place)) await succeeds('umount', ['--lazy', mount]);
  for (const table of await tablesOf(place)) await succeeds('nft', ['delete', 'table', 'ip', table]);
  await closePodNetwork(place.instance);
  await keepLogs(place);
  await rm(place.stateDir, { recursive: true, force: true });
  await rm(place.dataDir, { recursive: true, force: true });
  if (knownInstances().length === 0) removeWhenEmpty('/run/containerd');
  const left = remainsOf(place);
  if (left.length > 0)
    throw new BerthError('NotSwept', `The instance "${place.instance}" could not be removed completely; left: ${left.join('; ')}.`);
}

/** Ends every process of an instance and removes its cgroups; files stay. */
export async function sweepProcesses(place: InstancePlace): Promise<void> {
  const recorded = Object.values(readLedger(place.stateDir)?.parts ?? {}).filter(isAlive);
  await killAll([...recorded, ...processesMarked(place.stateDir), ...processesRootedBelow(place.dataDir)]);
  await removeCgroup(instanceCgroup(place.instance));
  await killAll(processesMarked(place.stateDir));
}

/** What is there of an instance, one line each. Empty when nothing is left. */
export function remainsOf(place: InstancePlace): readonly string[] {
  const cgroup = instanceCgroup(place.instance);
  const found = [...processesMarked(place.stateDir), ...processesRootedBelow(place.dataDir), ...cgroupProcesses(cgroup)];
  const processes = [...new Map(found.map((process) => [process.pid, process])).values()];
  return [
    ...processes.map(({ pid }) => `process ${pid} (${commandLine(pid).join(' ').slice(0, 80)})`),
    ...(cgroupExists(cgroup) ? [`cgroup ${cgroup}`] : []),
    ...mountsBelow(place).map((mount) => `mount ${mount}`),
    ...[place.stateDir, place.dataDir].filter((path) => existsSync(path)).map((path) => `directory ${path}`),
  ];
}

/** Removes instances whose owner died without stopping them. */
export async function sweepAbandoned(log: Log): Promise<void> {
  for (const ledger of knownInstances().filter(isAbandoned)) {
    log(`removing the remains of the crashed instance "${ledger.instance}"`);
    await sweep(ledger);
  }
}

/** Mount points of this mount namespace at or below the instance's directories, deepest first. */
function mountsBelow({ stateDir, dataDir }: InstancePlace): readonly string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => [stateDir, dataDir].some((directory) => mount === directory || mount.startsWith(`${directory}/`)))
    .reverse();
}

/** The packet filter's tables of an instance; none where there is no packet filter. */
async function tablesOf({ instance }: InstancePlace): Promise<readonly string[]> {
  const { stdout } = await execa('nft', ['list', 'tables', 'ip'], { reject: false });
  return [...stdout.matchAll(/^table ip (\S+)$/gm)]
    .map(([, name = '']) => name)
    .filter((name) => name.startsWith(`${networkTable(instance)}_`));
}

/** The mount point that runners need on the machine. While another instance runs it must stay; what a containerd of the machine keeps there stays. */
function removeWhenEmpty(directory: string): void {
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}

async function keepLogs({ instance, dataDir }: InstancePlace): Promise<void> {
  const target = process.env.BERTH_KEEP_LOGS;
  const logs = join(dataDir, 'logs');
  if (target !== undefined && target !== '' && existsSync(logs)) await cp(logs, join(target, instance), { recursive: true });
}
