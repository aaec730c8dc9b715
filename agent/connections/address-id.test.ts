import { describe, expect, it } from '@jest/globals';
import { addressToID, instanceIDOf, isAddress, isLoopback, requireSecure } from './address-id.ts';

describe('the name of an address', () => {
  it.each([
    { address: '10.244.1.5:3001', id: '10-244-1-5-3001' },
    { address: '127.0.0.1:1', id: '127-0-0-1-1' },
    { address: '[::1]:3001', id: /^1-3001-[0-9a-f]{8}$/ },
    { address: '[fe80::1%eth0]:3001', id: /^fe80-1-eth0-3001-[0-9a-f]{8}$/ },
    { address: 'berth-operator-0.berth:3001', id: /^berth-operator-0-berth-3001-[0-9a-f]{8}$/ },
    { address: '256.1.1.1:3001', id: /^256-1-1-1-3001-[0-9a-f]{8}$/ },
    { address: '010.1.1.1:3001', id: /^010-1-1-1-3001-[0-9a-f]{8}$/ },
    { address: '::', id: /^[0-9a-f]{8}$/ },
    { address: `${'a'.repeat(200)}.example:3001`, id: /^a{54}-[0-9a-f]{8}$/ },
  ])('$address is $id', ({ address, id }) => {
    if (typeof id === 'string') expect(addressToID(address)).toBe(id);
    else expect(addressToID(address)).toMatch(id);
  });

  const addresses = [
    ...['10.1.1.1:3001', '10.1.1.13:001', '10.1.11.1:3001', '10-1-1-1:3001', '10.1.1.1.3001', '[10.1.1.1]:3001'],
    ...['[::1]:3001', '[::1%lo]:3001', '[::1]:300', '::1:3001', 'localhost:3001', 'LOCALHOST:3001', 'a-b:1', 'a.b:1', 'a-b-1'],
    ...[`${'a'.repeat(80)}.x:1`, `${'a'.repeat(80)}.y:1`],
  ];

  it('differs for different addresses', () => {
    expect(new Set(addresses.map(addressToID)).size).toBe(addresses.length);
  });

  it.each(addresses)('can stand in the type of a condition: %s', (address) => {
    expect(addressToID(address)).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
  });

  it('makes the instance id with the base id before it', () => {
    expect(instanceIDOf('550e8400-e29b-41d4-a716-446655440000', '10.244.1.5:3001')).toBe(
      '550e8400-e29b-41d4-a716-446655440000-10-244-1-5-3001',
    );
  });
});

describe('an address', () => {
  it.each([
    { text: '10.0.0.1:3001', is: true },
    { text: '[::1]:3001', is: true },
    { text: '[fe80::1%eth0]:3001', is: true },
    { text: 'operator.berth-system.svc:3001', is: true },
    { text: '10.0.0.1', is: false },
    { text: '::1:3001', is: false },
    { text: 'host:0', is: false },
    { text: 'host:65536', is: false },
    { text: 'https://host:3001', is: false },
    { text: '', is: false },
  ])('$text: $is', ({ text, is }) => expect(isAddress(text)).toBe(is));

  it.each([
    { address: '127.0.0.1:1', is: true },
    { address: '127.9.9.9:1', is: true },
    { address: '[::1]:1', is: true },
    { address: 'localhost:1', is: true },
    { address: '10.0.0.1:1', is: false },
    { address: '127.0.0.1.example:1', is: false },
    { address: 'localhost.example:1', is: false },
  ])('$address is on this machine: $is', ({ address, is }) => expect(isLoopback(address)).toBe(is));

  it('may be dialled without a CA only on this machine', () => {
    expect(() => requireSecure(['127.0.0.1:1', '10.0.0.1:1'], false)).toThrow('10.0.0.1:1');
    expect(() => requireSecure(['127.0.0.1:1'], false)).not.toThrow();
    expect(() => requireSecure(['10.0.0.1:1'], true)).not.toThrow();
  });
});
