/**
 * `make bench-failover`: how soon the next leader reconciles when the leading operator is killed while sandboxes run and others are being
 * created. Method and keys: docs/benchmarks.md. Options: `--n 5` rounds, `--etcd-fsync`.
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { FailoverBed, type Failover } from './failover-bed.ts';
import { summarise, table } from './statistics.ts';

await main(async () => {
  const { values } = parseArgs({ options: { n: { type: 'string', default: '5' }, 'etcd-fsync': { type: 'boolean', default: false } } });
  const etcdFsync = values['etcd-fsync'];
  const before = loadavg()[0] ?? Number.NaN;
  await using bed = await FailoverBed.make({ etcdFsync });
  const rounds: Failover[] = [];
  for (let number = 1; number <= Number(values.n); number += 1) {
    const round = await bed.failover(number);
    rounds.push(round);
    process.stderr.write(`round ${number}: ${round.reconciledAfterLease.toFixed(0)} ms after the Lease might be taken\n`);
  }
  const after = loadavg()[0] ?? Number.NaN;
  console.log(report(rounds));
  console.log(`load ${before.toFixed(1)} before, ${after.toFixed(1)} after; etcd fsync ${etcdFsync ? 'on' : 'off'}`);
  console.log(`running sandboxes over all rounds: ${bed.running} of ${bed.running} have the same pid and start time`);
  const slowest = Math.max(...rounds.map(({ reconciledAfterLease }) => reconciledAfterLease));
  console.log(`RESULT ${JSON.stringify({ reconcile_after_lease_ms: Math.round(slowest), rounds: rounds.length })}`);
});

function report(rounds: readonly Failover[]): string {
  const rows: readonly (readonly [string, (round: Failover) => number])[] = [
    ['leader killed → Lease may be taken', ({ leaseAfterKill }) => leaseAfterKill],
    ['Lease may be taken → taken', ({ takenAfterLease }) => takenAfterLease],
    ['Lease may be taken → first status of a sandbox created meanwhile', ({ reconciledAfterLease }) => reconciledAfterLease],
    ['Lease may be taken → all of them Started', ({ startedAfterLease }) => startedAfterLease],
  ];
  const cells = rows.map(([what, timeOf]) => {
    const times = rounds.map(timeOf);
    const { n, median, p95, p99 } = summarise(times);
    return [what, n, median, p95, p99];
  });
  return table(['milliseconds', 'n', 'median', 'p95', 'p99'], cells);
}
