/** Two projects: `unit` needs nothing but Node; `system` starts real parts through test/harness and runs the long files first. */
const shared = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2024', experimental: { keepImportAttributes: true } },
        module: { type: 'es6' },
      },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
};
export default {
  testSequencer: '<rootDir>/jest.sequencer.mjs',
  reporters: ['default', ['summary', { summaryThreshold: 10_000 }], '<rootDir>/jest.failures.mjs'],
  projects: [
    {
      ...shared,
      displayName: 'unit',
      testMatch: ['<rootDir>/**/*.test.ts'],
      testPathIgnorePatterns: ['/node_modules/', '\\.system\\.test\\.ts$'],
    },
    { ...shared, displayName: 'system', testMatch: ['<rootDir>/**/*.system.test.ts'] },
  ],
};
