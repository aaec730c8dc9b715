/**
 * The operator pods by who names them: names that DNS answers for, operator pods that tell of each other, and the settings. A value: everything
 * that is learned makes a new one. Times are monotonic milliseconds.
 */
export interface Discovery {
  /** What each source named last. A source that is not here says nothing. */
  readonly named: ReadonlyMap<string, readonly string[]>;
  /** Addresses that no source names any more, and since when. */
  readonly unnamed: ReadonlyMap<string, number>;
}

export const nothingNamed: Discovery = { named: new Map(), unnamed: new Map() };

/** The source names these operator pods now, and no others. */
export function nowNames(discovery: Discovery, source: string, addresses: readonly string[], now: number): Discovery {
  const named = new Map(discovery.named).set(source, addresses);
  return { named, unnamed: unnamedOf(discovery, named, now) };
}

/** The source names these, and whether there are others it could not say: what it named before stays. */
export function alsoNames(discovery: Discovery, source: string, addresses: readonly string[], now: number): Discovery {
  return nowNames(discovery, source, [...new Set([...(discovery.named.get(source) ?? []), ...addresses])], now);
}

/** The source is gone and names nothing any more. */
export function namesNothing(discovery: Discovery, source: string, now: number): Discovery {
  const named = new Map([...discovery.named].filter(([one]) => one !== source));
  return { named, unnamed: unnamedOf(discovery, named, now) };
}

/** Without those that nobody has named for so long. */
export function forgetUnnamed(discovery: Discovery, now: number, afterMs: number): Discovery {
  return { ...discovery, unnamed: new Map([...discovery.unnamed].filter(([, since]) => now - since < afterMs)) };
}

/** Milliseconds until the next address is to be forgotten; undefined when all are named. */
export function untilForgotten({ unnamed }: Discovery, now: number, afterMs: number): number | undefined {
  return unnamed.size === 0 ? undefined : Math.max(0, Math.min(...unnamed.values()) + afterMs - now);
}

/** Every operator pod to be connected to, in the order of their addresses: those that are named, and those that were until a moment ago. */
export function addressesOf({ named, unnamed }: Discovery): readonly string[] {
  return [...new Set([...[...named.values()].flat(), ...unnamed.keys()])].toSorted(byNumbers);
}

/** `10.0.0.9:1` before `10.0.0.10:1`. */
function byNumbers(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

function unnamedOf(before: Discovery, named: ReadonlyMap<string, readonly string[]>, now: number): ReadonlyMap<string, number> {
  const known = new Set([...named.values()].flat());
  return new Map(
    addressesOf(before)
      .filter((address) => !known.has(address))
      .map((address) => [address, before.unnamed.get(address) ?? now]),
  );
}
