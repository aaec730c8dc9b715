import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  bytes,
  compareQuantities,
  formatBytes,
  formatMillicores,
  millicores,
  parseNanos,
  QuantityError,
  type Quantity,
} from './quantity.ts';

/** The model: a quantity is a fraction; nothing is rounded until the end. */
interface Fraction {
  readonly over: bigint;
  readonly under: bigint;
}

const SUFFIXES: readonly (readonly [string, Fraction])[] = [
  ['n', { over: 1n, under: 1_000_000_000n }],
  ['u', { over: 1n, under: 1_000_000n }],
  ['m', { over: 1n, under: 1_000n }],
  ['', { over: 1n, under: 1n }],
  ...['k', 'M', 'G', 'T', 'P', 'E'].map((suffix, index) => [suffix, { over: 1000n ** BigInt(index + 1), under: 1n }] as const),
  ...['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'].map((suffix, index) => [suffix, { over: 1024n ** BigInt(index + 1), under: 1n }] as const),
];

const ceiling = ({ over, under }: Fraction, times: bigint) => {
  const product = over * times;
  return product % under === 0n ? product / under : product / under + 1n;
};

const exponent = fc.integer({ min: -20, max: 20 }).chain((power) =>
  fc.constantFrom(`e${power}`, `E${power}`, ...(power >= 0 ? [`e+${power}`] : [])).map((suffix) => {
    const factor: Fraction = power >= 0 ? { over: 10n ** BigInt(power), under: 1n } : { over: 1n, under: 10n ** BigInt(-power) };
    return [suffix, factor] as const;
  }),
);

const written = fc
  .record({
    whole: fc.stringMatching(/^[0-9]{1,12}$/),
    decimals: fc.option(fc.stringMatching(/^[0-9]{1,10}$/), { nil: '' }),
    suffix: fc.oneof(fc.constantFrom(...SUFFIXES), exponent),
  })
  .map(({ whole, decimals, suffix: [suffix, factor] }) => ({
    text: `${whole}${decimals === '' ? '' : `.${decimals}`}${suffix}`,
    value: { over: BigInt(whole + decimals) * factor.over, under: 10n ** BigInt(decimals.length) * factor.under },
  }));

describe('quantities', () => {
  it('are the exact fraction, rounded up to a billionth', () => {
    fc.assert(fc.property(written, ({ text, value }) => expect(parseNanos(text)).toBe(ceiling(value, 1_000_000_000n))));
  });

  it('round up to whole millicores and bytes, however they are written', () => {
    fc.assert(
      fc.property(written, ({ text, value }) => {
        expect(millicores(text)).toBe(Number(ceiling(value, 1000n)));
        expect(bytes(text)).toBe(Number(ceiling(value, 1n)));
      }),
    );
  });

  it('compare as their values do', () => {
    fc.assert(
      fc.property(written, written, (left, right) => {
        const [a, b] = [ceiling(left.value, 1_000_000_000n), ceiling(right.value, 1_000_000_000n)];
        expect(compareQuantities(left.text, right.text)).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
  });

  it('survive being formatted', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 2 ** 46 }), (cpu, memory) => {
        expect(millicores(formatMillicores(cpu))).toBe(cpu);
        expect(bytes(formatBytes(memory))).toBe(memory);
      }),
    );
  });

  it.each<[Quantity, number]>([
    [1, 1000],
    ['1', 1000],
    ['250m', 250],
    ['0.1', 100],
    ['1.0001', 1001],
    ['1u', 1],
    ['0', 0],
    ['2k', 2_000_000],
  ])('%p is %p millicores', (text, want) => expect(millicores(text)).toBe(want));

  it.each<[Quantity, number]>([
    [536_870_912, 536_870_912],
    ['512Mi', 536_870_912],
    ['1.5Gi', 1_610_612_736],
    ['1G', 1_000_000_000],
    ['1e3', 1000],
    ['1E3', 1000],
    ['1E', 1e18],
    ['1500m', 2],
    ['8Pi', 2 ** 53],
  ])('%p is %p bytes', (text, want) => expect(bytes(text)).toBe(want));

  it.each([
    '',
    ' ',
    '-1',
    '+1',
    '.5',
    '5.',
    '1.2.3',
    '1KB',
    '1 Gi',
    '1mi',
    '1e',
    '1e100',
    '0x10',
    'Gi',
    '1e2e3',
    '9'.repeat(33),
    Number.NaN,
  ])('%p is no quantity', (text) => {
    expect(parseNanos(text)).toBeUndefined();
    expect(() => bytes(text)).toThrow(QuantityError);
  });

  it.each([
    [2000, '2'],
    [250, '250m'],
    [0, '0'],
  ])('%p millicores are written %p', (value, want) => expect(formatMillicores(value)).toBe(want));

  it.each([
    [536_870_912, '512Mi'],
    [1024, '1Ki'],
    [1000, '1000'],
    [0, '0'],
  ])('%p bytes are written %p', (value, want) => expect(formatBytes(value)).toBe(want));
});
