/**
 * A small online judge: compiles a submission and runs it against the tests of a problem, each in a container of its own. Prints one line of
 * JSON per step and the verdict as the last. Usage and environment: README.md.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Berth, type EndedTask, type Limits } from './berth.ts';
import { answerFailureOf, compileFailureOf, failureOf, fileFailureOf, type Verdict } from './verdict.ts';

/** languages.json: how submissions of a language are compiled and run, by the extension of their files. */
interface Language {
  readonly image: string;
  /** Where the submission is put for the compiler. */
  readonly source: string;
  readonly compile: readonly string[];
  readonly compileLimits: Limits;
  /** What the compiler makes, and what is there when the program is run. */
  readonly program: string;
  readonly run: readonly string[];
}

/** problem.json. Tests are `tests/<name>.in` and `tests/<name>.out`. */
interface Problem {
  /** Absolute path of a file that the program reads; by default it reads stdin. */
  readonly inputFile?: string;
  /** Absolute path of a file that the program writes; by default it writes to stdout. */
  readonly outputFile?: string;
  readonly limits: Limits;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    languages: { type: 'string', default: join(import.meta.dirname, 'languages.json') },
    id: { type: 'string', default: randomUUID() },
  },
});
const [problemDirectory, submissionFile] = positionals;
const { BERTH_URL, BERTH_TOKEN } = process.env;
if (problemDirectory === undefined || submissionFile === undefined || BERTH_URL === undefined || BERTH_TOKEN === undefined) {
  process.stderr.write('usage: BERTH_URL=… BERTH_TOKEN=… judge.ts [--languages FILE] [--id ID] PROBLEM SUBMISSION\n');
  process.exit(2);
}
const berth = new Berth(BERTH_URL.split(','), BERTH_TOKEN);
say(await judge(problemDirectory, submissionFile));

async function judge(directory: string, submission: string): Promise<Verdict> {
  const problem = json(join(directory, 'problem.json')) as Problem;
  const language = (json(values.languages) as Record<string, Language>)[extname(submission).slice(1)];
  if (language === undefined) return { verdict: 'CompileError', message: `no language has files ${extname(submission)}` };
  const compiled = await compile(language, readFileSync(submission));
  if ('verdict' in compiled) return compiled;
  for (const test of testsOf(directory)) {
    const failure = await runTest(problem, language, compiled.program, join(directory, 'tests', test), test);
    if (failure !== undefined) return { ...failure, message: `test ${test}: ${failure.message}` };
  }
  return { verdict: 'Accepted', message: '' };
}

async function compile(language: Language, source: Buffer): Promise<Verdict | { readonly program: Buffer }> {
  const { image, compile: command, compileLimits: limits, program } = language;
  const inputFiles = [{ path: language.source, base64: source.toString('base64') }];
  const ended = await berth.run(`${values.id}/compile`, { image, command, limits, inputFiles, outputFiles: [program] });
  tell('compile', ended);
  const failure = compileFailureOf(ended.result, await berth.output(ended, 'stderr')) ?? fileFailureOf(ended.result, program);
  return failure ?? { program: await berth.file(ended, program) };
}

async function runTest(problem: Problem, language: Language, program: Buffer, path: string, test: string): Promise<Verdict | undefined> {
  const { inputFile, outputFile, limits } = problem;
  const { image, run: command } = language;
  const input = readFileSync(`${path}.in`).toString('base64');
  const files = [{ path: language.program, base64: program.toString('base64'), mode: 0o755 }];
  const ended = await berth.run(`${values.id}/${test}`, {
    ...{ image, command, limits },
    inputFiles: inputFile === undefined ? files : [...files, { path: inputFile, base64: input }],
    outputFiles: outputFile === undefined ? [] : [outputFile],
    ...(inputFile === undefined && { stdin: { base64: input } }),
  });
  tell(test, ended);
  const failure = failureOf(ended.result) ?? (outputFile === undefined ? undefined : fileFailureOf(ended.result, outputFile));
  if (failure !== undefined) return failure;
  const answer = outputFile === undefined ? await berth.output(ended, 'stdout') : (await berth.file(ended, outputFile)).toString();
  return answerFailureOf(answer, readFileSync(`${path}.out`, 'utf8'));
}

function testsOf(directory: string): readonly string[] {
  const names = readdirSync(join(directory, 'tests')).filter((name) => name.endsWith('.in'));
  return names.map((name) => name.slice(0, -'.in'.length)).toSorted();
}

function tell(step: string, { id, result: { outcome, exitCode, limit, usage } }: EndedTask): void {
  say({ step, task: id, outcome, exitCode, limit, ...usage });
}

function say(what: object): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

function json(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}
