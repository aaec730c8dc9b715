import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, type ProcessRef, processRef } from './processes.ts';

/** What an instance has started and where it lies, kept on disk so that another process can take it over or clean it up. */
export interface LedgerContent {
  readonly instance: string;
  readonly stateDir: string;
  readonly dataDir: string;
  /** The process that will stop the instance; undefined for one that is meant to stay (`make up`). */
  readonly owner?: ProcessRef;
  /** The boot in which the processes were started. */
  readonly bootID: string;
  readonly ports: Readonly<Record<string, number>>;
  readonly parts: Readonly<Record<string, PartRecord>>;
}

export interface PartRecord extends ProcessRef {
  /** Hash of what the part was started with: another hash, and it is started again. */
  readonly fingerprint: string;
}

/** The ledger of one instance: every change is on disk (written aside and renamed) before the call returns. */
export class Ledger {
  #content: LedgerContent;

  private constructor(content: LedgerContent) {
    this.#content = content;
  }

  /** The ledger that lies in `stateDir`, as far as it is of this boot, else a new one. */
  static open(fresh: Omit<LedgerContent, 'bootID' | 'ports' | 'parts'>): Ledger {
    mkdirSync(fresh.stateDir, { recursive: true, mode: 0o711 });
    const known = readLedger(fresh.stateDir);
    const same = known?.bootID === bootID();
    const ledger = new Ledger({ ...fresh, bootID: bootID(), ports: known?.ports ?? {}, parts: same ? known.parts : {} });
    ledger.#write();
    return ledger;
  }

  get content(): LedgerContent {
    return this.#content;
  }

  part(name: string): PartRecord | undefined {
    return this.#content.parts[name];
  }

  setPart(name: string, record: PartRecord | undefined): void {
    const { [name]: _, ...others } = this.#content.parts;
    this.#content = { ...this.#content, parts: record === undefined ? others : { ...others, [name]: record } };
    this.#write();
  }

  setPort(name: string, port: number): void {
    this.#content = { ...this.#content, ports: { ...this.#content.ports, [name]: port } };
    this.#write();
  }

  #write(): void {
    const path = ledgerPath(this.#content.stateDir);
    writeFileSync(`${path}.new`, JSON.stringify(this.#content, null, 2));
    renameSync(`${path}.new`, path);
  }
}

export function ledgerPath(stateDir: string): string {
  return join(stateDir, 'ledger.json');
}

export function readLedger(stateDir: string): LedgerContent | undefined {
  const path = ledgerPath(stateDir);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as LedgerContent) : undefined;
}

/** Where instances that name no other place keep sockets and ledgers, and their data. */
export const defaultStateDir = (instance: string) => `/run/berth-${instance}`;
export const defaultDataDir = (instance: string) => `/var/lib/berth-${instance}`;

/** The ledgers of all instances on this machine that lie in the default place. */
export function knownInstances(): readonly LedgerContent[] {
  return readdirSync('/run')
    .filter((name) => name.startsWith('berth-'))
    .map((name) => readLedger(join('/run', name)))
    .filter((found) => found !== undefined);
}

/** Whether nobody will ever stop this instance: its owner is gone. One that is meant to stay is never abandoned. */
export function isAbandoned(ledger: LedgerContent): boolean {
  return ledger.owner !== undefined && (ledger.bootID !== bootID() || !isAlive(ledger.owner));
}

export function thisProcess(): ProcessRef {
  const self = processRef(process.pid);
  if (self === undefined) throw new Error('/proc does not show this process');
  return self;
}

export function bootID(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
