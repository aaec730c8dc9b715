import { isLoopback, parseAddress } from '../../process/address.ts';
import { sha256Hex } from '../../process/digest.ts';
import { BerthError } from '../../process/errors.ts';

/** An IPv4 address in its only spelling, and a port. */
const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d):(?:[1-9]\d{0,4})$/;
/** The name of a condition type, after its prefix, may have 63 characters. */
const longestReadable = 63 - 9;

/**
 * What an address is called in instance ids and condition types: `10.244.1.5:3001` is `10-244-1-5-3001`. What is not IPv4 and a port is
 * made readable and told apart by 8 digits of its hash, so that different addresses never share a name.
 */
export function addressToID(address: string): string {
  if (ipv4.test(address)) return address.replaceAll(/[:.]/g, '-');
  const readable = address
    .replaceAll(/[^A-Za-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, longestReadable)
    .replaceAll(/-+$/g, '');
  const hash = sha256Hex(address).slice(0, 8);
  return readable === '' ? hash : `${readable}-${hash}`;
}

/** The agent as one operator pod sees it. */
export function instanceIDOf(agentID: string, address: string): string {
  return `${agentID}-${addressToID(address)}`;
}

/**
 * Tokens and orders go only over TLS, or to this very machine.
 * @throws BerthError `InsecureOperator`
 */
export function requireSecure(addresses: readonly string[], hasAuthority: boolean): void {
  const open = addresses.filter((address) => !isLoopback(parseAddress(address)?.host ?? ''));
  if (hasAuthority || open.length === 0) return;
  throw new BerthError(
    'InsecureOperator',
    `Without a CA only operators on this machine can be connected to, not ${open.join(', ')}: set BERTH_OPERATOR_CA (--operator-ca).`,
  );
}
