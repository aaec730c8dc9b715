/** What a judge says about a submission: pure, from what Berth tells of the task that ran it. */

export const verdicts = [
  'Accepted',
  'WrongAnswer',
  'CompileError',
  'TimeLimitExceeded',
  'MemoryLimitExceeded',
  'OutputLimitExceeded',
  'ProcessLimitExceeded',
  'RuntimeError',
  /** It is not the submission's fault. */
  'SystemError',
] as const;
export type VerdictName = (typeof verdicts)[number];

export interface Verdict {
  readonly verdict: VerdictName;
  /** The limit that was hit, as Berth names it: CpuTime, WallTime, Memory, Pids, Output, or OutputFile. */
  readonly limit?: string;
  readonly message: string;
}

/** Of the answer of the API what is looked at here. */
export interface TaskResult {
  readonly outcome: string;
  readonly exitCode: number;
  readonly signal?: number;
  readonly limit?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly files: readonly { readonly path: string; readonly size: number; readonly problem?: string }[];
}

const ofLimit: Readonly<Record<string, VerdictName>> = {
  CpuTime: 'TimeLimitExceeded',
  WallTime: 'TimeLimitExceeded',
  Memory: 'MemoryLimitExceeded',
  Output: 'OutputLimitExceeded',
  Pids: 'ProcessLimitExceeded',
};

/** How a program ended that was to end with 0; undefined when it did. */
export function failureOf(result: TaskResult): Verdict | undefined {
  const { outcome, exitCode, signal, limit = '', reason = '', message = '' } = result;
  if (outcome !== 'Exited' && outcome !== 'LimitExceeded')
    return { verdict: 'SystemError', message: `${outcome} ${reason}: ${message}`.trim() };
  // Without `LimitExceeded` a limit is what it ran into before it ended by itself.
  const verdict = ofLimit[limit];
  if (verdict !== undefined) return { verdict, limit, message: limitMessages[limit] ?? '' };
  if (exitCode === 0) return undefined;
  return { verdict: 'RuntimeError', message: signal === undefined ? `it ended with code ${exitCode}` : `signal ${signal} ended it` };
}

/** What became of the compiler. Whatever a submission does to it is an error of the submission. */
export function compileFailureOf(result: TaskResult, said: string): Verdict | undefined {
  const failure = failureOf(result);
  if (failure === undefined || failure.verdict === 'SystemError') return failure;
  const { limit } = failure;
  return { verdict: 'CompileError', ...(limit !== undefined && { limit }), message: said === '' ? failure.message : said };
}

/** What became of the file that it was to write; undefined when it is there. */
export function fileFailureOf(result: TaskResult, path: string): Verdict | undefined {
  const file = result.files.find((one) => one.path === path);
  if (file?.problem === 'TooLarge')
    return { verdict: 'OutputLimitExceeded', limit: 'OutputFile', message: `${path} has ${file.size} bytes` };
  if (file === undefined || file.problem !== undefined) return { verdict: 'WrongAnswer', message: `there is no file ${path}` };
  return undefined;
}

/** Answers are compared word by word: how they are set apart is nobody's matter. */
export function answerFailureOf(answer: string, expected: string): Verdict | undefined {
  const [given, wanted] = [wordsOf(answer), wordsOf(expected)];
  const at = wanted.findIndex((word, index) => given[index] !== word);
  if (at >= 0) return { verdict: 'WrongAnswer', message: `word ${at + 1} is ${quoted(given[at])}, not ${quoted(wanted[at])}` };
  return given.length > wanted.length ? { verdict: 'WrongAnswer', message: `after ${wanted.length} words there is more` } : undefined;
}

const limitMessages: Readonly<Record<string, string>> = {
  CpuTime: 'it used more processor time than it may',
  WallTime: 'it took longer than it may',
  Memory: 'it used more memory than it may',
  Output: 'it wrote more than it may',
  Pids: 'it was refused another process',
};

function wordsOf(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function quoted(word: string | undefined): string {
  return word === undefined ? 'missing' : JSON.stringify(word.slice(0, 40));
}
