import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { BerthError, messageOf } from '../process/errors.ts';
import { succeeds } from './command.ts';
import { main } from './fail.ts';
import { differences, staleFiles, summarize, type Difference, type Generated } from './generated.ts';

/**
 * Writes everything in the repository that is generated. `hack/node hack/generate.ts [--verify] [name…]`; with `--verify` nothing is
 * written, the differences are printed and the status is 1 if there are any.
 */

/** A generator is a file of this folder that exports `generate(): Promise<Map<path relative to the repository, content>>`. */
interface Generator {
  readonly name: string;
  readonly file: string;
  /** Folders that hold nothing else: files there that are not generated any more are removed. */
  readonly owns: readonly string[];
  /** A program that it runs and that npm does not bring. */
  readonly needs?: { readonly program: string; readonly args: readonly string[]; readonly advice: string };
}

const generators: readonly Generator[] = [
  { name: 'crds', file: 'generate-crds.ts', owns: ['crds/yaml'] },
  { name: 'docs', file: 'generate-docs.ts', owns: ['docs/reference'] },
  { name: 'proto', file: 'generate-proto.ts', owns: ['agent/proto/gen', 'agent/containerd/gen'] },
  { name: 'seccomp', file: 'generate-seccomp.ts', owns: [], needs: { program: 'go', args: ['version'], advice: 'install Go' } },
];

const root = join(import.meta.dirname, '..');

await main(async () => {
  const [verify, names] = [process.argv.includes('--verify'), process.argv.slice(2).filter((argument) => argument !== '--verify')];
  const unknown = names.find((name) => !generators.some((generator) => generator.name === name));
  if (unknown !== undefined) {
    throw new BerthError('UnknownGenerator', `There is no generator '${unknown}': use ${generators.map(({ name }) => name).join(', ')}.`);
  }
  const chosen = generators.filter(({ name }) => names.length === 0 || names.includes(name));
  const failures: string[] = [];
  for (const generator of chosen) {
    try {
      await (verify ? check(generator) : write(generator));
    } catch (error) {
      failures.push(`${generator.name}: ${messageOf(error)}`);
    }
  }
  if (failures.length > 0) throw new BerthError(verify ? 'VerifyFailed' : 'GenerateFailed', failures.join('\nberth: '));
});

async function write(generator: Generator): Promise<void> {
  const { changes } = await compare(generator);
  for (const { path, wanted } of changes) {
    const target = join(root, path);
    if (wanted === undefined) {
      await rm(target);
    } else {
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, wanted);
    }
  }
  console.log(
    `${generator.name}: ${changes.length === 0 ? 'nothing changed' : changes.map(({ path, wanted }) => `${wanted === undefined ? 'removed' : 'wrote'} ${path}`).join(', ')}`,
  );
}

async function check(generator: Generator): Promise<void> {
  const { changes } = await compare(generator);
  if (changes.length > 0)
    throw new BerthError('Stale', `generated files are not up to date: run 'make generate' and commit.\n${summarize(changes)}`);
  console.log(`${generator.name}: up to date`);
}

async function compare(generator: Generator): Promise<{ readonly changes: readonly Difference[] }> {
  const generated = await load(generator);
  const owned = (await Promise.all(generator.owns.map(filesUnder))).flat();
  const found = await Promise.all(
    [...generated.keys(), ...staleFiles(generated, owned)].map(async (path) => [path, await contentOf(path)] as const),
  );
  return { changes: differences(generated, new Map(found)) };
}

async function load({ name, file, needs }: Generator): Promise<Generated> {
  const path = join(import.meta.dirname, file);
  if (!existsSync(path))
    throw new BerthError('GeneratorMissing', `hack/${file} does not exist, so that what '${name}' generates cannot be made.`);
  if (needs && !(await succeeds(needs.program, needs.args)))
    throw new BerthError('ToolMissing', `'${needs.program}' is needed to make what '${name}' generates: ${needs.advice}.`);
  const { generate } = (await import(path)) as { readonly generate: () => Promise<Generated> };
  return generate();
}

async function contentOf(path: string): Promise<string | undefined> {
  return existsSync(join(root, path)) ? await readFile(join(root, path), 'utf8') : undefined;
}

async function filesUnder(folder: string): Promise<readonly string[]> {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
}
