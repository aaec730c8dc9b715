import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Toolchain } from '../../hack/toolchain/toolchain.ts';
import type { Settings } from './cluster-options.ts';
import { type ControlPlane, controlPlane } from './control-plane.ts';
import { Dns } from './dns.ts';
import { bootID, Ledger, readLedger, thisProcess } from './ledger.ts';
import { Authority } from './pki.ts';
import { freePort, requireFreePort } from './ports.ts';
import { isAlive, processesMarked } from './processes.ts';
import { Registry } from './registry.ts';
import { sweep, sweepAbandoned, sweepProcesses } from './sweep.ts';

/** What every instance has, made but not started: its record, certificates, control plane and registry. */
export interface Foundation {
  readonly settings: Settings;
  readonly tools: Toolchain;
  readonly ledger: Ledger;
  readonly authority: Authority;
  readonly plane: ControlPlane;
  readonly registry: Registry;
  /** Undefined where settings name the operators. */
  readonly dns: Dns | undefined;
  /** Names this installation of Berth; stays with the data directory. */
  readonly installID: string;
}

/** Removes what earlier runs have left and makes the foundation. A persistent instance keeps what it has. */
export async function layFoundation(settings: Settings, tools: Toolchain): Promise<Foundation> {
  const { instance, stateDir, dataDir, persistent, etcdFsync } = settings;
  await sweepAbandoned(settings.log);
  await (persistent ? sweepUnknownProcesses(settings) : sweep(settings));
  const ledger = Ledger.open({ instance, stateDir, dataDir, ...(persistent ? {} : { owner: thisProcess() }) });
  await mkdir(join(dataDir, 'logs'), { recursive: true, mode: 0o711 });
  const authority = await Authority.open(join(dataDir, 'pki'), tools.openssl);
  const etcd = await choosePort({ settings, ledger }, 'etcd');
  const etcdPeer = await choosePort({ settings, ledger }, 'etcd.peer', 'etcd');
  const apiserver = await choosePort({ settings, ledger }, 'kube-apiserver');
  const registryPort = await choosePort({ settings, ledger }, 'registry');
  const plane = await controlPlane({ ledger, authority, programs: tools, ports: { etcd, etcdPeer, apiserver }, etcdFsync });
  const registry = await Registry.create({ ledger, program: tools['docker-registry'], port: registryPort });
  const dns = settings.dns
    ? new Dns({ ledger, program: tools.coredns, port: await choosePort({ settings, ledger }, 'coredns'), kubeconfig: plane.kubeconfig })
    : undefined;
  return { settings, tools, ledger, authority, plane, registry, dns, installID: await installIDIn(dataDir) };
}

/**
 * The fixed port of that name, else the one of the last start, else a free one. One that its own part does not hold must be free.
 * @throws BerthError `PortInUse`.
 */
export async function choosePort(
  { settings, ledger }: Pick<Foundation, 'settings' | 'ledger'>,
  name: string,
  part = name,
): Promise<number> {
  const known = ledger.content.ports[name];
  const port = settings.ports[name] ?? known ?? (await freePort());
  if (!isAlive(ledger.part(part)) || known !== port) await requireFreePort(port, part, settings.portAdvice);
  ledger.setPort(name, port);
  return port;
}

/** A persistent instance whose ledger is lost (or of another boot) but whose processes live cannot be taken over: they are ended, its data stays. */
async function sweepUnknownProcesses(settings: Settings): Promise<void> {
  const { instance, stateDir } = settings;
  if (readLedger(stateDir)?.bootID === bootID() || processesMarked(stateDir).length === 0) return;
  settings.log(`ending processes of the instance "${instance}" that no record of it names`);
  await sweepProcesses(settings);
}

async function installIDIn(dataDir: string): Promise<string> {
  const path = join(dataDir, 'install-id');
  if (!existsSync(path)) await writeFile(path, `${randomUUID()}\n`);
  return readFileSync(path, 'utf8').trim();
}
