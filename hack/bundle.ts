import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
 * Of the Kubernetes client only KubeConfig is used. Its entry would bring every type of every API: most of the bundle, and 45 MiB of the
 * memory of each process. So its module is taken, and of the generated code the two things that it uses.
 */
const leanKubernetesClient: Plugin = {
  name: 'lean-kubernetes-client',
  setup: (bundler) => {
    const client = join(repository, 'node_modules', '@kubernetes', 'client-node', 'dist');
    const generated = `export { createConfiguration } from './configuration.js'; export { ServerConfiguration } from './servers.js';`;
    bundler.onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({ path: join(client, 'config.js') }));
    bundler.onLoad({ filter: /[/\\]client-node[/\\]dist[/\\]gen[/\\]index\.js$/ }, ({ path }) => ({
      contents: generated,
      resolveDir: dirname(path),
    }));
  },
};

/**
 * pino asks who calls it, for a worker thread that is not used here. With source maps on, Node reads the whole map for the answer: 240 ms of every start,
 * and memory that is never given back.
 */
const pinoWithoutCallers: Plugin = {
  name: 'pino-without-callers',
  setup: (bundler) => {
    bundler.onLoad({ filter: /[/\\]pino[/\\]lib[/\\]caller\.js$/ }, () => ({ contents: 'module.exports = () => [];' }));
  },
};

/** The map of a file of which nothing but the beginning is mapped: esbuild passes over one without any mapping. */
const emptySourceMap = Buffer.from(JSON.stringify({ version: 3, sources: ['dependency'], mappings: 'AAAA' })).toString('base64');

/**
 * Maps only our own code. Node reads the whole map of a bundle for the first stack that anything looks at, which is that of any stream that is
 * destroyed with an error, and keeps it: with the dependencies that is 55 MiB and a quarter of a second in which nothing else happens.
 */
const ownSourceMap: Plugin = {
  name: 'own-source-map',
  setup: (bundler) => {
    bundler.onLoad({ filter: /[/\\]node_modules[/\\].*\.[cm]?js$/ }, async ({ path }) => ({
      contents: `${await readFile(path, 'utf8')}\n//# sourceMappingURL=data:application/json;base64,${emptySourceMap}`,
    }));
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
    // The names stay, so that a stack can be read without the map. The text of a bundle stays in memory: 13 MiB less of it.
    minifyWhitespace: true,
    legalComments: 'none',
    loader: { '.yaml': 'text' },
    plugins: [leanKubernetesClient, pinoWithoutCallers, ownSourceMap],
    logLevel: 'silent',
  }).catch((error: unknown) => {
    throw new BerthError('BundleFailed', `${entry} could not be bundled: ${messageOf(error)}`);
  });
  return result.outputFiles;
}
