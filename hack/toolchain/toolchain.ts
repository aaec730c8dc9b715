import { join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '../../process/errors.ts';
import type { Log } from '../progress.ts';
import { ensureDebianPrograms, findOnPath } from './debian.ts';
import { ensureGoPrograms } from './go.ts';
import { type GoModuleName, goModules, type Source, type ToolName, toolNames, tools } from './tools.ts';

/** Absolute path of every tool that was asked for. */
export type Toolchain<T extends ToolName = ToolName> = Readonly<Record<T, string>>;

/**
 * Makes the tools available (installed from Debian, compiled from Go modules into the cache) and says where they are.
 * The first call takes minutes, the next milliseconds. Safe to call from several processes at once.
 * @throws BerthError with a sentence that says what is missing and how to get it.
 */
export async function ensureTools<T extends ToolName = ToolName>(log: Log, wanted: readonly T[] = toolNames as T[]): Promise<Toolchain<T>> {
  const sources = await Promise.all(wanted.map(async (name) => ({ name, source: await resolveSource(name) })));
  const paths = new Map<string, string>();
  await ensureDebianPrograms(
    sources.flatMap(({ name, source }) => (source.from === 'debian' ? [{ name, package: source.package }] : [])),
    log,
  );
  for (const module of Object.keys(goModules) as GoModuleName[]) {
    const programs = sources.flatMap(({ name, source }) =>
      source.from === 'go' && source.module === module ? [{ name, package: source.package }] : [],
    );
    if (programs.length === 0) continue;
    const directory = await ensureGoPrograms(module, programs, log);
    for (const program of programs) paths.set(program.name, join(directory, program.name));
  }
  for (const name of wanted) {
    const path = paths.get(name) ?? (await findOnPath(name));
    if (path === undefined) throw new BerthError('ToolMissing', `"${name}" is still missing after its package was installed.`);
    paths.set(name, path);
  }
  return Object.fromEntries(paths) as Toolchain<T>;
}

type Resolved = Extract<Source, { from: 'go' | 'debian' }> | { readonly from: 'path' };

async function resolveSource(name: ToolName): Promise<Resolved> {
  const source: Source = tools[name];
  if (source.from !== 'path-or-go') return source;
  return (await isNewEnough(name, source.minimum)) ? { from: 'path' } : { from: 'go', module: source.module, package: source.package };
}

async function isNewEnough(name: string, [major, minor]: readonly [number, number]): Promise<boolean> {
  const path = await findOnPath(name);
  if (path === undefined) return false;
  const { stdout, failed } = await execa(path, ['version', '--client'], { reject: false });
  const version = /v(\d+)\.(\d+)/.exec(stdout);
  return !failed && version !== null && (Number(version[1]) > major || (Number(version[1]) === major && Number(version[2]) >= minor));
}
