import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { chainID, chooseManifest, configOf, isIndex, parseImageConfig } from './image-content.ts';

const sha256 = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const descriptor = (digest: string, platform?: object) => ({
  mediaType: 'm',
  digest,
  size: 1,
  ...(platform === undefined ? {} : { platform }),
});
const index = JSON.stringify({
  manifests: [
    descriptor('sha256:attestation', { os: 'unknown', architecture: 'unknown' }),
    descriptor('sha256:arm', { os: 'linux', architecture: 'arm64', variant: 'v8' }),
    descriptor('sha256:amd', { os: 'linux', architecture: 'amd64' }),
  ],
});

describe('chooseManifest', () => {
  it('takes the one for this architecture', () => {
    expect(chooseManifest('x', index, 'amd64').digest).toBe('sha256:amd');
  });
  it('refuses an index without one', () => {
    expect(() => chooseManifest('x:1', index, 's390x')).toThrow('The image x:1 is not made for linux/s390x.');
  });
  it('knows both kinds of index', () => {
    expect(isIndex('application/vnd.oci.image.index.v1+json')).toBe(true);
    expect(isIndex('application/vnd.docker.distribution.manifest.list.v2+json')).toBe(true);
    expect(isIndex('application/vnd.oci.image.manifest.v1+json')).toBe(false);
  });
});

it('configOf names the configuration of a manifest', () => {
  expect(configOf('x', JSON.stringify({ config: descriptor('sha256:c'), layers: [] })).digest).toBe('sha256:c');
});

describe('parseImageConfig', () => {
  it('reads what there is', () => {
    const config = { Entrypoint: ['/init'], Cmd: ['run'], Env: ['A=1'], WorkingDir: '/w', User: 'user' };
    expect(parseImageConfig('x', JSON.stringify({ config, rootfs: { diff_ids: ['sha256:1'] } }))).toEqual({
      defaults: { entrypoint: ['/init'], cmd: ['run'], env: ['A=1'], workingDir: '/w', user: 'user' },
      diffIDs: ['sha256:1'],
    });
  });
  it.each([{ config: null }, { config: { Cmd: null, Entrypoint: null } }, {}])('takes what is missing as empty: %j', (content) => {
    const parsed = parseImageConfig('x', JSON.stringify({ ...content, rootfs: { diff_ids: ['sha256:1'] } }));
    expect(parsed.defaults).toEqual({ entrypoint: [], cmd: [], env: [], workingDir: '', user: '' });
  });
  it.each(['', '[]', '{}', '{"rootfs":{"diff_ids":[]}}'])('refuses %s as no image', (content) => {
    expect(() => parseImageConfig('x:1', content)).toThrow(expect.objectContaining({ code: 'ImageUnsuitable' }));
  });
});

describe('chainID', () => {
  it('is the layer itself for one layer', () => {
    expect(chainID(['sha256:a'], sha256)).toBe('sha256:a');
  });
  it('hashes the chain below with the next layer', () => {
    expect(chainID(['sha256:a', 'sha256:b', 'sha256:c'], sha256)).toBe(sha256(`${sha256('sha256:a sha256:b')} sha256:c`));
  });
});
