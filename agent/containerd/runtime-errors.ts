import { z } from 'zod';
import { AttemptError } from '../copies/attempt-error.ts';
import type { AttemptErrorCode } from '../copies/runtime.ts';
import { parseJSON } from './json.ts';

interface Rule {
  readonly said: RegExp;
  readonly code: AttemptErrorCode;
  readonly sentence: (about: Attempted) => string;
}

/** What was to be run, for the message. */
export interface Attempted {
  readonly command: string;
  readonly workingDir: string;
  readonly memoryBytes: number;
}

const unknown: Attempted = { command: 'of the image', workingDir: 'of the image', memoryBytes: 0 };

/** What a container's record says was to be run: its OCI spec, as JSON. */
export function attemptedOf(spec: string): Attempted {
  const result = specSchema.safeParse(parseJSON(spec));
  if (!result.success) return unknown;
  const { process, linux } = result.data;
  return { command: process.args[0] ?? '', workingDir: process.cwd, memoryBytes: linux.resources.memory.limit };
}

const specSchema = z.object({
  process: z.object({ args: z.array(z.string()), cwd: z.string() }),
  linux: z.object({ resources: z.object({ memory: z.object({ limit: z.number() }) }) }),
});

/** runc's and crun's words. First match wins. */
const rules: readonly Rule[] = [
  {
    said: /no space left on device|disk quota exceeded/i,
    code: 'OutOfDisk',
    sentence: () => `The runner's disk is full.`,
  },
  {
    said: /OOM-killed|OOM: the memory limit|memory limit too low|unable to set memory limit|cannot allocate memory/i,
    code: 'OutOfMemoryAtStart',
    sentence: ({ memoryBytes }) => `The program could not be started within the memory limit of ${memoryBytes} bytes.`,
  },
  {
    said: /\bchdir\b|(error during container init|runc create failed).*\bmkdir .*(not a directory|file exists|permission denied|read-only)/i,
    code: 'WorkingDirNotFound',
    sentence: ({ workingDir }) => `The working directory '${workingDir}' cannot be used.`,
  },
  {
    said: /exec format error|exec: .*(permission denied|is a directory)|open executable.*(permission denied|operation not permitted)/i,
    code: 'CommandNotExecutable',
    sentence: ({ command }) => `The command '${command}' is in the sandbox and cannot be executed.`,
  },
  {
    said: /executable file .*not found|exec: .*no such file or directory|open executable.*no such file or directory/i,
    code: 'CommandNotFound',
    sentence: ({ command }) => `The command '${command}' is not in the sandbox.`,
  },
];

/**
 * Why the runtime could not create or start a container, from its text; undefined when the text does not prove that the process never ran
 * (`RuntimeFailed` is for the caller who knows that from elsewhere).
 */
export function runtimeError(said: string, about: Attempted, cause?: unknown): AttemptError | undefined {
  const rule = rules.find((candidate) => candidate.said.test(said));
  if (rule === undefined) return undefined;
  return new AttemptError(rule.code, rule.sentence(about), { cause, details: { said } });
}

/** Any other failure of the runtime before a process ran. */
export function runtimeFailed(said: string, cause?: unknown): AttemptError {
  return new AttemptError('RuntimeFailed', `The container could not be made: ${essence(said)}`, { cause, details: { said } });
}

/** The runtime's own words without what every layer above put in front. */
function essence(said: string): string {
  const text = said.replace(/^.*OCI runtime (create|start) failed: /, '').replace(/: unknown$/, '');
  return (text.split('\n')[0] ?? '').slice(0, 300);
}

/** The shim of a task is gone, or the one that it was to join: then nothing was made. */
export function isShimGone(said: string): boolean {
  return /can't find shim for sandbox|failed to load sandbox task|failed to get bootstrap params of sandbox|ttrpc: closed|dial unix .*connect: (connection refused|no such file)/.test(
    said,
  );
}
