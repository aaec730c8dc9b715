import { describe, expect, it } from '@jest/globals';
import { decideTrust } from './decide-trust.ts';

const loopback = { isLoopback: true, isUnsafeAllowed: false };
const network = { isLoopback: false, isUnsafeAllowed: false };
const unsafe = { isLoopback: false, isUnsafeAllowed: true };

describe('decideTrust', () => {
  it.each([
    { when: 'there is TLS', given: { ...network, usesTls: true, auth: undefined }, want: false },
    { when: 'there is TLS, and tokens are asked for', given: { ...network, usesTls: true, auth: 'token' }, want: false },
    { when: 'there is TLS on loopback', given: { ...loopback, usesTls: true, auth: undefined }, want: false },
    { when: 'there is TLS on loopback, and nobody is to be asked', given: { ...loopback, usesTls: true, auth: 'none' }, want: true },
    { when: 'there is no TLS on loopback', given: { ...loopback, usesTls: false, auth: undefined }, want: true },
    { when: 'there is no TLS on loopback, and tokens are asked for', given: { ...loopback, usesTls: false, auth: 'token' }, want: false },
    { when: 'plain text is allowed in a network', given: { ...unsafe, usesTls: false, auth: undefined }, want: false },
    { when: 'plain text without tokens is allowed in a network', given: { ...unsafe, usesTls: false, auth: 'none' }, want: true },
    { when: 'TLS without tokens is allowed in a network', given: { ...unsafe, usesTls: true, auth: 'none' }, want: true },
  ] as const)('$when → $want', ({ given, want }) => expect(decideTrust(given)).toBe(want));

  it.each([
    { when: 'there is no TLS in a network', given: { ...network, usesTls: false, auth: undefined }, code: 'InsecureListen' },
    { when: 'there is neither TLS nor a token in a network', given: { ...network, usesTls: false, auth: 'none' }, code: 'InsecureListen' },
    {
      when: 'there is TLS in a network, and nobody is to be asked',
      given: { ...network, usesTls: true, auth: 'none' },
      code: 'InsecureAuth',
    },
  ] as const)('$when: refused with $code', ({ given, code }) =>
    expect(() => decideTrust(given)).toThrow(expect.objectContaining({ code })),
  );
});
