/**
 * `make bench-start`: how long a start takes through Berth, beside the same four calls made to the same containerd directly.
 * Method and keys: docs/benchmarks.md. Options: `--n 100` per side and concurrency, `--etcd-fsync`, `--only-phases`.
 */
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage } from '../harness/images.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import { containerOf } from '../system/lying-on.ts';
import { BareContainerd, type Template } from './bare.ts';
import { Sandboxes } from './sandboxes.ts';
import { median, rounded, summarise, table } from './statistics.ts';

/** Between a clean-up and the next start, so that neither side pays for the other's clean-up. */
const settleMs = 30;
const warmUps = 8;

interface Side {
  /** Starts one; resolves with the milliseconds it took. */
  readonly start: (name: string) => Promise<number>;
  readonly remove: (name: string) => Promise<void>;
}

interface Series {
  readonly berth: readonly number[];
  readonly bare: readonly number[];
}

await main(async () => {
  const { values } = parseArgs({ options: { n: { type: 'string', default: '100' }, 'etcd-fsync': { type: 'boolean', default: false } } });
  const n = Number(values.n);
  const quiet = { BERTH_LOG_LEVEL: 'info' };
  await using cluster = await Cluster.start({ etcdFsync: values['etcd-fsync'], operatorEnv: quiet, agentEnv: quiet, log: toStderr });
  const image = await cluster.pushImage('demo:1', await demoImage());
  const sandboxes = new Sandboxes({ ...readKubeconfig(cluster.kubeconfig), namespace: 'default' });
  await sandboxes.watch();
  const spec = { image, resources: { limits: { cpu: '500m', memory: '64Mi' } } };

  const runner = cluster.runner('runner-1');
  // The first sandbox has a shim of its own, which the next ones join: as they do, so does what is repeated from the second.
  await startThroughBerth(sandboxes, 'first', spec);
  await delay(1_000);
  const { uid } = await startThroughBerth(sandboxes, 'template', spec);
  const { namespace, id } = await containerOf(runner, uid);
  const bare = new BareContainerd(runner.socket, namespace);
  const template = await bare.read(id);
  const writes: number[] = [];
  const sides = { berth: berthSide(sandboxes, spec, writes), bare: bareSide(bare, template) };

  await measure(sides, 'warm-up', warmUps, 1);
  writes.length = 0;
  const load = loadavg()[0] ?? Number.NaN;
  const one = await measure(sides, 'one', n, 1);
  const eight = await measure(sides, 'eight', n, 8);
  const loadAfter = loadavg()[0] ?? Number.NaN;
  await Promise.all(['first', 'template'].map((name) => sandboxes.remove(name)));
  await sandboxes.close();
  bare.close();

  const row = (what: string, values: readonly number[]) => {
    const { n, median, p95, p99 } = summarise(values);
    return [what, n, median, p95, p99];
  };
  console.log(
    table(
      ['milliseconds', 'n', 'median', 'p95', 'p99'],
      [
        row('POST answered → Started seen, concurrency 1', one.berth),
        row('bare containerd, concurrency 1', one.bare),
        row('POST answered → Started seen, concurrency 8', eight.berth),
        row('bare containerd, concurrency 8', eight.bare),
      ],
    ),
  );
  const perStart = writes.reduce((sum, count) => sum + count, 0) / writes.length;
  console.log(
    `load ${load.toFixed(1)} before, ${loadAfter.toFixed(1)} after; etcd fsync ${cluster.etcdFsync ? 'on' : 'off'}; runtime ${describeRuntime(template)}`,
  );
  console.log(`status writes per start: ${rounded(perStart)}`);
  const result = {
    ratio_p50_c1: rounded(median(one.berth) / median(one.bare)),
    ratio_p50_c8: rounded(median(eight.berth) / median(eight.bare)),
    status_writes_per_start: rounded(perStart),
  };
  console.log(`RESULT ${JSON.stringify(result)}`);
});

/** At least `n` starts of each side in batches, first Berth, then bare, then Berth again; what was started is removed between two batches. */
async function measure(
  { berth, bare }: { readonly berth: Side; readonly bare: Side },
  label: string,
  n: number,
  concurrency: number,
): Promise<Series> {
  const series = { berth: [] as number[], bare: [] as number[] };
  for (let batch = 0; batch * concurrency < n; batch += 1) {
    const names = Array.from({ length: concurrency }, (_, index) => `${label}-${batch}-${index}`);
    for (const [side, times] of [
      [berth, series.berth],
      [bare, series.bare],
    ] as const) {
      await delay(settleMs);
      times.push(...(await Promise.all(names.map((name) => side.start(name)))));
      await Promise.all(names.map((name) => side.remove(name)));
    }
  }
  return series;
}

function berthSide(sandboxes: Sandboxes, spec: object, writes: number[]): Side {
  return {
    start: async (name) => {
      const { took } = await startThroughBerth(sandboxes, name, spec);
      writes.push(sandboxes.statusWrites(name));
      return took;
    },
    remove: (name) => sandboxes.remove(name),
  };
}

function bareSide(bare: BareContainerd, template: Template): Side {
  return {
    start: async (name) => {
      const from = performance.now();
      await bare.start(template, `bare-${name}`);
      return performance.now() - from;
    },
    remove: (name) => bare.remove(template, `bare-${name}`),
  };
}

/** From the moment when the POST was answered to the one in which Started was seen. */
async function startThroughBerth(
  sandboxes: Sandboxes,
  name: string,
  spec: object,
): Promise<{ readonly uid: string; readonly took: number }> {
  const started = sandboxes.started(name);
  const { at, uid } = await sandboxes.create(name, spec);
  return { uid, took: (await started) - at };
}

function describeRuntime({ container }: Template): string {
  const binary = Buffer.from(container.runtime?.options?.value ?? [])
    .toString()
    .includes('crun')
    ? 'crun'
    : 'runc';
  return `${binary}, ${container.sandbox === '' ? 'a shim each' : 'shim group'}, ${container.snapshotter}`;
}
