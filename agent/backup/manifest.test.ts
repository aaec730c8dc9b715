import { describe, expect, it } from '@jest/globals';
import type { BackupRequest } from '../copies/runtime.ts';
import { backupAnnotations, backupBase, backupConfig, backupManifest, backupTag } from './manifest.ts';

const layer = (digest: string, mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip') => ({ mediaType, digest, size: 10 });
const request: BackupRequest = {
  ...{ key: { uid: 'u1', epoch: 2 }, id: 3, repository: 'registry.test/a', contentVersion: 7 },
  credentials: [{ host: 'registry.test', username: 'u', password: 'secret' }],
};
const image = {
  manifest: JSON.stringify({ layers: [layer('sha256:l1', 'application/vnd.docker.image.rootfs.diff.tar.gzip'), layer('sha256:l2')] }),
  config: JSON.stringify({
    architecture: 'amd64',
    config: { Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: ['sha256:d1', 'sha256:d2'] },
    history: [{ created_by: 'base' }],
  }),
};

function backupOf(base: ReturnType<typeof backupBase>, diffID: string, of: Partial<BackupRequest> = {}) {
  if (base === undefined) throw new Error('no base');
  const config = backupConfig(base, diffID);
  const named = { digest: `sha256:config-${diffID}`, size: config.length };
  const manifest = backupManifest(base, { ...request, ...of }, { config: named, layer: layer(`sha256:${diffID}`, 'zstd') });
  return { manifest, config };
}

describe('a backup', () => {
  const first = backupOf(backupBase(image, 'sha256:base', 'sha256:base'), 'new');

  it('is the base image and one layer', () => {
    expect(JSON.parse(first.manifest)).toEqual({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: 'sha256:config-new', size: first.config.length },
      layers: [layer('sha256:l1'), layer('sha256:l2'), layer('sha256:new', 'zstd')],
      annotations: {
        'berth.dev/uid': 'u1',
        'berth.dev/backup-id': '3',
        'berth.dev/content-version': '7',
        'berth.dev/base-digest': 'sha256:base',
        'berth.dev/base-layers': '2',
      },
    });
    expect(JSON.parse(first.config)).toEqual({
      architecture: 'amd64',
      config: { Cmd: ['sh'] },
      rootfs: { type: 'layers', diff_ids: ['sha256:d1', 'sha256:d2', 'new'] },
      history: [{ created_by: 'base' }, { created_by: 'berth backup' }],
    });
    expect(backupTag(request)).toBe('b-u1-3');
  });

  it('of a restored copy stands on the same base', () => {
    expect(backupAnnotations(first.manifest)).toEqual({ baseDigest: 'sha256:base', baseLayers: 2 });
    const again = backupOf(backupBase(first, 'sha256:backup', 'sha256:base'), 'newer');
    expect(JSON.parse(again.manifest)).toMatchObject({
      layers: [layer('sha256:l1'), layer('sha256:l2'), layer('sha256:newer', 'zstd')],
      annotations: { 'berth.dev/base-digest': 'sha256:base', 'berth.dev/base-layers': '2' },
    });
    expect(JSON.parse(again.config)).toMatchObject({
      rootfs: { diff_ids: ['sha256:d1', 'sha256:d2', 'newer'] },
      history: [{ created_by: 'base' }, { created_by: 'berth backup' }],
    });
  });

  it('is another one by its number alone', () => {
    const base = backupBase(image, 'sha256:base', 'sha256:base');
    expect(backupOf(base, 'new', { id: 4 }).manifest).not.toBe(first.manifest);
  });

  it.each([
    { what: 'another image', base: () => backupBase(image, 'sha256:base', 'sha256:other') },
    { what: 'no manifest', base: () => backupBase({ ...image, manifest: 'nothing' }, 'sha256:base', 'sha256:base') },
    {
      what: 'a configuration with fewer layers',
      base: () => backupBase({ ...image, config: '{"rootfs":{"diff_ids":["sha256:d1"]}}' }, 'sha256:base', 'sha256:base'),
    },
  ])('does not stand on $what', ({ base }) => expect(base()).toBeUndefined());

  it.each([
    { what: 'an image', manifest: image.manifest },
    { what: 'something else', manifest: '{' },
    { what: 'one without layers below', manifest: first.manifest.replace('"berth.dev/base-layers":"2"', '"berth.dev/base-layers":"0"') },
  ])('is not $what', ({ manifest }) => expect(backupAnnotations(manifest)).toBeUndefined());
});
