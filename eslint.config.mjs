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
const zones = zonesOf(imports);
/** Tests may use the builders besides. */
const testZones = zonesOf(Object.fromEntries(Object.entries(imports).map(([folder, allowed]) => [folder, [...allowed, 'test/builders']])));

/** The shells: the only files of agent/ and operator/ that may have a clock, I/O or state. */
const shells = ['gather', 'act', 'controller', 'main', '*.client', '*.server'];
const impure = [
  'node:*',
  'fs',
  'net',
  'http',
  'https',
  'child_process',
  'undici',
  '@grpc/grpc-js',
  '@kubernetes/client-node',
  'uuid',
  'pino',
];

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
    },
  },
  {
    files: ['operator/**/*.ts', 'agent/**/*.ts', 'crds/**/*.ts'],
    ignores: ['**/*.test.ts', 'agent/proto/gen/**', ...shells.map((name) => `**/${name}.ts`)],
    rules: {
      'functional/no-let': 'error',
      'functional/immutable-data': ['error', { ignoreClasses: true, ignoreImmediateMutation: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      'no-param-reassign': ['error', { props: true }],
      'no-restricted-globals': ['error', 'process', 'performance', 'setTimeout', 'setInterval', 'setImmediate', 'fetch', 'crypto'],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'A pure file takes the time as a value.' },
        { object: 'Math', property: 'random', message: 'A pure file takes randomness as a value.' },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'A pure file takes the time as a value.' },
      ],
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { patterns: [{ group: impure, message: 'A pure file has no I/O; put it in a shell.', allowTypeImports: true }] },
      ],
    },
  },
  { files: ['**/*.test.ts'], ignores: ['test/**', 'hack/**'], rules: { 'import-x/no-restricted-paths': ['error', { zones: testZones }] } },
  { files: ['**/*.test.ts', 'test/**', 'hack/**'], rules: { 'no-console': 'off', '@typescript-eslint/no-floating-promises': 'error' } },
  { files: ['*.mjs'], ...tseslint.configs.disableTypeChecked },
);
