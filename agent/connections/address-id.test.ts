import { describe, expect, it } from '@jest/globals';
import { addressToID, instanceIDOf, requireSecure } from './address-id.ts';

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

describe('an operator', () => {
  it('may be dialled without a CA only on this machine', () => {
    expect(() => requireSecure(['127.0.0.1:1', '10.0.0.1:1'], false)).toThrow('10.0.0.1:1');
    expect(() => requireSecure(['127.0.0.1:1', '[::1]:1', 'localhost:1'], false)).not.toThrow();
    expect(() => requireSecure(['10.0.0.1:1'], true)).not.toThrow();
  });
});
