import type { SubmitTask, TaskLimits as LimitsMessage, TaskSpec } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskRejectionCode } from './codes.ts';
import type { TaskFacts, TaskLimits } from './record.ts';

/** Why a request is refused. */
export interface Refused {
  readonly code: TaskRejectionCode;
  readonly message: string;
}

/** A task that can be understood and whose limits can be kept. Where in a sandbox it runs is found out by whoever admits it. */
export interface Submission {
  readonly task: Omit<TaskFacts, 'place' | 'acceptedMs'>;
  /** Undefined: a one-shot. */
  readonly sandbox: { readonly uid: string; readonly contentVersion: number } | undefined;
  readonly uploads: readonly string[];
}

const MiB = 2 ** 20;
const mostInline = 64 * 1024;
const mostFiles = 32;
const mostTexts = 4_096;
const longestPath = 4_095;
const largestOutput = 1024 * MiB;
const largestMemory = 2 ** 44;
const longestMs = 7 * 86_400_000;
/** Below it no runtime can start anything. */
const smallestMemory = 6 * MiB;

const oneShotDefaults: TaskLimits = {
  ...{ cpuTimeMs: 0, wallTimeMs: 600_000, memoryBytes: 512 * MiB, pids: 128, outputBytes: 16 * MiB, cpuMillis: 1_000 },
  outputFilesBytes: 16 * MiB,
};
const sandboxDefaults: TaskLimits = {
  ...{ cpuTimeMs: 0, wallTimeMs: 0, memoryBytes: 0, pids: 0, outputBytes: 16 * MiB, cpuMillis: 0, outputFilesBytes: 0 },
};
const noLimits: LimitsMessage = {
  ...{ cpuTimeMs: 0, wallTimeMs: 0, memoryBytes: 0, pids: 0, outputBytes: 0, cpuMillis: 0, outputFilesBytes: 0 },
};

/** What a pod asks for, or why it is refused whatever the runner has. */
export function readSubmission(message: SubmitTask): Submission | Refused {
  const { spec } = message;
  if (spec?.where === undefined) return invalid('it does not say what to run where');
  const problem = problemOf(message, spec);
  if (problem !== undefined) return invalid(problem);
  const unsupported = spec.where.$case === 'sandbox' ? unsupportedInSandbox(spec) : undefined;
  if (unsupported !== undefined) return unsupported;
  const { taskId, caller, reservationId, keyHash, bodyHash } = message;
  return {
    task: {
      ...{ id: taskId, caller, reservationID: reservationId, keyHash, bodyHash },
      limits: limitsOf(spec),
      graceSeconds: spec.graceSeconds,
      inputFiles: spec.inputFiles.map(({ path }) => path),
      outputFiles: [...spec.outputFiles],
      streamsStdin: spec.streamStdin,
    },
    sandbox: spec.where.$case === 'sandbox' ? spec.where.value : undefined,
    uploads: inputsOf(spec).flatMap(({ content }) => (content?.$case === 'uploadId' ? [content.value] : [])),
  };
}

export function isRefused(one: object): one is Refused {
  return 'code' in one;
}

function inputsOf({ stdin, inputFiles }: TaskSpec) {
  return [stdin, ...inputFiles.map(({ content }) => content)].filter((input) => input !== undefined);
}

function invalid(problem: string): Refused {
  return { code: 'InvalidTask', message: `The task can not be run: ${problem}.` };
}

/** First match wins. */
function problemOf(message: SubmitTask, spec: TaskSpec): string | undefined {
  const checks: readonly (string | undefined)[] = [
    isID(message.taskId) ? undefined : 'its id is none',
    message.bodyHash === '' ? 'it has no hash' : undefined,
    commandProblem(spec),
    filesProblem(spec),
    inlineProblem(spec),
    limitsProblem(spec.limits ?? noLimits),
    spec.graceSeconds < 0 || spec.graceSeconds > 3_600 ? 'its grace is not between 0 and 3600 seconds' : undefined,
    inputsOf(spec).every(({ content }) => content?.$case !== 'uploadId' || isID(content.value)) ? undefined : 'the id of an upload is none',
  ];
  return checks.find((problem) => problem !== undefined);
}

/** What may name a file, a container and a process. */
export function isID(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

function commandProblem({ where, command, args, env, workingDir }: TaskSpec): string | undefined {
  const texts = [...command, ...args, ...env.flatMap(({ name, value }) => [name, value]), workingDir];
  if (texts.length > mostTexts) return `it has more than ${mostTexts} arguments and variables`;
  if (texts.some((text) => text.includes('\0'))) return 'an argument or variable has a zero byte';
  if (env.some(({ name }) => name === '' || name.includes('='))) return 'the name of a variable is none';
  if (workingDir !== '' && !workingDir.startsWith('/')) return 'its working directory is not absolute';
  if (where?.$case === 'sandbox') {
    if (where.value.uid === '') return 'it names no sandbox';
    return command.length + args.length === 0 ? 'it has no command' : undefined;
  }
  if (where?.value.image === '') return 'it names no image';
  return ['Always', 'IfNotPresent', 'Never'].includes(where?.value.imagePullPolicy ?? '') ? undefined : 'its imagePullPolicy is none';
}

function filesProblem({ inputFiles, outputFiles }: TaskSpec): string | undefined {
  const paths = inputFiles.map(({ path }) => path);
  if (paths.length > mostFiles || outputFiles.length > mostFiles) return `it has more than ${mostFiles} files`;
  const wrong = [...paths, ...outputFiles].find((path) => !isPath(path));
  if (wrong !== undefined) return `'${wrong}' is not the absolute path of a file of its own`;
  if (inputFiles.some(({ mode }) => mode < 0 || mode > 0o777)) return 'the mode of a file is not between 0 and 0777';
  return new Set(paths).size < paths.length ? 'two input files have one path' : undefined;
}

function isPath(path: string): boolean {
  const parts = path.split('/').slice(1);
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  const isOwn = !['proc', 'sys', 'dev'].includes(parts[0] ?? '');
  return path.startsWith('/') && path.length <= longestPath && !path.includes('\0') && isPlain && isOwn;
}

function inlineProblem(spec: TaskSpec): string | undefined {
  const bytes = inputsOf(spec).reduce((sum, { content }) => sum + (content?.$case === 'inline' ? content.value.length : 0), 0);
  return bytes > mostInline ? `it brings ${bytes} bytes of input: at most ${mostInline}, the rest is uploaded first` : undefined;
}

function limitsProblem(limits: LimitsMessage): string | undefined {
  const bounds: readonly (readonly [keyof LimitsMessage, number, number])[] = [
    ['cpuTimeMs', 1, longestMs],
    ['wallTimeMs', 1, longestMs],
    ['memoryBytes', smallestMemory, largestMemory],
    ['pids', 1, 1_000_000],
    ['outputBytes', 1, largestOutput],
    ['cpuMillis', 10, 1_024_000],
    ['outputFilesBytes', 1, largestOutput],
  ];
  const wrong = bounds.find(([name, least, most]) => limits[name] !== 0 && !(limits[name] >= least && limits[name] <= most));
  return wrong === undefined ? undefined : `its limit ${wrong[0]} is not between ${wrong[1]} and ${wrong[2]}`;
}

/** A sandbox has its own limits for all that runs in it. */
function unsupportedInSandbox({ limits = noLimits, inputFiles, outputFiles }: TaskSpec): Refused | undefined {
  const wrong = (['memoryBytes', 'pids', 'cpuMillis', 'outputFilesBytes'] as const).find((name) => limits[name] > 0);
  if (wrong !== undefined) {
    return { code: 'LimitUnsupported', message: `A command in a sandbox can not have the limit ${wrong}: the sandbox has its own.` };
  }
  if (inputFiles.length + outputFiles.length === 0) return undefined;
  return { code: 'FilesUnsupported', message: 'Files go in and out of one-shots only: a command in a sandbox finds those of the sandbox.' };
}

function limitsOf({ where, limits = noLimits }: TaskSpec): TaskLimits {
  const defaults = where?.$case === 'sandbox' ? sandboxDefaults : oneShotDefaults;
  const names = Object.keys(defaults) as (keyof TaskLimits)[];
  return Object.fromEntries(names.map((name) => [name, limits[name] === 0 ? defaults[name] : limits[name]])) as unknown as TaskLimits;
}
