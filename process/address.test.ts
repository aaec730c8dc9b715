import { describe, expect, it } from '@jest/globals';
import { isAddress, isListenAddress, isLoopback, listenAddressOf, parseAddress } from './address.ts';

describe('an address', () => {
  it.each([
    { text: '10.0.0.1:3001', is: true },
    { text: '[::1]:3001', is: true },
    { text: '[fe80::1%eth0]:3001', is: true },
    { text: 'operator.berth-system.svc:3001', is: true },
    { text: '10.0.0.1', is: false },
    { text: '::1:3001', is: false },
    { text: ':3001', is: false },
    { text: 'host:0', is: false },
    { text: 'host:65536', is: false },
    { text: 'https://host:3001', is: false },
    { text: '', is: false },
  ])('can be dialled: $text: $is', ({ text, is }) => expect(isAddress(text)).toBe(is));

  it.each([
    { text: '[fe80::1%eth0]:3001', want: { host: 'fe80::1%eth0', port: 3001 } },
    { text: 'a-b.c:0', want: { host: 'a-b.c', port: 0 } },
    { text: 'a', want: undefined },
  ])('$text is read', ({ text, want }) => expect(parseAddress(text)).toEqual(want));

  it.each([
    { text: '0.0.0.0:3001', want: { host: '0.0.0.0', port: 3001 } },
    { text: '127.0.0.1:0', want: { host: '127.0.0.1', port: 0 } },
    { text: '[::]:3001', want: { host: '::', port: 3001 } },
    { text: ':3001', want: { host: '0.0.0.0', port: 3001 } },
  ])('can be listened on: $text', ({ text, want }) => {
    expect([isListenAddress(text), listenAddressOf(text)]).toEqual([true, want]);
  });

  it.each(['3001', '::3001', 'host:65536', ''])('can not be listened on: "%s"', (text) => {
    expect(isListenAddress(text)).toBe(false);
    expect(() => listenAddressOf(text)).toThrow(expect.objectContaining({ code: 'AddressInvalid' }));
  });
});

it.each([
  { host: '127.0.0.1', is: true },
  { host: '127.9.9.9', is: true },
  { host: '::1', is: true },
  { host: 'localhost', is: true },
  { host: '0.0.0.0', is: false },
  { host: '::', is: false },
  { host: '10.0.0.1', is: false },
  { host: '1270.0.0.1', is: false },
  { host: '127.0.0.1.example', is: false },
  { host: 'localhost.example', is: false },
])('only this machine reaches $host: $is', ({ host, is }) => expect(isLoopback(host)).toBe(is));
