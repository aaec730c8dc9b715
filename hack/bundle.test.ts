import { describe, expect, it } from '@jest/globals';
import { agentFailpoints } from '../agent/failpoints.ts';
import { operatorFailpoints } from '../operator/failpoints.ts';
import { binaries, bundle } from './bundle.ts';

const names = { 'agent/main.ts': agentFailpoints, 'operator/main.ts': operatorFailpoints } as Readonly<Record<string, readonly string[]>>;
/** Only a name in a call: some names are words that the code has elsewhere too. */
const reaches = (text: string, name: string) => text.includes(`failpoint("${name}")`) || text.includes(`failpoint2("${name}")`);

describe('the bundles', () => {
  it.each(binaries.filter(({ drop }) => drop.length > 0))(
    '$output, which is shipped, has no failpoint',
    async (binary) => {
      const [code] = (await bundle(binary)).filter(({ path }) => path.endsWith('.mjs'));
      expect(code?.text).not.toMatch(/failpoint/i);
      // What the bundle puts in the place of a file of pino is found by the file's name: this is of the original.
      expect(code?.text).not.toMatch(/noOpPrepareStackTrace/);
    },
    60_000,
  );

  it.each(binaries.filter(({ drop }) => drop.length > 0))(
    '$output maps our own code, and not its dependencies',
    async (binary) => {
      const [map] = (await bundle(binary)).filter(({ path }) => path.endsWith('.map'));
      const { sources } = JSON.parse(map?.text ?? '') as { readonly sources: readonly string[] };
      expect(sources).toContain(`../${binary.entry}`);
      // What stands in the place of this file is our own.
      expect(sources.filter((source) => /[/]node_modules[/].*[.][cm]?js$/.test(source))).toEqual(['../node_modules/pino/lib/caller.js']);
    },
    60_000,
  );

  it.each(binaries.filter(({ drop }) => drop.length === 0))(
    '$output, which is crashed, reaches every failpoint',
    async (binary) => {
      const [code] = (await bundle(binary)).filter(({ path }) => path.endsWith('.mjs'));
      expect((names[binary.entry] ?? []).filter((name) => !reaches(code?.text ?? '', name))).toEqual([]);
    },
    60_000,
  );
});
