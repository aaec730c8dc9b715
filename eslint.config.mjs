import tseslint from 'typescript-eslint';
import functional from 'eslint-plugin-functional';
import importX from 'eslint-plugin-import-x';

/** Which folder may import which: docs/adr/0001. A folder may always import itself; `test` and `hack` may import everything. */
const imports = {
  crds: [],
  process: [],
  kube: ['process'],
  registry: ['process'],
  agent: ['crds', 'process', 'kube'],
  operator: ['crds', 'process', 'kube', 'registry', 'agent/proto'],
  cli: ['crds', 'operator/api'],
};
const folders = [...Object.keys(imports), 'test', 'hack'];
const zonesOf = (imports) =>
  Object.entries(imports).flatMap(([folder, allowed]) =>
    folders
      .filter((other) => other !== folder && !allowed.includes(other))
      .map((other) => ({
        target: `./${folder}`,
        from: `./${other}`,
        except: allowed.filter((path) => path.startsWith(`${other}/`)).map((path) => `./${path.slice(other.length + 1)}`),
        message: `${folder}/ imports only: ${allowed.join(', ') || 'nothing of the project'} (docs/adr/0001).`,
      })),
  );
/** Test doubles stand beside what they stand in for; only tests and other doubles may import them. */
const doubles = ['**/fake-*.ts', '**/memory-*.ts', '**/a-*.ts', '**/an-*.ts'];
const zones = [
  ...zonesOf(imports),
  ...Object.keys(imports).flatMap((target) =>
    doubles.map((from) => ({
      target: `./${target}`,
      from: `./${from}`,
      message: 'A test double; only tests may import it (docs/adr/0001).',
    })),
  ),
];
/** Tests may use doubles, and the builders besides. */
const testZones = zonesOf(Object.fromEntries(Object.entries(imports).map(([folder, allowed]) => [folder, [...allowed, 'test/builders']])));

/** The shells: the only files of agent/ and operator/ that may have a clock, I/O or state. */
const shells = ['gather', 'act', 'controller', 'main', 'failpoints', '*.client', '*.server'];
const shellFile = `(^|/)(${shells.map((name) => name.replace('*.', '[^/]+\\.')).join('|')})\\.ts$`;
/**
 * What a pure file may import of the packages and of the folders that have I/O. The lists say what is allowed, because whatever is added later
 * has to be thought about; types may come from anywhere that the folder may import.
 */
const pure = {
  packages: ['zod'],
  process: ['address', 'errors', 'backoff', 'digest', 'config', 'log', 'failpoints', 'registry-credential'],
  kube: ['conditions', 'diff', 'object', 'time'],
};
const notPure = (regex, message, more = {}) => ({ regex, message, allowTypeImports: true, ...more });
const pureImports = [
  notPure(
    `^(?![./])(?!(${pure.packages.join('|')})$)`,
    `A pure file imports no package but ${pure.packages.join(', ')}; put it in a shell.`,
  ),
  notPure(shellFile, 'A pure file imports no shell: take what it gives as a value.'),
  ...['process', 'kube'].map((folder) =>
    notPure(`/${folder}/(?!(${pure[folder].join('|')})\\.ts$)`, `A pure file imports of ${folder}/ only ${pure[folder].join(', ')}.`),
  ),
  notPure('/process/config\\.ts$', 'This reads the environment; put it in a shell.', { importNamePattern: '^(?!listOf$)' }),
  notPure('/process/log\\.ts$', 'A pure file logs nothing; put it in a shell.', { importNamePattern: '^(?!logLevels$)' }),
];
const impureGlobals = [
  'process',
  'globalThis',
  'global',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'fetch',
  'WebSocket',
  'EventSource',
  'crypto',
  'navigator',
  'require',
];
/** It is seen neither by the import rules nor by a reader of the imports. */
const importType = { selector: 'TSImportType', message: "Import the type at the top of the file: import type { … } from '…'." };

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', '.local/', '**/gen/**', 'third_party/', 'coverage/'] },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['*.mjs'] }, tsconfigRootDir: import.meta.dirname } },
    plugins: { functional, 'import-x': importX },
    rules: {
      'import-x/no-restricted-paths': ['error', { zones }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'no-console': 'error',
      eqeqeq: 'error',
      complexity: ['error', 15],
      'max-depth': ['error', 3],
      'no-restricted-syntax': ['error', importType],
    },
  },
  {
    files: ['operator/**/*.ts', 'agent/**/*.ts', 'crds/**/*.ts'],
    ignores: ['**/*.test.ts', ...doubles, 'agent/proto/gen/**', ...shells.map((name) => `**/${name}.ts`)],
    rules: {
      'functional/no-let': 'error',
      'functional/immutable-data': ['error', { ignoreClasses: true, ignoreImmediateMutation: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      'no-param-reassign': ['error', { props: true }],
      'no-restricted-globals': ['error', ...impureGlobals],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'A pure file takes the time as a value.' },
        { object: 'Math', property: 'random', message: 'A pure file takes randomness as a value.' },
        { object: 'AbortSignal', property: 'timeout', message: 'A pure file waits for nothing.' },
      ],
      'no-restricted-syntax': [
        'error',
        importType,
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'A pure file takes the time as a value.' },
        { selector: "CallExpression[callee.name='Date']", message: 'A pure file takes the time as a value.' },
        { selector: 'ImportExpression', message: 'A pure file loads nothing.' },
      ],
      '@typescript-eslint/no-restricted-imports': ['error', { patterns: pureImports }],
    },
  },
  {
    files: ['**/*.test.ts', ...doubles],
    ignores: ['test/**', 'hack/**'],
    rules: { 'import-x/no-restricted-paths': ['error', { zones: testZones }] },
  },
  { files: ['**/*.test.ts', 'test/**', 'hack/**'], rules: { 'no-console': 'off', '@typescript-eslint/no-floating-promises': 'error' } },
  { files: ['*.mjs'], ...tseslint.configs.disableTypeChecked },
);
