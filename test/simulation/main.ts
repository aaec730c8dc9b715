import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { largeScale, smallScale } from './plan.ts';
import type { Plan } from './plan.ts';
import { runHistory } from './history.ts';
import type { Outcome } from './history.ts';
import { rules } from './checks/violation.ts';
import { shrink } from './shrink.ts';
import { defects } from './defects.ts';
import type { Defect } from './defects.ts';
import { planFor, programsWith } from './programs/index.ts';
import { runInThreads } from './pool.ts';
import type { Summary } from './pool.ts';

const usage = `Runs the real cores of agent and operator against modelled faults, in virtual time.
  --seeds n       how many histories (default 100)
  --seed s        replay the history of this seed and print its trace
  --plan file     replay a plan that --save wrote, and print its trace
  --save file     write the (shrunk) plan of the first violation, or of --seed, as JSON
  --first n       the first seed is this number (default 1)
  --small         minutes of a small fleet instead of hours of a larger one
  --threads n     how many histories at a time (default: one for each processor)
  --defect name   put a defect in, to see that it is found: ${Object.keys(defects).join(', ')}
  --no-shrink     do not look for a smaller plan
  --all           go on after a violation, and count`;

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    plan: { type: 'string' },
    save: { type: 'string' },
    defect: { type: 'string' },
    'no-shrink': { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(availableParallelism()) },
    help: { type: 'boolean', default: false },
  },
});

const scale = flags.small ? smallScale : largeScale;

async function main(): Promise<number> {
  if (flags.help) {
    console.log(usage);
    return 0;
  }
  const defect = defectOf(flags.defect);
  const programs = programsWith(defect);
  const run = (plan: Plan) => runHistory(plan, programs);
  const one =
    flags.plan === undefined ? flags.seed && planFor(flags.seed, scale, defect) : (JSON.parse(readFileSync(flags.plan, 'utf8')) as Plan);
  if (one !== undefined && one !== '') return replay(one, run);
  return many(defect, run);
}

function defectOf(name: string | undefined): Defect | undefined {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(defects, name))
    throw new Error(`--defect ${name}: there is none of this name. There are: ${Object.keys(defects).join(', ')}.`);
  return name as Defect;
}

type Run = (plan: Plan) => Promise<Outcome>;

async function many(defect: Defect | undefined, run: Run): Promise<number> {
  const [first, count] = [Number(flags.first), Number(flags.seeds)];
  const seeds = Array.from({ length: count }, (_, n) => String(first + n));
  const began = { wall: performance.now(), cpu: process.cpuUsage() };
  const found: Summary[] = [];
  const totals = {
    operations: 0,
    faults: 0,
    starts: 0,
    backups: 0,
    moves: 0,
    orders: 0,
    statusWrites: 0,
    crashes: 0,
    happenings: 0,
    virtualMs: 0,
  };
  let histories = 0;
  await runInThreads(seeds, {
    scale,
    defect,
    threads: Number(flags.threads),
    ended: (summary) => {
      const { seed, violation, counts, shortfall } = summary;
      if (shortfall !== undefined) throw new Error(`The history of seed ${seed} proves less than it should: ${shortfall}.`);
      histories++;
      for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += counts[key];
      if (violation !== undefined) {
        found.push(summary);
        console.log(`seed ${seed}: ${violation.rule}: ${violation.text.split('\n')[0] ?? ''}`);
      }
      if (histories % 100 === 0) console.log(`${histories} histories, ${speed(histories, began).historiesPerSecond} per second`);
      return violation === undefined || flags.all;
    },
  });
  const [worst] = found.toSorted((a, b) => Number(a.seed) - Number(b.seed));
  if (worst !== undefined) await explain(await run(planFor(worst.seed, scale, defect)), run);
  const { virtualMs, ...sums } = totals;
  result({ histories, violations: found.length, ...speed(histories, began), ...sums, virtualHours: Math.floor(virtualMs / 3_600_000) });
  return found.length > 0 ? 1 : 0;
}

async function replay(plan: Plan, run: Run): Promise<number> {
  const began = { wall: performance.now(), cpu: process.cpuUsage() };
  const outcome = await run(plan);
  if (outcome.violation !== undefined && !flags['no-shrink']) await explain(outcome, run);
  else {
    console.log(outcome.lines().join('\n'));
    if (flags.save !== undefined) writeFileSync(flags.save, JSON.stringify(plan, undefined, 2));
  }
  result({
    histories: 1,
    violations: outcome.violation === undefined ? 0 : 1,
    ...speed(1, began),
    hash: outcome.hash,
    ...outcome.counts,
  });
  return outcome.violation === undefined ? 0 : 1;
}

/** Prints the violation with the shortest story that was found for it. */
async function explain(outcome: Outcome, run: Run): Promise<void> {
  const { violation } = outcome;
  if (violation === undefined) return;
  const plan = flags['no-shrink']
    ? outcome.plan
    : await shrink(outcome.plan, async (smaller) => (await run(smaller)).violation?.rule === violation.rule);
  const shortest = await run(plan);
  const told = shortest.violation ?? violation;
  console.log(`\nViolation of ${told.rule}: ${rules[told.rule]}.\n${told.text}\n`);
  console.log(`The shortest story (seed ${plan.seed}, ${plan.operations.length} operations, ${plan.faults.length} faults):`);
  console.log(storyOf(shortest, told.uid).join('\n'));
  console.log(
    `\nReplay the whole history: make simulate SEED=${plan.seed}${flags.small ? ' SMALL=1' : ''}${flags.defect === undefined ? '' : ` DEFECT=${flags.defect}`}`,
  );
  if (flags.save !== undefined) {
    writeFileSync(flags.save, JSON.stringify(plan, undefined, 2));
    console.log(`Replay the short one: hack/node test/simulation/main.ts --plan ${flags.save}`);
  }
}

/** The lines that are about the sandbox, and those about no sandbox. */
function storyOf(outcome: Outcome, uid: string | undefined): string[] {
  const aboutAny = /\buid-\d+\b/;
  return outcome.lines((_, text) => uid === undefined || !aboutAny.test(text) || new RegExp(`\\b${uid}\\b`).test(text));
}

/** By the clock on the wall, and what of the processors' time a history took: that says the same on a busy machine. */
function speed(histories: number, { wall, cpu }: { readonly wall: number; readonly cpu: NodeJS.CpuUsage }) {
  const { user, system } = process.cpuUsage(cpu);
  return {
    historiesPerSecond: Math.round((histories * 10_000) / (performance.now() - wall)) / 10,
    cpuMsPerHistory: Math.round((user + system) / 1000 / histories),
  };
}

function result(fields: object): void {
  console.log(`RESULT ${JSON.stringify(fields)}`);
}

process.exitCode = await main();
