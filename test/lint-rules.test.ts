import { builtinModules } from 'node:module';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { ESLint } from 'eslint';
import functional from 'eslint-plugin-functional';
import tseslint from 'typescript-eslint';

/**
 * Holds the import and purity rules of docs/adr/0001 shut: one wrong snippet for each, and the right ones beside it. Rules that need types are off
 * where they can be, so that a snippet takes milliseconds.
 */
const root = join(import.meta.dirname, '..');
const pureFile = 'operator/lifecycle/snippet.ts';
const shell = 'operator/lifecycle/controller.ts';
const testFile = 'operator/lifecycle/snippet.test.ts';

const paths = 'import-x/no-restricted-paths';
const imports = '@typescript-eslint/no-restricted-imports';
const globals = 'no-restricted-globals';
const properties = 'no-restricted-properties';
const syntax = 'no-restricted-syntax';
const mutation = 'functional/immutable-data';

interface Snippet {
  readonly file: string;
  readonly code: string;
  /** The rule that refuses it; undefined: nothing does. */
  readonly rule?: string;
}

const importing = (file: string, from: string, rule?: string): Snippet => ({
  file,
  code: `import { thing } from '${from}';\nexport const other = thing;\n`,
  ...(rule === undefined ? {} : { rule }),
});
const saying = (code: string, rule?: string): Snippet => ({ file: pureFile, code, ...(rule === undefined ? {} : { rule }) });

const between: readonly Snippet[] = [
  importing('crds/snippet.ts', '../process/errors.ts', paths),
  importing('crds/snippet.ts', '../operator/settings.ts', paths),
  importing('crds/snippet.ts', './quantity.ts'),
  importing('process/snippet.ts', '../crds/index.ts', paths),
  importing('process/snippet.ts', '../kube/time.ts', paths),
  importing('process/snippet.ts', './errors.ts'),
  importing('kube/snippet.ts', '../crds/index.ts', paths),
  importing('kube/snippet.ts', '../agent/settings.ts', paths),
  importing('kube/snippet.ts', '../process/errors.ts'),
  importing('registry/snippet.ts', '../kube/time.ts', paths),
  importing('registry/snippet.ts', '../process/errors.ts'),
  importing('agent/snippet.ts', '../operator/settings.ts', paths),
  importing('agent/snippet.ts', '../crds/index.ts'),
  importing('operator/snippet.ts', '../agent/copies/order.ts', paths),
  importing('operator/snippet.ts', '../test/builders/merge-rows.ts', paths),
  importing('operator/snippet.ts', '../hack/table.ts', paths),
  importing('operator/snippet.ts', '../agent/proto/gen/berth/agent/v1/agent.ts'),
  importing('cli/snippet.ts', '../operator/settings.ts', paths),
  importing('cli/snippet.ts', '../crds/index.ts'),
  importing(testFile, '../../test/builders/a-world.ts'),
  importing(testFile, '../../test/harness/cluster.ts', paths),
  importing(testFile, '../../agent/copies/order.ts', paths),
  { file: 'operator/snippet.ts', code: "export type Order = import('../agent/copies/order.ts').Order;\n", rule: syntax },
  { file: 'kube/snippet.ts', code: "export type Order = import('../crds/index.ts').Sandbox;\n", rule: syntax },
];

const doubles: readonly Snippet[] = [
  ...['an-agent', 'an-order', 'fake-runtime'].map((name) => importing('agent/copies/controller.ts', `./${name}.ts`, paths)),
  ...['a-record', 'memory-journal'].map((name) => importing('agent/journal/file.client.ts', `./${name}.ts`, paths)),
  importing('kube/snippet.ts', './fake-api.ts', paths),
  importing(shell, '../../process/fake-clock.ts', paths),
  importing('process/snippet.ts', './fake-certificate.ts', paths),
  importing('agent/copies/snippet.test.ts', './an-agent.ts'),
  importing('agent/copies/an-agent.ts', './fake-runtime.ts'),
  importing('test/simulation/snippet.ts', '../../process/fake-clock.ts'),
];

const pureImports: readonly Snippet[] = [
  ...[
    '../sandboxes/act.ts',
    '../sandboxes/gather.ts',
    './controller.ts',
    '../main.ts',
    '../failpoints.ts',
    '../sandboxes/secrets.client.ts',
  ].map((from) => importing(pureFile, from, imports)),
  ...['../hub/hub.server.ts', '../../process/system-clock.ts', '../../process/metrics.ts', '../../kube/client.ts'].map((from) =>
    importing(pureFile, from, imports),
  ),
  ...['prom-client', 'execa', 'pino', 'undici', 'uuid', '@grpc/grpc-js', 'timers/promises', 'dns/promises', 'node:fs/promises'].map(
    (from) => importing(pureFile, from, imports),
  ),
  { ...importing(pureFile, '../../process/config.ts', imports), code: "export { loadConfig } from '../../process/config.ts';\n" },
  { ...importing(pureFile, '../../process/log.ts', imports), code: "export { createLogger } from '../../process/log.ts';\n" },
  saying("export const fs = import('node:fs');\n", syntax),
  saying("import type { Hub } from '../hub/hub.server.ts';\nexport const other = (hub: Hub) => hub;\n"),
  saying("import { type Clock } from '../../process/clock.ts';\nexport const other = (clock: Clock) => clock;\n"),
  saying("import { listOf } from '../../process/config.ts';\nexport const other = listOf;\n"),
  saying("import { logLevels } from '../../process/log.ts';\nexport const other = logLevels;\n"),
  ...['./decide.ts', '../../kube/time.ts', '../../kube/diff.ts', '../../process/errors.ts', '../../crds/index.ts', 'zod'].map((from) =>
    importing(pureFile, from),
  ),
  ...['../hub/hub.server.ts', 'node:fs', 'prom-client', '../../process/system-clock.ts', './act.ts'].map((from) => importing(shell, from)),
];

const pureCode: readonly Snippet[] = [
  ...['process.env', 'globalThis.process.env', 'globalThis.crypto', 'globalThis.performance', 'new globalThis.Date()'].map((value) =>
    saying(`export const value = ${value};\n`, globals),
  ),
  ...['performance.now()', 'crypto.randomUUID()', 'queueMicrotask(() => undefined)', 'setTimeout(() => undefined)', 'fetch("x")'].map(
    (value) => saying(`export const value = ${value};\n`, globals),
  ),
  ...['Date.now()', 'Math.random()', 'AbortSignal.timeout(1)'].map((value) => saying(`export const value = ${value};\n`, properties)),
  ...['Date()', 'new Date()', 'new Date'].map((value) => saying(`export const value = ${value};\n`, syntax)),
  saying('export let value = 1;\nvalue = 2;\n', 'functional/no-let'),
  saying('export const put = (to: { value: number }) => {\n  to.value = 1;\n};\n', 'no-param-reassign'),
  saying('export const value = (of: string | undefined) => of!.length;\n', '@typescript-eslint/no-non-null-assertion'),
  saying('export const value = new Date(0);\n'),
  saying('export const value = Math.max(1, 2);\n'),
  saying('export const add = (left: number, right: number) => left + right;\n'),
  { file: shell, code: 'export const value = Date.now();\n' },
  { file: testFile, code: 'export const value = globalThis.process.env;\n' },
];

/** These need types. */
const mutations: readonly Snippet[] = [
  ...['to: number[]) => to.push(1)', 'to: Map<string, number>) => to.set("a", 1)', 'to: number[]) => to.sort()'].map((value) =>
    saying(`export const put = (${value};\n`, mutation),
  ),
  saying('export const put = (to: readonly number[]) => [...to, 1].toSorted();\n'),
];

describe('the linter', () => {
  const linter = (overrideConfig: NonNullable<ESLint.Options['overrideConfig']>) => new ESLint({ cwd: root, overrideConfig });
  const untyped = linter([tseslint.configs.disableTypeChecked, functional.configs.disableTypeChecked]);
  const typed = linter({ languageOptions: { parserOptions: { projectService: { allowDefaultProject: [pureFile] } } } });
  const refused = async ({ file, code }: Snippet, eslint = untyped) => {
    const [result] = await eslint.lintText(code, { filePath: join(root, file) });
    return (result?.messages ?? []).map(({ ruleId, message }) => ruleId ?? message);
  };
  beforeAll(() => refused(saying('export {};\n')), 60_000);

  const told = ({ file, code, rule }: Snippet) =>
    [rule === undefined ? 'accepts' : 'refuses', file, code.trim().replaceAll('\n', ' '), rule] as const;
  const check = async (...[, file, code, rule]: ReturnType<typeof told>) => {
    expect(await refused({ file, code: `${code}\n` })).toEqual(rule === undefined ? [] : [rule]);
  };
  describe('between folders', () => it.each(between.map(told))('%s in %s: %s', check));
  describe('test doubles', () => it.each(doubles.map(told))('%s in %s: %s', check));
  describe('imports of a pure file', () => it.each(pureImports.map(told))('%s in %s: %s', check));
  describe('code of a pure file', () => it.each(pureCode.map(told))('%s in %s: %s', check));

  it.each(mutations.map(told))(
    '%s in %s: %s',
    async (...[, file, code, rule]) => {
      expect(await refused({ file, code: `${code}\n` }, typed)).toEqual(rule === undefined ? [] : [rule]);
    },
    60_000,
  );

  it('refuses every module of Node in a pure file', async () => {
    const names = builtinModules.flatMap((name) => (name.startsWith('node:') ? [name] : [name, `node:${name}`]));
    const code = names.map((name) => `export * from '${name}';\n`).join('');
    expect(await refused(saying(code))).toEqual(names.map(() => imports));
  });
});
