/** What came of asking for the addresses of one family. */
export type Asked =
  | { readonly kind: 'Addresses'; readonly addresses: readonly string[] }
  /** The server says that there are none, or that there is no such name. */
  | { readonly kind: 'None'; readonly why: string }
  /** Nobody said anything, or that it could not be told. */
  | { readonly kind: 'Failed'; readonly why: string };

/** What DNS says of a name. */
export type DnsAnswer =
  | {
      readonly kind: 'Named';
      readonly addresses: readonly string[];
      /** False when one family was not answered: there may be more. */
      readonly isComplete: boolean;
    }
  | { readonly kind: 'Silent'; readonly why: string };

/** Both families in one answer. One that has addresses is enough; the other family's "none" is what most networks say. */
export function answerOf(families: readonly Asked[]): DnsAnswer {
  const addresses = families.flatMap((family) => (family.kind === 'Addresses' ? family.addresses : []));
  const failures = families.filter(({ kind }) => kind === 'Failed');
  if (addresses.length > 0) return { kind: 'Named', addresses: [...new Set(addresses)], isComplete: failures.length === 0 };
  const whys = (failures.length > 0 ? failures : families).flatMap((family) => (family.kind === 'Addresses' ? [] : [family.why]));
  return { kind: 'Silent', why: [...new Set(whys)].join(', ') };
}

/** Codes of a resolver with which the server has said that there is nothing. */
const noneCodes = new Set(['ENOTFOUND', 'ENODATA']);

/** What an error of a resolver means. */
export function failureOf(code: string, message: string): Asked {
  return { kind: noneCodes.has(code) ? 'None' : 'Failed', why: code === '' ? message : code };
}

/** An IP address and a port as they are dialled. */
export function dialled(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
