import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { largeScale, planOf, smallScale } from './plan.ts';
import type { Plan } from './plan.ts';
import { runHistory } from './history.ts';
import type { Outcome } from './history.ts';
import { rules } from './checks/violation.ts';
import { shrink } from './shrink.ts';
import { defects } from './defects.ts';
import type { Defect } from './defects.ts';
import { programsWith } from './programs/index.ts';

const usage = `Runs the real cores of agent and operator against modelled faults, in virtual time.
  --seeds n       how many histories (default 1000)
  --seed s        replay the history of this seed and print its trace
  --plan file     replay a plan that --save wrote, and print its trace
  --save file     write the (shrunk) plan of the first violation, or of --seed, as JSON
  --first n       the first seed is this number (default 1)
  --large         hours of a larger fleet instead of minutes of a small one
  --defect name   put a defect in, to see that it is found: ${Object.keys(defects).join(', ')}
  --no-shrink     do not look for a smaller plan
  --all           go on after a violation, and count`;

const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    plan: { type: 'string' },
    save: { type: 'string' },
    defect: { type: 'string' },
    'no-shrink': { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const scale = flags.large ? largeScale : smallScale;

async function main(): Promise<number> {
  if (flags.help) {
    console.log(usage);
    return 0;
  }
  const defect = defectOf(flags.defect);
  const programs = programsWith(defect);
  const run = (plan: Plan) => runHistory(plan, programs);
  const one = flags.plan === undefined ? flags.seed && planOf(flags.seed, scale) : (JSON.parse(readFileSync(flags.plan, 'utf8')) as Plan);
  if (one !== undefined && one !== '') return replay(one, run);
  return many(Number(flags.seeds), Number(flags.first), run);
}

function defectOf(name: string | undefined): Defect | undefined {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(defects, name))
    throw new Error(`--defect ${name}: there is none of this name. There are: ${Object.keys(defects).join(', ')}.`);
  return name as Defect;
}

type Run = (plan: Plan) => Promise<Outcome>;

async function many(count: number, first: number, run: Run): Promise<number> {
  const began = process.cpuUsage();
  const found: Outcome[] = [];
  const totals = { operations: 0, faults: 0, starts: 0, orders: 0, statusWrites: 0, crashes: 0, happenings: 0 };
  let histories = 0;
  for (let n = first; n < first + count; n++) {
    const outcome = await run(planOf(String(n), scale));
    histories++;
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += outcome.counts[key];
    if (outcome.violation !== undefined) {
      found.push(outcome);
      console.log(`seed ${n}: ${outcome.violation.rule}: ${outcome.violation.text.split('\n')[0] ?? ''}`);
      if (!flags.all) break;
    }
    if (histories % 100 === 0) console.log(`${histories} histories, ${perSecond(histories, began)} per second of processor time`);
  }
  const [worst] = found;
  if (worst !== undefined) await explain(worst, run);
  result({ histories, violations: found.length, historiesPerSecond: perSecond(histories, began), ...totals });
  return found.length > 0 ? 1 : 0;
}

async function replay(plan: Plan, run: Run): Promise<number> {
  const began = process.cpuUsage();
  const outcome = await run(plan);
  if (outcome.violation !== undefined && !flags['no-shrink']) await explain(outcome, run);
  else {
    console.log(outcome.lines().join('\n'));
    if (flags.save !== undefined) writeFileSync(flags.save, JSON.stringify(plan, undefined, 2));
  }
  result({
    histories: 1,
    violations: outcome.violation === undefined ? 0 : 1,
    historiesPerSecond: perSecond(1, began),
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
  console.log(`\nReplay the whole history: make simulate SEED=${plan.seed}`);
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

/** Of processor time, so that it says the same on a busy machine. */
function perSecond(histories: number, began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began);
  return Math.round((histories * 10_000_000) / (user + system)) / 10;
}

function result(fields: object): void {
  console.log(`RESULT ${JSON.stringify(fields)}`);
}

process.exitCode = await main();
