import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { defaultDataDir, defaultStateDir, readLedger } from '../../test/harness/ledger.ts';
import { cacheDirectory } from '../toolchain/cache.ts';
import { BerthError } from '../../process/errors.ts';

/** The one instance that `make up` makes. */
export const local = { instance: 'local', stateDir: defaultStateDir('local'), dataDir: defaultDataDir('local') } as const;

/** Held by `make up` and `make down`, so that they do not work against each other. */
export const lockFile = join(cacheDirectory(), 'local.lock');

/** Where the administrator's kubeconfig is put in the clone. */
export const kubeconfigFile = join(import.meta.dirname, '..', '..', '.local', 'kubeconfig');

/** What the quick start puts on PATH: has kubectl when the machine has none that is new enough. */
export const binDirectory = join(dirname(kubeconfigFile), 'bin');

/** Set to use another block of ports than the one from 3000. */
export const portVariable = 'BERTH_PORT_BASE';

const offsets = {
  'operator-1': 1,
  'operator-1.health': 2,
  'kube-apiserver': 3,
  registry: 4,
  etcd: 5,
  'etcd.peer': 6,
  'runner-1.agent': 11,
  'runner-2.agent': 12,
  ...Object.fromEntries(
    Array.from({ length: 8 }, (_, index) => [
      [`operator-${index + 2}`, 21 + 2 * index],
      [`operator-${index + 2}.health`, 22 + 2 * index],
    ]).flat() as [string, number][],
  ),
};
const mostOperators = 9;

/** Set to run more operators than one. */
export const replicasVariable = 'REPLICAS';

/** How many operators the local instance is to have: as many as it has already, unless the variable says otherwise. */
export function localOperators(): number {
  const wanted = process.env[replicasVariable];
  const known = Object.keys(readLedger(local.stateDir)?.parts ?? {}).filter((name) => /^operator-\d+$/.test(name)).length;
  const count = Number(wanted === undefined || wanted === '' ? Math.max(1, known) : wanted);
  if (!Number.isInteger(count) || count < 1 || count > mostOperators)
    throw new BerthError('BadReplicas', `${replicasVariable} is "${wanted ?? ''}"; it must be a number from 1 to ${mostOperators}.`);
  return count;
}

/** The ports of the local instance: those of its last start, unless the variable says otherwise. */
export function localPorts(): Readonly<Record<string, number>> {
  const wanted = process.env[portVariable];
  const base = Number(wanted ?? 3000);
  if (!Number.isInteger(base) || base < 1024 || base > 65_000)
    throw new BerthError('BadPort', `${portVariable} is "${wanted ?? ''}"; it must be a number from 1024 to 65000.`);
  const fixed = Object.fromEntries(Object.entries(offsets).map(([name, offset]) => [name, base + offset]));
  return wanted === undefined ? { ...fixed, ...readLedger(local.stateDir)?.ports } : fixed;
}

export function requireRoot(target: string): void {
  if (process.getuid?.() !== 0)
    throw new BerthError('NotRoot', `"make ${target}" needs root (private containerd, mounts, cgroups): run "sudo make ${target}".`);
}

/** A path as a person would type it. */
export function displayPath(path: string): string {
  return path.startsWith(`${homedir()}/`) ? path.replace(homedir(), '~') : path;
}
