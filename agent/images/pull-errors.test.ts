import { expect, it } from '@jest/globals';
import { pullError } from './pull-errors.ts';

const head = (answer: string) =>
  `failed to resolve image: unexpected status from HEAD request to http://r.example.com/v2/a/manifests/1: ${answer}`;

/** What containerd 2.4 says. */
it.each([
  { said: 'failed to resolve image: r.example.com/a:1: not found', want: 'ImageNotFound' },
  { said: head('401 Unauthorized'), want: 'ImageUnauthorized' },
  { said: head('403 Forbidden'), want: 'ImageUnauthorized' },
  {
    said: 'failed to resolve image: pull access denied, repository does not exist or may require authorization',
    want: 'ImageUnauthorized',
  },
  {
    said: 'failed to resolve image: failed to authorize: failed to fetch oauth token: unexpected status 401 Unauthorized',
    want: 'ImageUnauthorized',
  },
  { said: 'failed to resolve image: authorization failed: no basic auth credentials', want: 'ImageUnauthorized' },
  { said: head('500 Internal Server Error'), want: 'RegistryUnavailable' },
  { said: head('503 Service Unavailable'), want: 'RegistryUnavailable' },
  { said: head('429 Too Many Requests'), want: 'RegistryUnavailable' },
  {
    said: 'failed to resolve image: failed to do request: Head "http://r": dial tcp 127.0.0.1:1: connect: connection refused',
    want: 'RegistryUnavailable',
  },
  {
    said: 'failed to resolve image: failed to do request: Head "https://r": dial tcp: lookup r: no such host',
    want: 'RegistryUnavailable',
  },
  { said: 'failed to do request: Head "https://r": http: server gave HTTP response to HTTPS client', want: 'RegistryUnavailable' },
  {
    said: 'failed to do request: tls: failed to verify certificate: x509: certificate signed by unknown authority',
    want: 'RegistryUnavailable',
  },
  { said: 'context deadline exceeded', want: 'RegistryUnavailable' },
  { said: 'no match for platform in manifest sha256:1: not found', want: 'ImageUnsuitable' },
  { said: 'failed to extract layer sha256:1: archive/tar: invalid tar header', want: 'ImageUnsuitable' },
  { said: 'wrong diff id "sha256:1" calculated on extraction "sha256:2"', want: 'ImageUnsuitable' },
  { said: 'failed to copy: write /var/lib/x: no space left on device', want: 'OutOfDisk' },
  { said: 'something new', want: 'ImagePullFailed' },
])('$said → $want', ({ said, want }) => {
  const error = pullError('a:1', 'r.example.com', said);
  expect(error.code).toBe(want);
  expect(error.message).toMatch(/^[^\n]+[.]?$/);
  expect(error.details).toEqual({ image: 'a:1', host: 'r.example.com', said });
});

it('keeps the words of what it does not know', () => {
  expect(pullError('a:1', 'r', 'something new\nsecond line').message).toBe('The image a:1 could not be pulled: something new');
});
