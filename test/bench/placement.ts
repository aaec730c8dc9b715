/**
 * `make bench-placement`: how evenly sandboxes that are created at once are spread over equal runners. The real programs of operator and agent
 * over modelled machines, in virtual time. Method and keys: docs/benchmarks.md. Options: `--sandboxes`, `--runners`, `--n` fleets.
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { main } from '../../hack/fail.ts';
import { coefficientOfVariation, evenLoad, fill } from '../simulation/placement.ts';
import { summarise, table } from './statistics.ts';

await main(async () => {
  const { values } = parseArgs({
    options: {
      sandboxes: { type: 'string', default: String(evenLoad.sandboxes) },
      runners: { type: 'string', default: String(evenLoad.runners) },
      n: { type: 'string', default: '5' },
    },
  });
  const placement = { ...evenLoad, sandboxes: Number(values.sandboxes), runners: Number(values.runners) };
  const before = loadavg()[0]?.toFixed(1) ?? '';
  const variations: number[] = [];
  const perRunner: number[] = [];
  for (let fleet = 1; fleet <= Number(values.n); fleet += 1) {
    const { started, shares, sandboxesPerRunner, violation } = await fill(placement, `bench-${fleet}`);
    if (violation !== undefined) throw new Error(`${violation.rule}: ${violation.text}`);
    if (started < placement.sandboxes) throw new Error(`only ${started} of ${placement.sandboxes} sandboxes came to run`);
    variations.push(coefficientOfVariation(shares));
    perRunner.push(...sandboxesPerRunner);
    process.stderr.write(`fleet ${fleet}: coefficient of variation ${(variations.at(-1) ?? 0).toFixed(4)}\n`);
  }
  const row = (what: string, series: readonly number[]) => {
    const { n, median, p95, p99 } = summarise(series);
    return [what, n, median, p95, p99, Math.min(...series), Math.max(...series)];
  };
  const head = ['', 'n', 'median', 'p95', 'p99', 'least', 'most'];
  const permille = variations.map((variation) => variation * 1000);
  console.log(table(head, [row('coefficient of variation of the dominant share, ‰', permille), row('sandboxes on a runner', perRunner)]));
  console.log(`load ${before} before, ${loadavg()[0]?.toFixed(1) ?? ''} after; virtual time, no etcd`);
  const cv = Math.round(Math.max(...variations) * 10_000) / 10_000;
  console.log(`RESULT ${JSON.stringify({ cv, sandboxes: placement.sandboxes, runners: placement.runners, fleets: variations.length })}`);
});
