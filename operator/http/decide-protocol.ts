/** What the first bytes of a connection say it is. `Undecided`: more of them are needed. */
export type Protocol =
  | 'Undecided'
  /** A TLS handshake begins. */
  | 'Tls'
  /** HTTP/2 begins, as gRPC speaks it. */
  | 'Http2'
  /** Anything else, for the HTTP/1.1 parser to read or refuse. */
  | 'Http1';

const preface = new TextEncoder().encode('PRI * HTTP/2.0');
/** The type of a TLS record that carries a handshake. */
const handshake = 0x16;

/** No request of HTTP/1.1 can begin as HTTP/2 does: its method `PRI` is reserved for that. */
export function decideProtocol(first: Uint8Array): Protocol {
  if (first.length === 0) return 'Undecided';
  if (first[0] === handshake) return 'Tls';
  const compared = preface.slice(0, first.length);
  if (compared.some((byte, index) => byte !== first[index])) return 'Http1';
  return first.length < preface.length ? 'Undecided' : 'Http2';
}

/**
 * The protocol that is answered to what a TLS client offers (ALPN). A client of gRPC offers `h2` alone; curl and browsers offer both, and are
 * served over HTTP/1.1. Undefined: none of them is spoken here. Who offers nothing is served over HTTP/1.1 as well.
 */
export function chooseAlpn(
  offered: readonly string[],
  served: { readonly http1: boolean; readonly http2: boolean } = { http1: true, http2: true },
): 'http/1.1' | 'h2' | undefined {
  if (served.http1 && offered.includes('http/1.1')) return 'http/1.1';
  return served.http2 && offered.includes('h2') ? 'h2' : undefined;
}
