import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build, type OutputFile, type Plugin } from 'esbuild';
import { BerthError, messageOf } from '../process/errors.ts';

export const repository = join(import.meta.dirname, '..');

/** What is made of an entry point. */
export interface Binary {
  readonly entry: string;
  readonly output: string;
  /** Statements with these labels are left out. */
  readonly drop: readonly string[];
}

/** Each binary is one bundle that needs nothing but Node. The bundles in dist/crash are for the crash tests: they alone have the failpoints. */
export const binaries: readonly Binary[] = ['operator', 'agent'].flatMap((name) => [
  { entry: `${name}/main.ts`, output: `dist/${name}.mjs`, drop: ['FAILPOINT'] },
  { entry: `${name}/main.ts`, output: `dist/crash/${name}.mjs`, drop: [] },
]);

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

/** The bundle and its source map; nothing is written. @throws BerthError `EntryMissing`, `BundleFailed`. */
export async function bundle({ entry, output, drop }: Binary): Promise<readonly OutputFile[]> {
  if (!existsSync(join(repository, entry))) throw new BerthError('EntryMissing', `${entry} is missing: this is not a complete clone.`);
  const result = await build({
    absWorkingDir: repository,
    entryPoints: [entry],
    outfile: output,
    bundle: true,
    dropLabels: [...drop],
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
  return result.outputFiles;
}
