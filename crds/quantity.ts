/**
 * Kubernetes quantities: `250m` of a cpu, `512Mi` of memory. Read exactly with integers of a billionth, the finest step that Kubernetes
 * keeps: what is finer is rounded up, as the API server does.
 */

/** As it stands in an object: `2`, `"500m"`, `"1.5Gi"`, `"1e3"`. */
export type Quantity = number | string;

/** One grammar for zod, CEL and the parser below. Signs and bare points are refused: no quantity in this API may be negative. */
export const QUANTITY_PATTERN = /^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$/;
export const QUANTITY_MAX_LENGTH = 32;

/** A text that is no quantity. The API server refuses such objects, so this is met only where text comes from elsewhere (flags, files). */
export class QuantityError extends Error {
  override readonly name = 'QuantityError';
  readonly code = 'InvalidQuantity';
  readonly text: string;

  constructor(text: string) {
    super(`'${text}' is not a quantity: write a whole or decimal number with an optional suffix, such as 2, 500m, 1.5Gi or 1e3.`);
    this.text = text;
  }
}

const NANOS_PER_UNIT = 1_000_000_000n;
const NANOS_PER_MILLI = 1_000_000n;
const DECIMAL_EXPONENTS: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const POWERS_OF_TEN = Array.from({ length: 32 }, (_, exponent) => 10n ** BigInt(exponent));
const BINARY_EXPONENTS: Readonly<Record<string, number>> = { Ki: 10, Mi: 20, Gi: 30, Ti: 40, Pi: 50, Ei: 60 };

/** The quantity in billionths, rounded up; undefined when the text is no quantity. */
export function parseNanos(quantity: Quantity): bigint | undefined {
  const text = String(quantity);
  if (text.length > QUANTITY_MAX_LENGTH || !QUANTITY_PATTERN.test(text)) return undefined;
  const [, whole = '', fraction = '', suffix = ''] = /^([0-9]+)(?:\.([0-9]+))?(.*)$/.exec(text) ?? [];
  const digits = BigInt(whole + fraction);
  const binary = BINARY_EXPONENTS[suffix];
  if (binary !== undefined) return scaled(digits << BigInt(binary), 9 - fraction.length);
  return scaled(digits, (DECIMAL_EXPONENTS[suffix] ?? Number(suffix.slice(1))) + 9 - fraction.length);
}

/** Thousandths of a cpu, rounded up. @throws QuantityError */
export function millicores(quantity: Quantity): number {
  return Number(divideUp(nanosOf(quantity), NANOS_PER_MILLI));
}

/** Whole bytes, rounded up. Exact to 2^53 - 1, far beyond what the API accepts. @throws QuantityError */
export function bytes(quantity: Quantity): number {
  return Number(divideUp(nanosOf(quantity), NANOS_PER_UNIT));
}

/** Negative, 0 or positive as `left` is less than, equal to or more than `right`. @throws QuantityError */
export function compareQuantities(left: Quantity, right: Quantity): number {
  const [a, b] = [nanosOf(left), nanosOf(right)];
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Millicores as a quantity in its usual spelling: 2000 → `2`, 250 → `250m`. */
export function formatMillicores(value: number): string {
  return value % 1000 === 0 ? String(value / 1000) : `${value}m`;
}

/** Bytes as a quantity with the largest binary suffix that keeps it whole: 536870912 → `512Mi`, 1000 → `1000`. */
export function formatBytes(value: number): string {
  const [suffix, exponent] = Object.entries(BINARY_EXPONENTS).findLast(([, power]) => value > 0 && value % 2 ** power === 0) ?? ['', 0];
  return `${value / 2 ** exponent}${suffix}`;
}

/** The quantity in billionths, rounded up. @throws QuantityError */
export function nanosOf(quantity: Quantity): bigint {
  const nanos = parseNanos(quantity);
  if (nanos === undefined) throw new QuantityError(String(quantity));
  return nanos;
}

/** digits × 10^exponent, rounded up. */
function scaled(digits: bigint, exponent: number): bigint {
  return exponent >= 0 ? digits * powerOfTen(exponent) : divideUp(digits, powerOfTen(-exponent));
}

function powerOfTen(exponent: number): bigint {
  return POWERS_OF_TEN[exponent] ?? 10n ** BigInt(exponent);
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
