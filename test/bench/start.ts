/**
 * `make bench-start`: how long a start takes through Berth, beside the same four calls made to the same containerd directly.
 * Method and keys: docs/benchmarks.md. Options: `--n 100` per side and concurrency, `--etcd-fsync`, `--only-phases`.
 */
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import type { Template } from './bare.ts';
import { Bed } from './bed.ts';
import { phasesOf, type SeenStart } from './phases.ts';
import { median, rounded, summarise, table } from './statistics.ts';

/** After a start, for what Berth leaves for later (Events, the note on the container): it is done in Berth's own turn. */
const laterMs = 350;
/** Between a clean-up and the next start, so that neither side pays for the other's clean-up and what is left for later of it. */
const settleMs = 350;
/** Starts of each side that are not counted: operator and agent run for days, and are compiled by V8 while they begin. */
const warmUps = 40;
/** With debug logs, which cost a little themselves: apart from the comparison. */
const inPhases = 40;

interface Series {
  readonly berth: number[];
  readonly bare: number[];
}

await main(async () => {
  const { values } = parseArgs({
    options: {
      n: { type: 'string', default: '100' },
      'etcd-fsync': { type: 'boolean', default: false },
      'only-phases': { type: 'boolean', default: false },
    },
  });
  const etcdFsync = values['etcd-fsync'];
  console.log(await phases(etcdFsync));
  if (values['only-phases']) return;
  const { text, result } = await comparison(Number(values.n), etcdFsync);
  console.log(`${text}\nRESULT ${JSON.stringify(result)}`);
});

async function comparison(n: number, etcdFsync: boolean): Promise<{ readonly text: string; readonly result: object }> {
  await using bed = await Bed.make({ etcdFsync, logLevel: 'info' });
  const writes: number[] = [];
  await measure(bed, 'warm-up', warmUps, 1);
  const before = loadavg()[0] ?? Number.NaN;
  const one = await measure(bed, 'one', n, 1, writes);
  const eight = await measure(bed, 'eight', n, 8, writes);
  const after = loadavg()[0] ?? Number.NaN;
  const times = timesTable([
    ['POST answered → Started seen, concurrency 1', one.berth],
    ['bare containerd, concurrency 1', one.bare],
    ['POST answered → Started seen, concurrency 8', eight.berth],
    ['bare containerd, concurrency 8', eight.bare],
  ]);
  const perStart = rounded(writes.reduce((sum, count) => sum + count, 0) / writes.length);
  const load = `load ${before.toFixed(1)} before, ${after.toFixed(1)} after`;
  return {
    text: `${times}\n${load}; etcd fsync ${etcdFsync ? 'on' : 'off'}; ${describeRuntime(bed.template)}\nstatus writes per start: ${perStart}`,
    result: {
      ratio_p50_c1: rounded(median(one.berth) / median(one.bare)),
      ratio_p50_c8: rounded(median(eight.berth) / median(eight.bare)),
      status_writes_per_start: perStart,
    },
  };
}

/** Where the time of a start at concurrency 1 goes. */
async function phases(etcdFsync: boolean): Promise<string> {
  await using bed = await Bed.make({ etcdFsync, logLevel: 'debug' });
  const starts: SeenStart[] = [];
  for (let number = 0; number < warmUps + inPhases; number += 1) {
    await delay(settleMs);
    const start = await bed.startThroughBerth(`phase-${number}`);
    if (number >= warmUps) starts.push(start);
    await delay(laterMs);
    await bed.sandboxes.remove(start.name);
  }
  const logs = [...bed.cluster.operators, bed.cluster.runner('runner-1').agent].map((part) => part.log());
  return timesTable([...phasesOf(logs, starts)].map(([name, times]) => [`POST answered → ${name}`, times]));
}

/** At least `n` starts of each side in batches, first Berth, then bare, then Berth again; what was started is removed between two batches. */
async function measure(bed: Bed, label: string, n: number, concurrency: number, writes: number[] = []): Promise<Series> {
  const series: Series = { berth: [], bare: [] };
  for (let batch = 0; batch * concurrency < n; batch += 1) {
    const names = Array.from({ length: concurrency }, (_, index) => `${label}-${batch}-${index}`);
    await delay(settleMs);
    const berth = await Promise.all(names.map((name) => bed.startThroughBerth(name)));
    await delay(laterMs);
    writes.push(...names.map((name) => bed.sandboxes.statusWrites(name)));
    await Promise.all(names.map((name) => bed.sandboxes.remove(name)));
    await delay(settleMs);
    const bare = await Promise.all(names.map((name) => bed.startBare(name)));
    await delay(laterMs);
    await Promise.all(names.map((name) => bed.removeBare(name)));
    series.berth.push(...berth.map(({ answered, seen }) => seen - answered));
    series.bare.push(...bare.map(({ answered, seen }) => seen - answered));
  }
  return series;
}

function timesTable(rows: readonly (readonly [string, readonly number[]])[]): string {
  const cells = rows.map(([what, times]) => {
    const { n, median: middle, p95, p99 } = summarise(times);
    return [what, n, middle, p95, p99];
  });
  return table(['milliseconds', 'n', 'median', 'p95', 'p99'], cells);
}

function describeRuntime({ container }: Template): string {
  const binary = Buffer.from(container.runtime?.options?.value ?? []).includes('crun') ? 'crun' : 'runc';
  return `${binary}, ${container.sandbox === '' ? 'a shim each' : 'shim group'}, ${container.snapshotter}`;
}
