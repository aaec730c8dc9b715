import { execa, type Options } from 'execa';
import { BerthError, messageOf } from '../process/errors.ts';

/**
 * Runs a command to its end and returns what it printed on stdout, trimmed.
 * @throws BerthError `CommandFailed` with the command and the last lines it printed on stderr.
 */
export async function run(file: string, args: readonly string[] = [], options: Options = {}): Promise<string> {
  const result = await execa(file, args, { ...options, reject: false });
  if (result.failed) throw commandFailed(file, args, result);
  return String(result.stdout ?? '').trim();
}

/** Whether a command ends with status 0. What it prints is dropped. */
export async function succeeds(file: string, args: readonly string[] = []): Promise<boolean> {
  const result = await execa(file, args, { reject: false, stdio: 'ignore' });
  return !result.failed;
}

interface Outcome {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly stderr?: unknown;
  readonly stdout?: unknown;
  readonly shortMessage?: string | undefined;
}

function commandFailed(file: string, args: readonly string[], outcome: Outcome): BerthError {
  const printed = lastLines(text(outcome.stderr)) || lastLines(text(outcome.stdout)) || messageOf(outcome.shortMessage ?? '');
  const how = outcome.exitCode === undefined ? (outcome.signal ?? 'it could not be started') : `status ${outcome.exitCode}`;
  return new BerthError('CommandFailed', `"${[file, ...args].join(' ').slice(0, 200)}" failed (${how}): ${printed}`, {
    details: { exitCode: outcome.exitCode, stderr: text(outcome.stderr) },
  });
}

function text(output: unknown): string {
  return typeof output === 'string' ? output : '';
}

/** The end of an output, for a message. */
export function lastLines(output: string, count = 8): string {
  return output.trim().split('\n').slice(-count).join('\n');
}
