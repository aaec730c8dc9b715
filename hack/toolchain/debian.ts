import { access, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '../../process/errors.ts';
import { lastLines, run, succeeds } from '../command.ts';
import { type Log, withProgress } from '../progress.ts';
import { isExecutable } from './cache.ts';

/** A program and the Debian package that holds it. */
export interface DebianProgram {
  readonly name: string;
  readonly package: string;
}

/** The program's path: on PATH or in the system directories that an unprivileged PATH lacks. */
export async function findOnPath(name: string): Promise<string | undefined> {
  for (const directory of [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']) {
    const path = join(directory, name);
    if (directory !== '' && (await isExecutable(path))) return path;
  }
  return undefined;
}

/**
 * Installs the packages of the programs that are missing, without starting the services that some of them bring.
 * @throws BerthError `ToolMissing` where that is not possible, naming what to install.
 */
export async function ensureDebianPrograms(programs: readonly DebianProgram[], log: Log): Promise<void> {
  const absent = await filterAsync(programs, async (program) => (await findOnPath(program.name)) === undefined);
  if (absent.length === 0) return;
  const names = absent.map((program) => program.name).join(', ');
  const packages = [...new Set(absent.map((program) => program.package))];
  const byHand = `install ${names} (on Debian and Ubuntu: apt-get install ${packages.join(' ')})`;
  if (!(await succeeds('apt-get', ['--version'])))
    throw new BerthError('ToolMissing', `Missing on this machine: ${names}. Please ${byHand} and try again.`);
  if (process.getuid?.() !== 0) throw new BerthError('ToolMissing', `Missing on this machine: ${names}. Run this as root, or ${byHand}.`);
  await withProgress(log, `installing the Debian packages ${packages.join(', ')}`, async () => {
    await withoutStartingServices(async () => {
      const env = { DEBIAN_FRONTEND: 'noninteractive' };
      await run('apt-get', ['update', '-qq'], { env });
      const result = await execa('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env, reject: false });
      if (result.failed)
        throw new BerthError('ToolMissing', `apt-get could not install ${packages.join(' ')}: ${lastLines(result.stderr, 3)}`);
    });
  });
}

/** docker-registry would start as a service and hold a port; Debian asks this file whether they may. */
async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  const policy = '/usr/sbin/policy-rc.d';
  const present = await access(policy).then(
    () => true,
    () => false,
  );
  if (!present) await writeFile(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await work();
  } finally {
    if (!present) await rm(policy, { force: true });
  }
}

async function filterAsync<T>(items: readonly T[], test: (item: T) => Promise<boolean>): Promise<readonly T[]> {
  const verdicts = await Promise.all(items.map(test));
  return items.filter((_, index) => verdicts[index]);
}
