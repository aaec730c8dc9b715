import { describe, expect, it } from '@jest/globals';
import { readPullSecret, secretNotFound } from './pull-secret.ts';

const type = 'kubernetes.io/dockerconfigjson';
const base64 = (text: string) => Buffer.from(text).toString('base64');
const secret = (config: unknown) => ({ type, data: { '.dockerconfigjson': base64(JSON.stringify(config)) } });

describe('a Secret with credentials', () => {
  it.each([
    {
      when: 'user and password',
      auths: { 'a.test': { username: 'u', password: 'p' } },
      want: [{ host: 'a.test', username: 'u', password: 'p' }],
    },
    {
      when: 'both in auth',
      auths: { 'a.test:5000': { auth: base64('u:p:q') } },
      want: [{ host: 'a.test:5000', username: 'u', password: 'p:q' }],
    },
    {
      when: 'a URL as key',
      auths: { 'https://a.test/v1/': { auth: base64('u:p') } },
      want: [{ host: 'https://a.test/v1/', username: 'u', password: 'p' }],
    },
    {
      when: 'two owners on one host',
      auths: { 'a.test/team-a': { username: 'a', password: 'pa' }, 'a.test/team-b': { username: 'b', password: 'pb' } },
      want: [
        { host: 'a.test/team-a', username: 'a', password: 'pa' },
        { host: 'a.test/team-b', username: 'b', password: 'pb' },
      ],
    },
    {
      when: 'the old name of Docker Hub',
      auths: { 'https://index.docker.io/v1/': { auth: base64('u:p') } },
      want: [{ host: 'https://index.docker.io/v1/', username: 'u', password: 'p' }],
    },
    { when: 'an entry without credentials', auths: { 'a.test': {}, 'b.test': null }, want: [] },
  ])('gives what it holds: $when', ({ auths, want }) => {
    expect(readPullSecret('s', secret({ auths }))).toEqual({ kind: 'Credentials', credentials: want });
  });

  it.each([
    { when: 'of another type', given: { type: 'Opaque', data: {} } },
    { when: 'without its key', given: { type, data: {} } },
    { when: 'without data', given: { type } },
    { when: 'that is no JSON', given: { type, data: { '.dockerconfigjson': base64('hush{') } } },
    { when: 'that is null', given: { type, data: { '.dockerconfigjson': base64('null') } } },
    { when: 'without auths', given: secret({ hush: 1 }) },
    { when: 'with a list of auths', given: secret({ auths: ['hush'] }) },
  ])('is refused by name, and nothing of it is told: one $when', ({ given }) => {
    const read = readPullSecret('my-secret', given);
    expect(read).toMatchObject({
      kind: 'Missing',
      reason: 'ImagePullSecretInvalid',
      message: expect.stringMatching(/^The Secret "my-secret".*\.$/),
    });
    expect(JSON.stringify(read)).not.toContain('hush');
  });

  it('that is not there is named', () => {
    expect(secretNotFound('my-secret')).toMatchObject({
      reason: 'ImagePullSecretNotFound',
      message: expect.stringContaining('"my-secret"'),
    });
  });
});
