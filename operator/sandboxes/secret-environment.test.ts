import { describe, expect, it } from '@jest/globals';
import { sandboxSpecSchema } from '../../crds/index.ts';
import { copyConfigOf } from './copy-config.ts';
import { environmentFrom, secretReferences, type SecretReference } from './secret-environment.ts';

const base64 = (content: string | Buffer) => Buffer.from(content).toString('base64');
const secret = (data: Readonly<Record<string, string | Buffer>>) => ({
  data: Object.fromEntries(Object.entries(data).map(([key, content]) => [key, base64(content)])),
});
const token: SecretReference = { variable: 'TOKEN', secret: 'mine', key: 'token', isOptional: false };
const optional = { ...token, isOptional: true };

describe('the variables of a sandbox that come from Secrets', () => {
  it.each([
    { when: 'a text', given: 'hush', want: 'hush' },
    { when: 'several lines, with what looks like a byte order mark', given: '\uFEFFone\ntwo\n', want: '\uFEFFone\ntwo\n' },
    { when: 'nothing', given: '', want: '' },
    { when: 'as much as fits', given: 'x'.repeat(131_072 - 'TOKEN='.length - 1), want: 'x'.repeat(131_065) },
  ])('are what the key holds: $when', ({ given, want }) => {
    const environment = environmentFrom([token], new Map([['mine', secret({ token: given })]]));
    expect(environment).toEqual({ kind: 'Ready', variables: [{ name: 'TOKEN', value: want }] });
  });

  it.each([
    { when: 'there is no Secret', given: undefined, want: 'EnvSecretNotFound' },
    { when: 'it has no such key', given: secret({ other: 'hush' }), want: 'EnvSecretKeyNotFound' },
    { when: 'it has no data', given: {}, want: 'EnvSecretKeyNotFound' },
    { when: 'a NUL byte is in it', given: secret({ token: 'hush\0hush' }), want: 'EnvSecretInvalid' },
    { when: 'it is not UTF-8', given: secret({ token: Buffer.from([0x68, 0xff]) }), want: 'EnvSecretInvalid' },
    { when: 'it is too long', given: secret({ token: 'hush'.repeat(32_768) }), want: 'EnvSecretInvalid' },
  ])('are missing when $when, and nothing of a Secret is told', ({ given, want }) => {
    const environment = environmentFrom([token], new Map([['mine', given]]));
    const message = expect.stringMatching(/^The Secret "mine", from which spec.env takes TOKEN, .*\.$/) as unknown;
    expect(environment).toEqual({ kind: 'Missing', reason: want, message });
    expect(JSON.stringify(environment)).not.toContain('hush');
  });

  it.each([
    { when: 'there is no Secret', given: undefined },
    { when: 'it has no such key', given: secret({}) },
  ])('are left out when they are optional and $when', ({ given }) => {
    expect(environmentFrom([optional], new Map([['mine', given]]))).toEqual({ kind: 'Ready', variables: [] });
  });

  it('change the hash of the configuration by where they come from, and never by what they are', () => {
    const spec = (env: readonly object[]) => sandboxSpecSchema.parse({ image: 'demo:1', env });
    const from = (name: string, key: string) => ({ name: 'TOKEN', valueFrom: { secretKeyRef: { name, key } } });
    const plain = { name: 'GREETING', value: 'hello' };
    const hashes = [[plain], [plain, from('a', 'k')], [plain, from('b', 'k')], [plain, from('a', 'l')]].map(
      (env) => copyConfigOf(spec(env)).hash,
    );
    expect(new Set(hashes).size).toBe(4);
    expect(copyConfigOf(spec([plain, from('a', 'k')])).env).toEqual([plain]);
    expect(secretReferences(spec([plain, from('a', 'k')]))).toEqual([{ variable: 'TOKEN', secret: 'a', key: 'k', isOptional: false }]);
  });
});
