import { execFileSync } from 'node:child_process';
import { describe, expect, it } from '@jest/globals';
import { tar, type TarEntry } from './tar.ts';

/** What GNU tar lists: mode, owner, size, name and target, without the time. */
const listed = (entries: readonly TarEntry[]) =>
  execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--file', '-'], {
    input: tar(entries),
    encoding: 'utf8',
    env: { TZ: 'UTC' },
  })
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+/g, ' ').replace('1970-01-01 00:00 ', ''));

describe('tar', () => {
  it('writes what tar reads', () => {
    expect(
      listed([
        { path: 'srv', type: 'directory', mode: 0o1777 },
        { path: 'srv/a', type: 'file', content: 'text', mode: 0o4755, uid: 1000, gid: 2000 },
        { path: 'srv/b', type: 'hardlink', target: 'srv/a' },
        { path: 'srv/c', type: 'symlink', target: 'a' },
        { path: 'null', type: 'character', major: 1, minor: 3 },
        { path: 'pipe', type: 'fifo', mode: 0o600 },
        { path: 'exact', type: 'file', content: new Uint8Array(512) },
      ]),
    ).toEqual([
      'drwxrwxrwt 0/0 0 srv/',
      '-rwsr-xr-x 1000/2000 4 srv/a',
      'hrwsr-xr-x 1000/2000 0 srv/b link to srv/a',
      'lrw-r--r-- 0/0 0 srv/c -> a',
      'crw-r--r-- 0/0 1,3 null',
      'prw------- 0/0 0 pipe',
      '-rw-r--r-- 0/0 512 exact',
    ]);
  });

  it('is the same bytes for the same entries', () => {
    const entries: readonly TarEntry[] = [{ path: 'a', type: 'file', content: 'x' }];
    expect(tar(entries).equals(tar(entries))).toBe(true);
  });

  it('refuses a name that does not fit instead of cutting it', () => {
    expect(() => tar([{ path: 'n'.repeat(101), type: 'file', content: '' }])).toThrow(/too long/);
  });
});
