import { createServer } from 'node:net';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { BerthError } from '../../process/errors.ts';
import { commandLine } from './processes.ts';

/** Ports handed out by this process, so that two parts which start at the same time do not get the same one. */
const handedOut = new Set<number>();

/** Test files that run at the same time choose from shares of their own. */
const share = 3_000;
const first = 20_000 + (Number(process.env.JEST_WORKER_ID ?? 0) % 4) * share;

/** A TCP port on 127.0.0.1 that nothing listens on, outside the range from which the kernel takes ports for outgoing connections. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = first + Math.floor(Math.random() * share);
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
  throw new BerthError('NoFreePort', 'No free TCP port was found on 127.0.0.1 between 20000 and 32000.');
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** @throws BerthError `PortInUse` naming the process that listens on the port. */
export async function requireFreePort(port: number, what: string, wayOut: string): Promise<void> {
  if (await isFree(port)) return;
  const pid = listenerOf(port);
  const holder = pid === undefined ? 'another process' : `process ${pid} (${commandLine(pid).join(' ').slice(0, 80)})`;
  throw new BerthError('PortInUse', `Port ${port}, which the ${what} needs, is used by ${holder}: stop it, or ${wayOut}.`);
}

/** The process that listens on a TCP port of this machine. */
export function listenerOf(port: number): number | undefined {
  const inodes = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) => listeningInodes(table, port)));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => socketInodes(pid).some((inode) => inodes.has(inode)));
}

function listeningInodes(table: string, port: number): readonly string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return readFileSync(table, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === '0A')
    .map((fields) => fields[9] ?? '');
}

function socketInodes(pid: number): readonly string[] {
  return names(`/proc/${pid}/fd`).flatMap((fd) => /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1] ?? []);
}

/** Empty for a process that ended meanwhile or that is not ours to look into. */
function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
