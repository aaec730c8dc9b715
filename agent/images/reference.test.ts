import { describe, expect, it } from '@jest/globals';
import { sandboxSpecSchema } from '../../crds/index.ts';
import { parseReference, storeName } from './reference.ts';

const digest = `sha256:${'a'.repeat(64)}`;

describe('parseReference', () => {
  it.each([
    { text: 'busybox', want: ['docker.io', 'library/busybox', 'latest', ''] },
    { text: 'busybox:1.36', want: ['docker.io', 'library/busybox', '1.36', ''] },
    { text: 'team/tool', want: ['docker.io', 'team/tool', 'latest', ''] },
    { text: 'index.docker.io/library/busybox', want: ['docker.io', 'library/busybox', 'latest', ''] },
    { text: 'registry.example.com/a/b/c:v1', want: ['registry.example.com', 'a/b/c', 'v1', ''] },
    { text: 'localhost/demo', want: ['localhost', 'demo', 'latest', ''] },
    { text: '127.0.0.1:5000/demo:1', want: ['127.0.0.1:5000', 'demo', '1', ''] },
    { text: '[::1]:5000/demo:1', want: ['[::1]:5000', 'demo', '1', ''] },
    { text: `ghcr.io/a/b@${digest}`, want: ['ghcr.io', 'a/b', '', digest] },
    { text: `ghcr.io/a/b:v1@${digest}`, want: ['ghcr.io', 'a/b', 'v1', digest] },
  ])('$text', ({ text, want: [host, repository, tag, wanted] }) => {
    expect(parseReference(text)).toEqual({ host, repository, tag, digest: wanted });
  });

  it.each(['', 'Upper/case', 'a b', 'x:', 'x@sha256:12', 'host.example.com/', 'a//b', 'x:-bad', `x@md5:${'a'.repeat(64)}`])(
    'refuses "%s" and says how to write one',
    (text) => {
      const parse = () => parseReference(text);
      expect(parse).toThrow(/registry\/repository:tag/);
      expect(parse).toThrow(expect.objectContaining({ code: 'InvalidSpec' }));
    },
  );

  it.each([
    ...['busybox', 'a.b-c_d__e--f:1', 'owner__x/a.b', 'localhost/a', 'localhost:5000/a/b_c--d:1', 'HOST.example/a', 'HOST:5000/a'],
    ...['a..b:1', 'a_-_b', 'a___b:1', 'x/a.-b', 'HOST/a', 'Debian', 'docker.io/Foo', 'x/a-', '/a', 'a//b', 'a.b/'],
  ])('takes "%s" as the API does, where spec.image can not be corrected later', (text) => {
    const isTaken = sandboxSpecSchema.shape.image.safeParse(text).success;
    const read = () => parseReference(text);
    if (isTaken) expect(read).not.toThrow();
    else expect(read).toThrow();
  });
});

describe('storeName', () => {
  it('is the digest where there is one, whatever the tag', () => {
    expect(storeName(parseReference(`ghcr.io/a/b:v1@${digest}`))).toBe(`ghcr.io/a/b@${digest}`);
  });
  it('is the full name otherwise', () => {
    expect(storeName(parseReference('busybox'))).toBe('docker.io/library/busybox:latest');
  });
});
