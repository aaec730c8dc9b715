/**
 * `make bench-tasks`: how long a command takes through the HTTP API of a pod, beside the same calls made to the same containerd directly; the
 * status of a fleet; and how evenly slots are given out. Method and keys: docs/benchmarks.md. Options: `--n 200` per side and concurrency,
 * `--in-flight 1,8,64`, `--etcd-fsync`, `--only runs` or `fleet`.
 */
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { SlotsBed } from './slots-bed.ts';
import { median, rounded, summarise, table } from './statistics.ts';
import { TasksBed } from './tasks-bed.ts';

/** After each side's turn, for what it leaves for later: nobody pays for the other's clean-up. */
const laterMs = 50;
/** Runs of each side that are not counted, for each place: agent and pod run for days, and are compiled by V8 while they begin. */
const warmUps = { runs: 500, inFlight: 8 };
const statusRunners = 200;
const reservations = 1_000;
const reservedAtOnce = 32;
const spreadRunners = 50;
const spreadSlots = 40;
const pods = [1, 3, 5] as const;

interface Series {
  readonly berth: number[];
  readonly bare: number[];
}

/** One turn of a side: resolves with what is done after the time. */
type Turn = (place: number) => Promise<() => Promise<void>>;

const nothing = () => Promise.resolve();

await main(async () => {
  const { values } = parseArgs({
    options: {
      n: { type: 'string', default: '200' },
      'etcd-fsync': { type: 'boolean', default: false },
      only: { type: 'string' },
      'in-flight': { type: 'string', default: '1,8,64' },
    },
  });
  const [n, etcdFsync] = [Number(values.n), values['etcd-fsync']];
  const runs = values.only === 'fleet' ? {} : await compareRuns(n, values['in-flight'].split(',').map(Number), etcdFsync);
  const fleet = values.only === 'runs' ? {} : { ...(await readStatus(n, etcdFsync)), ...(await spreadSlotsOut(etcdFsync)) };
  console.log(`RESULT ${JSON.stringify({ ...runs, ...fleet })}`);
});

async function compareRuns(n: number, inFlight: readonly number[], etcdFsync: boolean): Promise<object> {
  await using bed = await TasksBed.make({ etcdFsync, slots: 64 + 1 });
  const before = load();
  const rows: (readonly [string, readonly number[]])[] = [];
  const ratios: Record<string, number> = {};
  const sides: readonly (readonly [string, string, Turn, Turn])[] = [
    ['', 'in a sandbox', () => bed.run().then(() => nothing), (place) => bed.runBare(place).then(() => nothing)],
    ['one_shot_', 'one-shot', () => bed.runAlone().then(() => nothing), (place) => bed.runAloneBare(place)],
  ];
  for (const [key, what, berth, bare] of sides) {
    await measure(berth, bare, warmUps.runs, warmUps.inFlight);
    for (const concurrency of inFlight) {
      await measure(berth, bare, concurrency, concurrency);
      const series = await measure(berth, bare, Math.max(n, 3 * concurrency), concurrency);
      rows.push([`${what}, ${concurrency} in flight`, series.berth], [`  containerd alone, ${concurrency} in flight`, series.bare]);
      ratios[`${key}ratio_p50_c${concurrency}`] = rounded(median(series.berth) / median(series.bare));
    }
  }
  console.log(timesTable(rows));
  console.log(`load ${before} before, ${load()} after; etcd fsync ${etcdFsync ? 'on' : 'off'}; ${bed.runtime}`);
  return ratios;
}

async function readStatus(n: number, etcdFsync: boolean): Promise<object> {
  await using bed = await SlotsBed.make({ pods: 1, runners: statusRunners, slots: 4, etcdFsync });
  await bed.status(20);
  const before = load();
  const { times, bytes } = await bed.status(Math.max(n, 100));
  console.log(timesTable([[`GET /sandbox/status, ${statusRunners} runners, ${Math.round(bytes / 1024)} KiB`, times]]));
  console.log(`load ${before} before, ${load()} after`);
  return { status_p50_ms: rounded(median(times)) };
}

async function spreadSlotsOut(etcdFsync: boolean): Promise<object> {
  const most = Math.max(...pods);
  await using bed = await SlotsBed.make({ pods: most, runners: spreadRunners, slots: spreadSlots, etcdFsync });
  const before = load();
  const spreads = new Map<number, Awaited<ReturnType<SlotsBed['spread']>>>();
  for (const count of pods) spreads.set(count, await bed.spread(count, reservations, reservedAtOnce));
  const rows = [...spreads].map(([count, { variation, perRunner }]) => [
    `slots of a runner, ${reservations} reserved through ${count === 1 ? '1 pod' : `${count} pods`}`,
    ...[perRunner.length, median(perRunner), Math.min(...perRunner), Math.max(...perRunner), variation.toFixed(4)],
  ]);
  console.log(table(['', 'n', 'median', 'least', 'most', 'variation'], rows));
  console.log(
    timesTable([...spreads].map(([count, { times }]) => [`POST /sandbox/reserve, ${reservedAtOnce} in flight, pods: ${count}`, times])),
  );
  console.log(`load ${before} before, ${load()} after`);
  return Object.fromEntries([...spreads].map(([count, { variation }]) => [`cv_${count}`, Math.round(variation * 10_000) / 10_000]));
}

/** At least `n` turns of each side in batches, first Berth, then bare, then Berth again. */
async function measure(berth: Turn, bare: Turn, n: number, concurrency: number): Promise<Series> {
  const series: Series = { berth: [], bare: [] };
  for (let batch = 0; batch * concurrency < n; batch += 1) {
    series.berth.push(...(await timed(berth, concurrency)));
    series.bare.push(...(await timed(bare, concurrency)));
  }
  return series;
}

async function timed(turn: Turn, concurrency: number): Promise<readonly number[]> {
  const done = await Promise.all(
    Array.from({ length: concurrency }, async (_, place) => {
      const begin = performance.now();
      const after = await turn(place);
      return { ms: performance.now() - begin, after };
    }),
  );
  await delay(laterMs);
  await Promise.all(done.map(({ after }) => after()));
  return done.map(({ ms }) => ms);
}

function timesTable(rows: readonly (readonly [string, readonly number[]])[]): string {
  const cells = rows.map(([what, times]) => {
    const { n, median: middle, p95, p99 } = summarise(times);
    return [what, n, middle, p95, p99];
  });
  return table(['milliseconds', 'n', 'median', 'p95', 'p99'], cells);
}

function load(): string {
  return loadavg()[0]?.toFixed(1) ?? '';
}
