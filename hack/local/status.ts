import { readFileSync } from 'node:fs';
import { BerthError } from '../../process/errors.ts';
import { bootID, readLedger } from '../../test/harness/ledger.ts';
import { isAlive, type ProcessRef } from '../../test/harness/processes.ts';
import { main } from '../fail.ts';
import { local } from './instance.ts';
import { table } from '../table.ts';

/** `make status`: which parts of the local Berth run. Ends with status 1 unless all do. */
await main(async () => {
  const ledger = await Promise.resolve(readLedger(local.stateDir));
  if (ledger === undefined) throw new BerthError('NotUp', 'There is no local Berth: "make up" starts one.');
  const parts = Object.entries(ledger.parts).sort(([one], [other]) => one.localeCompare(other));
  const running = (part: ProcessRef) => ledger.bootID === bootID() && isAlive(part);
  const rows = parts.map(([name, part]) => [
    name,
    running(part) ? 'running' : 'stopped',
    running(part) ? String(part.pid) : '',
    running(part) ? age(part) : '',
    ledger.ports[name] === undefined ? '' : `127.0.0.1:${ledger.ports[name]}`,
  ]);
  console.log(table(['PART', 'STATE', 'PID', 'AGE', 'PORT'], rows));
  if (parts.some(([, part]) => !running(part))) throw new BerthError('NotAllRunning', 'Not everything runs: "make up" repairs it.');
});

function age(part: ProcessRef): string {
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  const seconds = Math.max(0, Math.round(uptime - part.startTime / 100));
  if (seconds < 120) return `${seconds}s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)}m` : `${Math.floor(seconds / 3600)}h`;
}
