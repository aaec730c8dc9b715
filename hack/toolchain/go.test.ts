import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { requiredVersion } from './go.ts';
import { goModules, tools } from './tools.ts';

describe('the Go modules', () => {
  it.each(Object.entries(goModules))('%s names the version that is built, and every package as a tool', (name, { module }) => {
    const goMod = readFileSync(join(import.meta.dirname, name, 'go.mod'), 'utf8');
    expect(requiredVersion(goMod, module)).toMatch(/^v\d+\.\d+\.\d+$/);
    for (const source of Object.values(tools))
      if ('module' in source && source.module === name) expect(goMod).toContain(`\t${source.package}\n`);
  });

  it.each([
    ['require k8s.io/kubernetes v1.36.3\n', 'v1.36.3'],
    ['require (\n\tk8s.io/kubernetes-other v1.0.0\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n', 'v1.36.3'],
  ])('%j requires %s', (goMod, version) => {
    expect(requiredVersion(goMod, 'k8s.io/kubernetes')).toBe(version);
  });

  it('a module that is not required is an error', () => {
    expect(() => requiredVersion('module x\n', 'k8s.io/kubernetes')).toThrow(/does not require/);
  });
});
