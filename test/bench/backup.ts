/**
 * `make bench-backup`: how long a backup of a stopped sandbox takes through its agent, beside the same diff and upload made by hand with the same
 * containerd and registry. Method and keys: docs/benchmarks.md. Options: `--n 5` per side and content (20 times as many of the tiny one), `--mib 2048`.
 */
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { BackupBed } from './backup-bed.ts';
import { median, rounded, summarise, table } from './statistics.ts';

/** After each side's turn, for what it leaves for later (what is tidied up, containerd's collection of it): nobody pays for the other's. */
const laterMs = 300;

interface Series {
  readonly berth: number[];
  readonly hand: number[];
}

await main(async () => {
  const { values } = parseArgs({ options: { n: { type: 'string', default: '5' }, mib: { type: 'string', default: '2048' } } });
  const n = Number(values.n);
  await using bed = await BackupBed.make();
  const before = loadavg()[0] ?? Number.NaN;
  const contents = [
    { key: 'ratio_tiny', what: 'one small file', rounds: 20 * n, script: 'echo hello > /hello' },
    { key: 'ratio_small_files', what: '20,000 files of 1 KiB', rounds: n, script: bed.manyFiles(20_000) },
    {
      key: 'ratio_2gib',
      what: `${values.mib} MiB of random bytes`,
      rounds: n,
      script: `dd if=/dev/urandom of=/large bs=1M count=${values.mib}`,
    },
  ] as const;
  const rows: (readonly (string | number)[])[] = [];
  const result: Record<string, number> = {};
  for (const { key, what, rounds, script } of contents) {
    const sandbox = await bed.sandbox(script);
    const resident = watchResident(bed.agentPid);
    const { berth, hand } = await turns(bed, sandbox, rounds);
    const memory = resident.stop();
    const frozen = await bed.freeze(sandbox, Math.min(rounds, 20));
    await bed.remove(sandbox);
    for (const [side, times] of [
      ['through the agent', berth],
      ['by hand', hand],
      ['paused, when it runs', frozen],
    ] as const) {
      const { n: count, median: middle, p95, p99 } = summarise(times);
      rows.push([`${what}, ${side}`, count, middle, p95, p99]);
    }
    result[key] = rounded(median(berth) / median(hand));
    result[key.replace('ratio', 'frozen_ms')] = Math.round(median(frozen));
    result[key.replace('ratio', 'agent_mib')] = Math.round(memory);
  }
  console.log(table(['milliseconds', 'n', 'median', 'p95', 'p99'], rows));
  console.log(`load ${before.toFixed(1)} before, ${(loadavg()[0] ?? Number.NaN).toFixed(1)} after`);
  console.log(`RESULT ${JSON.stringify(result)}`);
});

/** Both sides in turn, each time with one small file that is new, so that no side finds what the other has sent. The first turn is not counted. */
async function turns(bed: BackupBed, sandbox: string, rounds: number): Promise<Series> {
  const series: Series = { berth: [], hand: [] };
  for (let round = 0; round <= rounds; round += 1) {
    await bed.touch(sandbox);
    const berth = await bed.throughAgent(sandbox);
    await delay(laterMs);
    await bed.touch(sandbox);
    const hand = await bed.byHand(sandbox);
    await delay(laterMs);
    if (round === 0) continue;
    series.berth.push(berth);
    series.hand.push(hand);
  }
  return series;
}

/** The largest resident memory of a process while it is watched, in MiB. */
function watchResident(pid: number): { stop(): number } {
  let most = 0;
  const look = () => {
    const kib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    most = Math.max(most, kib / 1024);
  };
  look();
  const timer = setInterval(look, 100);
  return {
    stop: () => {
      clearInterval(timer);
      return most;
    },
  };
}
