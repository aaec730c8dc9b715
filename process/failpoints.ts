import { existsSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { BerthError } from './errors.ts';

/** What a failpoint does to its process: it dies as by `kill -9`, or stands still until it is resumed. */
export type FailpointAction = 'kill' | 'freeze';

/** Names the armed failpoint of a process: `name`, `name:nth` or `name:nth=freeze`; or `@file`, a file that holds the same. */
export const failpointVariable = 'BERTH_FAILPOINT';

/** What a failpoint needs of the process. */
export interface FailpointHost {
  /** A variable of the environment. */
  variable(name: string): string | undefined;
  /** Must not return before the action has had its effect. */
  act(name: string, action: FailpointAction): void;
}

interface Armed {
  readonly text: string;
  readonly name: string;
  /** The how manieth time the place is reached. */
  readonly nth: number;
  readonly action: FailpointAction;
}

/**
 * The named places between two effects of a binary at which a crash test may end it: a closed list, so that a test can ask that each has a case.
 * Calls are written `FAILPOINT: failpoint('name')`; the builder drops every statement with that label from the bundles that are shipped, and with
 * the calls all that is here. Not armed, a call does nothing.
 *
 * A file is read at every call, so that a process can be armed while it runs; it is removed when its failpoint is reached: one file, one effect.
 * @throws BerthError `UnknownFailpoint` from the call when the armed name is not in the list.
 */
export function failpoints<const Name extends string>(names: readonly Name[], host: FailpointHost = thisProcess): (name: Name) => void {
  const reached = { text: '', times: 0 };
  let source: string | undefined;
  return (name) => {
    source ??= host.variable(failpointVariable) ?? '';
    if (source === '') return;
    const armed = read(source, names);
    if (armed?.name !== name) return;
    reached.times = reached.text === armed.text ? reached.times + 1 : 1;
    reached.text = armed.text;
    if (reached.times !== armed.nth) return;
    if (source.startsWith('@')) {
      rmSync(source.slice(1), { force: true });
      reached.text = '';
    }
    host.act(name, armed.action);
  };
}

function read(source: string, names: readonly string[]): Armed | undefined {
  const text = source.startsWith('@') ? textOf(source.slice(1)) : source;
  if (text === '') return undefined;
  const [, name = '', nth = '1', action = 'kill'] = /^([^:=]+)(?::(\d+))?(?:=(kill|freeze))?$/.exec(text) ?? [];
  if (!names.includes(name))
    throw new BerthError('UnknownFailpoint', `${failpointVariable} is "${text}", but this binary has only: ${names.join(', ')}.`);
  return { text, name, nth: Number(nth), action: action as FailpointAction };
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
}

const thisProcess: FailpointHost = {
  variable: (name) => process.env[name],
  act: (name, action) => {
    writeSync(2, `${JSON.stringify({ msg: 'Failpoint reached', failpoint: name, action })}\n`);
    process.kill(process.pid, action === 'kill' ? 'SIGKILL' : 'SIGSTOP');
  },
};
