import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import {
  ASSIGNMENT_REASON_TEXTS,
  BACKUP_REASON_TEXTS,
  FAILURE_REASON_TEXTS,
  LIFECYCLE_REASON_TEXTS,
  RUNNER_REASON_TEXTS,
  type ReasonText,
} from '../../crds/index.ts';

const texts: Readonly<Record<string, ReasonText>> = {
  ...ASSIGNMENT_REASON_TEXTS,
  ...BACKUP_REASON_TEXTS,
  ...FAILURE_REASON_TEXTS,
  ...LIFECYCLE_REASON_TEXTS,
  ...RUNNER_REASON_TEXTS,
};

/** The product's code without tests, test doubles and generated files. */
const code = globSync('{operator,agent}/**/*.ts', { cwd: join(import.meta.dirname, '..', '..') })
  .filter((path) => !/\.test\.ts$|\/gen\/|\/(fake|memory|an?)-[^/]*$/.test(path))
  .map((path) => readFileSync(join(import.meta.dirname, '..', '..', path), 'utf8'))
  .join('\n');

it('the reasons marked as not occurring yet are those that no code names', () => {
  const unnamed = Object.keys(texts).filter((name) => !new RegExp(`'${name}'|\\b${name}:`).test(code));
  const marked = Object.entries(texts).flatMap(([name, { later }]) => (later ? [name] : []));
  expect(marked.toSorted()).toEqual(unnamed.toSorted());
});
