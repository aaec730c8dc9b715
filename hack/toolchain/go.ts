import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '../../process/errors.ts';
import { lastLines, run } from '../command.ts';
import { withLock } from '../lock.ts';
import { type Log, withProgress } from '../progress.ts';
import { cacheDirectory, install, isExecutable, keyOf, requireSpace } from './cache.ts';
import { type GoModule, type GoModuleName, goModules } from './tools.ts';

/** A program compiled from a Go module: its name (also the file's) and the package it is built from. */
export interface GoProgram {
  readonly name: string;
  readonly package: string;
}

/** Compiles what the cache lacks and returns the directory with all the programs. Two processes that ask at once build once. */
export async function ensureGoPrograms(name: GoModuleName, programs: readonly GoProgram[], log: Log): Promise<string> {
  const build: GoModule = goModules[name];
  const source = join(import.meta.dirname, name);
  const files = [join(source, 'go.mod'), join(source, 'go.sum')];
  const goMod = await readFile(join(source, 'go.mod'), 'utf8');
  const version = requiredVersion(goMod, build.module);
  const flags = [
    '-trimpath',
    '-mod=readonly',
    '-buildvcs=false',
    '-tags',
    build.tags.join(','),
    '-ldflags',
    `-s -w ${build.ldflags(version)}`,
  ];
  const directory = join(cacheDirectory(), `${name}-${version}-${await keyOf(files, flags)}`);

  if ((await missing(directory, programs)).length === 0) return directory;
  await withLock(`${directory}.lock`, log, async () => {
    const absent = await missing(directory, programs);
    if (absent.length === 0) return;
    await requireGo(source, goMod);
    await requireRoom(name, build, source);
    const what = `building ${absent.map((program) => program.name).join(', ')} ${version} from its Go module (only once, ${build.expect})`;
    await withProgress(log, what, () =>
      install(
        directory,
        absent.map((program) => program.name),
        (scratch) => goBuild(source, scratch, flags, absent),
      ),
    );
  });
  return directory;
}

/** Go's own caches take most of what a first build needs. */
async function requireRoom(name: GoModuleName, build: GoModule, source: string): Promise<void> {
  const directories = (await run('go', ['env', 'GOCACHE', 'GOMODCACHE'], { cwd: source })).split('\n');
  for (const directory of directories) await requireSpace(directory, build.diskBytes / directories.length, `Building ${name}`);
  await requireSpace(cacheDirectory(), 300 * 2 ** 20, `Keeping what is built of ${name}`);
}

async function missing(directory: string, programs: readonly GoProgram[]): Promise<readonly GoProgram[]> {
  const found = await Promise.all(programs.map((program) => isExecutable(join(directory, program.name))));
  return programs.filter((_, index) => found[index] === false);
}

async function goBuild(source: string, output: string, flags: readonly string[], programs: readonly GoProgram[]): Promise<void> {
  const env = { CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '' };
  for (const program of programs) {
    const result = await execa('go', ['build', ...flags, '-o', join(output, program.name), program.package], {
      cwd: source,
      env,
      reject: false,
    });
    if (result.failed) throw buildFailed([program], `${result.stderr}\n${result.stdout}`);
  }
}

function buildFailed(programs: readonly GoProgram[], printed: string): BerthError {
  const what = programs.map((program) => program.name).join(', ');
  if (printed.includes('no space left on device'))
    return new BerthError(
      'DiskFull',
      `The disk is full: building ${what} needs a few GiB for Go's caches. Make room or set GOCACHE and GOMODCACHE to another disk.`,
    );
  if (/dial tcp|no such host|i\/o timeout|connection refused|proxyconnect|TLS handshake/.test(printed))
    return new BerthError(
      'NoNetwork',
      `The Go modules of ${what} could not be downloaded. Check the network and GOPROXY ("go env GOPROXY"). Go said: ${lastLines(printed, 2)}`,
    );
  return new BerthError('BuildFailed', `Building ${what} failed: ${lastLines(printed)}`);
}

async function requireGo(source: string, goMod: string): Promise<void> {
  const needed = /^go (\d+)\.(\d+)/m.exec(goMod);
  const found = await execa('go', ['env', 'GOVERSION'], { cwd: source, reject: false });
  const have = /^go(\d+)\.(\d+)/.exec(found.stdout);
  const want = `Go ${needed?.[1] ?? '1'}.${needed?.[2] ?? '0'} or newer`;
  if (found.failed || have === null)
    throw new BerthError(
      'GoMissing',
      `${want} is needed to build the local cluster's programs and "go" was not found: install it (https://go.dev/dl) and put it on PATH.`,
    );
  const number = (match: RegExpExecArray | null) => Number(match?.[1] ?? 0) * 1000 + Number(match?.[2] ?? 0);
  if (number(have) < number(needed))
    throw new BerthError('GoTooOld', `${want} is needed to build the local cluster's programs; "go" on PATH is ${found.stdout}.`);
}

/** The version that a go.mod requires of a module. */
export function requiredVersion(goMod: string, module: string): string {
  const line = goMod.split('\n').find((text) =>
    text
      .replace(/^require/, '')
      .trim()
      .startsWith(`${module} v`),
  );
  const version = line
    ?.trim()
    .split(/\s+/)
    .find((word) => /^v\d/.test(word));
  if (version === undefined) throw new BerthError('BuildFailed', `go.mod does not require ${module}.`);
  return version;
}
