import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { build, type OutputFile, type Plugin } from 'esbuild';
import { BerthError, messageOf } from '../process/errors.ts';
import { main } from './fail.ts';
import { elapsed } from './progress.ts';

const repository = join(import.meta.dirname, '..');

/** Each binary is one bundle that needs nothing but Node. */
const binaries = [
  { entry: 'operator/main.ts', output: 'dist/operator.mjs' },
  { entry: 'agent/main.ts', output: 'dist/agent.mjs' },
] as const;

/** Dependencies that are CommonJS call `require` for Node's own modules; an ES module has none unless it is given one. */
const banner = "import { createRequire as berthCreateRequire } from 'node:module'; const require = berthCreateRequire(import.meta.url);";

/**
 * The Kubernetes client does not say that its modules do nothing but define things, so that every type of every API would be in the
 * bundle: most of it, and 60 MiB of the memory of each process. Only what is used of it is taken.
 */
const leanKubernetesClient: Plugin = {
  name: 'lean-kubernetes-client',
  setup: (bundler) => {
    const inside = /[/\\]@kubernetes[/\\]client-node[/\\]/;
    bundler.onResolve({ filter: /^(@kubernetes\/client-node$|\.)/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
      if (pluginData === 'resolving' || (path.startsWith('.') && !inside.test(importer))) return undefined;
      return { ...(await bundler.resolve(path, { importer, kind, resolveDir, pluginData: 'resolving' })), sideEffects: false };
    });
  },
};

/** Bundles a binary; files that would not change are not touched, so that nothing that runs from them is restarted. */
async function bundle({ entry, output }: (typeof binaries)[number]): Promise<string> {
  if (!existsSync(join(repository, entry))) throw new BerthError('EntryMissing', `${entry} is missing: this is not a complete clone.`);
  const result = await build({
    absWorkingDir: repository,
    entryPoints: [entry],
    outfile: output,
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    banner: { js: banner },
    sourcemap: 'linked',
    sourcesContent: false,
    legalComments: 'none',
    loader: { '.yaml': 'text' },
    plugins: [leanKubernetesClient],
    logLevel: 'silent',
  }).catch((error: unknown) => {
    throw new BerthError('BundleFailed', `${entry} could not be bundled: ${messageOf(error)}`);
  });
  const changed = await Promise.all(result.outputFiles.map(replace));
  return `${output}: ${changed.includes(true) ? 'written' : 'up to date'}`;
}

/** Readers see the old or the new file. */
async function replace({ path, contents }: OutputFile): Promise<boolean> {
  if (existsSync(path) && readFileSync(path).equals(contents)) return false;
  await mkdir(dirname(path), { recursive: true });
  const aside = join(dirname(path), `.${basename(path)}.${process.pid}`);
  await writeFile(aside, contents);
  await rename(aside, path);
  return true;
}

await main(async () => {
  const begin = performance.now();
  for (const line of await Promise.all(binaries.map(bundle))) console.log(line);
  console.log(`bundled in ${elapsed(begin)} into ${relative(process.cwd(), join(repository, 'dist'))}`);
});
