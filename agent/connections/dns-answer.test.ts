import { describe, expect, it } from '@jest/globals';
import { answerOf, dialled, failureOf, type Asked } from './dns-answer.ts';

const found = (...addresses: readonly string[]): Asked => ({ kind: 'Addresses', addresses });

describe('the answer of DNS', () => {
  it.each([
    {
      when: 'there are addresses of IPv4 only',
      families: [found('10.0.0.1'), failureOf('ENODATA', '')],
      want: { kind: 'Named', addresses: ['10.0.0.1'], isComplete: true },
    },
    {
      when: 'there are addresses of both',
      families: [found('10.0.0.1', '10.0.0.1'), found('fd00::1')],
      want: { kind: 'Named', addresses: ['10.0.0.1', 'fd00::1'], isComplete: true },
    },
    {
      when: 'one family was not answered',
      families: [found('10.0.0.1'), failureOf('ETIMEOUT', '')],
      want: { kind: 'Named', addresses: ['10.0.0.1'], isComplete: false },
    },
    {
      when: 'there is no such name',
      families: [failureOf('ENOTFOUND', ''), failureOf('ENOTFOUND', '')],
      want: { kind: 'Silent', why: 'ENOTFOUND' },
    },
    {
      when: 'the server is away',
      families: [failureOf('ENODATA', ''), failureOf('ECONNREFUSED', '')],
      want: { kind: 'Silent', why: 'ECONNREFUSED' },
    },
    { when: 'something else is wrong', families: [failureOf('', 'broken')], want: { kind: 'Silent', why: 'broken' } },
  ])('when $when', ({ families, want }) => {
    expect(answerOf(families)).toEqual(want);
  });

  it.each([
    { address: '10.0.0.1', want: '10.0.0.1:3001' },
    { address: 'fd00::1', want: '[fd00::1]:3001' },
  ])('$address is dialled as $want', ({ address, want }) => {
    expect(dialled(address, 3001)).toBe(want);
  });
});
