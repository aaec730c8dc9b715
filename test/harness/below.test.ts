import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { entriesBelow } from './below.ts';

describe('what lies below a directory', () => {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'berth-below-'));
    mkdirSync(join(root, 'a', 'b'), { recursive: true });
    for (const path of ['one', 'a/two', 'a/b/three']) writeFileSync(join(root, path), '');
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const paths = (directory: string) => entriesBelow(directory).map(({ parentPath, name }) => join(parentPath, name));

  it('is told at every depth', () => {
    expect(paths(root).toSorted()).toEqual(['a', 'a/b', 'a/b/three', 'a/two', 'one'].map((path) => join(root, path)));
  });

  it('is nothing where there is no directory', () => {
    expect(paths(join(root, 'none'))).toEqual([]);
  });
});
