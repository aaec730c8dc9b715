import { AttemptError } from '../copies/attempt-error.ts';
import type { ContainerConfig } from '../copies/runtime.ts';

/** What an image says about the process that it is made for. */
export interface ImageProcess {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value` */
  readonly env: readonly string[];
  readonly workingDir: string;
}

export interface ResolvedProcess {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Command, environment and directory of the main process. As in pods: `command` replaces the image's entrypoint and cmd, `args` alone
 * replaces cmd; the sandbox's variables go before the image's, and both before PATH, HOSTNAME and HOME.
 * @throws AttemptError `CommandMissing` when nobody says what to run.
 */
export function resolveProcess(
  config: Pick<ContainerConfig, 'command' | 'args' | 'env' | 'workingDir'>,
  image: ImageProcess,
  defaults: { readonly hostname: string; readonly home: string },
): ResolvedProcess {
  const entrypoint = config.command.length > 0 ? config.command : image.entrypoint;
  const args = config.args.length > 0 || config.command.length > 0 ? config.args : image.cmd;
  if (entrypoint.length + args.length === 0)
    throw new AttemptError('CommandMissing', 'Nothing says what to run: the image has no entrypoint, so set spec.command.');
  const env = new Map([
    ['PATH', defaultPath],
    ['HOSTNAME', defaults.hostname],
    ['HOME', defaults.home],
    ...image.env.map(splitVariable),
    ...config.env.map(({ name, value }) => [name, value] as const),
  ]);
  return {
    args: [...entrypoint, ...args],
    env: [...env].map(([name, value]) => `${name}=${value}`),
    cwd: config.workingDir || image.workingDir || '/',
  };
}

function splitVariable(variable: string): readonly [string, string] {
  const at = variable.indexOf('=');
  return at < 0 ? [variable, ''] : [variable.slice(0, at), variable.slice(at + 1)];
}
