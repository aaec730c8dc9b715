import { BerthError } from './errors.ts';

/** Where something listens or is dialled. */
export interface Address {
  /** A name or an IP address, that of IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

const shape = /^(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)):(\d{1,5})$/;

/** Reads `host:port`, `[ipv6]:port` or `name:port`; undefined for anything else. The port may be 0. */
export function parseAddress(text: string): Address | undefined {
  const match = shape.exec(text);
  const port = Number(match?.[3]);
  return match === null || port > 65_535 ? undefined : { host: match[1] ?? match[2] ?? '', port };
}

/** True for an address that can be dialled. */
export function isAddress(text: string): boolean {
  return (parseAddress(text)?.port ?? 0) > 0;
}

/** True for an address to listen on: port 0 takes any free port, and no host (`:3001`) stands for all of this machine. */
export function isListenAddress(text: string): boolean {
  return parseAddress(withHost(text)) !== undefined;
}

/** @throws BerthError `AddressInvalid` */
export function listenAddressOf(text: string): Address {
  const address = parseAddress(withHost(text));
  if (address === undefined) throw new BerthError('AddressInvalid', `"${text}" is no address to listen on: write host:port.`);
  return address;
}

/** True for a host that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function withHost(text: string): string {
  return text.startsWith(':') ? `0.0.0.0${text}` : text;
}
