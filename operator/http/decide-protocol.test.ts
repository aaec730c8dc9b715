import { describe, expect, it } from '@jest/globals';
import { chooseAlpn, decideProtocol } from './decide-protocol.ts';

describe('decideProtocol', () => {
  it.each([
    { first: '', want: 'Undecided' },
    { first: 'P', want: 'Undecided' },
    { first: 'PRI * HTTP/2', want: 'Undecided' },
    { first: 'PRI * HTTP/2.0', want: 'Http2' },
    { first: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', want: 'Http2' },
    { first: 'PRI * HTTP/1.1\r\n', want: 'Http1' },
    { first: 'PROPFIND / HTTP/1.1', want: 'Http1' },
    { first: 'POST /sandbox/reserve HTTP/1.1', want: 'Http1' },
    { first: 'GET', want: 'Http1' },
    { first: '\0\0\0', want: 'Http1' },
    { first: '\x16\x03\x01', want: 'Tls' },
  ] as const)('$first → $want', ({ first, want }) => expect(decideProtocol(Buffer.from(first, 'latin1'))).toBe(want));
});

describe('chooseAlpn', () => {
  it.each([
    { offered: ['h2'], want: 'h2' },
    { offered: ['h2', 'http/1.1'], want: 'http/1.1' },
    { offered: ['http/1.1'], want: 'http/1.1' },
    { offered: ['http/1.0', 'spdy/1'], want: undefined },
  ])('$offered → $want', ({ offered, want }) => expect(chooseAlpn(offered)).toBe(want));
});
