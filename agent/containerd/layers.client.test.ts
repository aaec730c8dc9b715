import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Mount } from './gen/types/mount.ts';
import { layersOf } from './layers.ts';
import { readInRoot } from './layers.client.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'berth-layers-'));
  put('outside', 'secret of the host');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const put = (path: string, content: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
};
const link = (path: string, target: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  symlinkSync(target, join(root, path));
};
const overlay = (...layers: string[]) => {
  for (const layer of layers) mkdirSync(join(root, layer), { recursive: true });
  const [upper = '', ...lower] = layers.map((layer) => join(root, layer));
  return [
    Mount.fromPartial({
      type: 'overlay',
      source: 'overlay',
      options: ['index=off', `workdir=${root}/w`, `upperdir=${upper}`, `lowerdir=${lower.join(':')}`],
    }),
  ];
};

describe('readInRoot', () => {
  it('reads what the uppermost layer has', async () => {
    put('low/etc/passwd', 'low');
    put('up/etc/passwd', 'up');
    await expect(readInRoot(overlay('up', 'mid', 'low'), '/etc/passwd')).resolves.toBe('up');
  });

  it('reads through to a lower layer', async () => {
    put('low/etc/passwd', 'low');
    put('up/etc/other', '');
    await expect(readInRoot(overlay('up', 'mid', 'low'), '/etc/passwd')).resolves.toBe('low');
  });

  it('reads the one layer of an image of one layer', async () => {
    put('low/etc/passwd', 'low');
    const mounts = [Mount.fromPartial({ type: 'bind', source: join(root, 'low'), options: ['ro', 'rbind'] })];
    await expect(readInRoot(mounts, '/etc/passwd')).resolves.toBe('low');
  });

  it('finds nothing below a file that hides a directory', async () => {
    put('low/etc/passwd', 'low');
    put('up/etc', 'a file');
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBeUndefined();
  });

  it('finds nothing that was deleted', async () => {
    put('low/etc/passwd', 'low');
    mkdirSync(join(root, 'up/etc'), { recursive: true });
    try {
      execFileSync('mknod', [join(root, 'up/etc/passwd'), 'c', '0', '0'], { stdio: 'ignore' });
    } catch {
      // Only root makes whiteouts; a fifo hides what is below in the same way.
      execFileSync('mkfifo', [join(root, 'up/etc/passwd')]);
    }
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBeUndefined();
  });

  it.each([
    { what: 'an absolute link', target: '/usr/lib/passwd', want: 'inside' },
    { what: 'a relative link', target: '../usr/lib/passwd', want: 'inside' },
    { what: 'a link that climbs out', target: '../../../../../../usr/lib/passwd', want: 'inside' },
  ])('follows $what inside the root', async ({ target, want }) => {
    put('low/usr/lib/passwd', 'inside');
    link('up/etc/passwd', target);
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBe(want);
  });

  it('never leaves the root', async () => {
    link('up/etc/passwd', join(root, 'outside'));
    link('up/var', root);
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBeUndefined();
    await expect(readInRoot(overlay('up', 'low'), '/var/outside')).resolves.toBeUndefined();
  });

  it('follows a link to a directory across layers', async () => {
    put('low/real/passwd', 'real');
    link('up/etc', 'real');
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBe('real');
  });

  it('takes a layer that cannot be read for a failure, not for one that hides nothing', async () => {
    put('low/etc/passwd', 'low');
    link('up', 'loop');
    link('loop', 'up');
    const layers = ['up', 'low'].map((layer) => join(root, layer));
    const mounts = [
      Mount.fromPartial({ type: 'overlay', source: 'overlay', options: [`upperdir=${layers[0] ?? ''}`, `lowerdir=${layers[1] ?? ''}`] }),
    ];
    await expect(readInRoot(mounts, '/etc/passwd')).rejects.toMatchObject({ code: 'ELOOP' });
  });

  it('finds nothing under a name that no file can have', async () => {
    put('low/etc/passwd', 'low');
    link('up/etc/passwd', 'x'.repeat(300));
    await expect(readInRoot(overlay('up', 'low'), '/etc/passwd')).resolves.toBeUndefined();
  });

  it('gives up on links in a circle, on devices and on what is too large', async () => {
    link('up/a', 'b');
    link('up/b', 'a');
    put('up/large', 'x'.repeat(2 ** 20 + 1));
    const mounts = overlay('up', 'low');
    await expect(readInRoot(mounts, '/a')).resolves.toBeUndefined();
    await expect(readInRoot(mounts, '/large')).resolves.toBeUndefined();
    await expect(readInRoot(mounts, '/')).resolves.toBeUndefined();
  });
});

it.each([
  { what: 'no mounts', mounts: [] },
  { what: 'a kind that is not known', mounts: [{ type: 'erofs', source: '/dev/x', options: [] }] },
  {
    what: 'several mounts',
    mounts: [
      { type: 'bind', source: '/a', options: [] },
      { type: 'bind', source: '/b', options: [] },
    ],
  },
])('layersOf $what is nothing', ({ mounts }) => {
  expect(layersOf(mounts)).toEqual([]);
});
