import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { OutputFile } from 'esbuild';
import { binaries, type Binary, bundle, repository } from './bundle.ts';
import { main } from './fail.ts';
import { elapsed } from './progress.ts';

/** Writes a bundle; files that would not change are not touched, so that nothing that runs from them is restarted. */
async function write(binary: Binary): Promise<string> {
  const changed = await Promise.all((await bundle(binary)).map(replace));
  return `${binary.output}: ${changed.includes(true) ? 'written' : 'up to date'}`;
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
  for (const line of await Promise.all(binaries.map(write))) console.log(line);
  console.log(`bundled in ${elapsed(begin)} into ${relative(process.cwd(), join(repository, 'dist'))}`);
});
