/**
 * `make bench-scale`: one operator with 10,000 sandboxes on 200 runners: its memory, what is written while nothing changes, and how soon it
 * knows the world after a restart. Method and keys: docs/benchmarks.md. Options: `--sandboxes`, `--runners`, `--created`, `--idle` seconds, `--restarts`,
 * `--etcd-fsync`, `--node-options` for the operator (profiles).
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { ScaleBed, withoutLeases, type IdleWindow, type Restart } from './scale-bed.ts';
import { summarise, table } from './statistics.ts';

await main(async () => {
  const { values } = parseArgs({
    options: {
      sandboxes: { type: 'string', default: '10000' },
      runners: { type: 'string', default: '200' },
      created: { type: 'string', default: '200' },
      idle: { type: 'string', default: '40' },
      restarts: { type: 'string', default: '5' },
      'etcd-fsync': { type: 'boolean', default: false },
      'node-options': { type: 'string' },
    },
  });
  const [sandboxes, runners] = [Number(values.sandboxes), Number(values.runners)];
  const load = () => loadavg()[0]?.toFixed(1) ?? '';
  const before = load();
  const created = Math.min(sandboxes, Number(values.created));
  const options = { sandboxes, runners, created, etcdFsync: values['etcd-fsync'], nodeOptions: values['node-options'] };
  await using bed = await ScaleBed.make(options);
  await bed.fill();
  await bed.settle();
  const first = await bed.idle(Number(values.idle));
  const restarts: Restart[] = [];
  for (let number = 1; number <= Number(values.restarts); number += 1) {
    const restart = await bed.restart();
    restarts.push(restart);
    process.stderr.write(`restart ${number}: synced after ${restart.synced} ms, reconciled after ${restart.reconciled} ms\n`);
  }
  await bed.settle();
  const second = await bed.idle(Number(values.idle));
  const windows = [first, second];
  console.log(report(windows, restarts));
  const others = Object.entries(bed.others()).map(([name, mib]) => `${name} ${mib.toFixed(0)} MiB`);
  console.log(`load ${before} before, ${load()} after; etcd fsync ${values['etcd-fsync'] ? 'on' : 'off'}; ${others.join(', ')}`);
  console.log(`${sandboxes} sandboxes are Started on ${runners} runners, ${created} of them were created through the API`);
  const result = {
    sandboxes,
    runners,
    rss_mib: Math.ceil(Math.max(...windows.flatMap(({ residentMiB }) => residentMiB))),
    idle_writes: windows.reduce((sum, window) => sum + unasked(window), 0),
    idle_seconds: windows.reduce((sum, { seconds }) => sum + seconds, 0),
    sync_ms: slowest(restarts, ({ synced }) => synced),
    reconciled_ms: slowest(restarts, ({ reconciled }) => reconciled),
  };
  console.log(`RESULT ${JSON.stringify(result)}`);
});

function slowest(restarts: readonly Restart[], timeOf: (restart: Restart) => number): number {
  return Math.round(Math.max(...restarts.map(timeOf)));
}

function unasked({ writes }: IdleWindow): number {
  return [...withoutLeases(writes).values()].reduce((sum, count) => sum + count, 0);
}

function report(windows: readonly IdleWindow[], restarts: readonly Restart[]): string {
  const row = (what: string, values: readonly number[]) => {
    const { n, median, p95, p99 } = summarise(values);
    return [what, n, median, p95, p99];
  };
  const names = ['after it was filled', 'after restarts'];
  const times: readonly (readonly [string, (restart: Restart) => number])[] = [
    ['ms: list begun → caches synced', ({ synced }) => synced],
    ['ms: list begun → every sandbox reconciled', ({ reconciled }) => reconciled],
    ['ms: the same, and every agent connected again', ({ connected }) => connected],
  ];
  const rows = [
    ...windows.map(({ residentMiB }, index) => row(`MiB: operator resident ${names[index] ?? ''}, idle`, residentMiB)),
    ...times.map(([what, timeOf]) => row(what, restarts.map(timeOf))),
  ];
  const idle = windows.map((window, index) => {
    const leases = window.writes.get('leases') ?? 0;
    const rest = [...withoutLeases(window.writes)].map(([resource, count]) => `${count} ${resource}`);
    const others = rest.length === 0 ? 'none' : rest.join(', ');
    const memory = Object.entries(window.memory).map(([name, mib]) => `${name} ${mib.toFixed(0)} MiB`);
    return `idle ${window.seconds} s ${names[index] ?? ''}: ${memory.join(', ')}; ${leases} writes of Leases, others: ${others}; etcd moved on by ${window.revisions}`;
  });
  return [table(['', 'n', 'median', 'p95', 'p99'], rows), ...idle].join('\n');
}
