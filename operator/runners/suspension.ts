/** How many runners there are whose Lease is known, and how many of them are lost. */
export interface FleetHealth {
  readonly known: number;
  readonly lost: number;
}

export type Suspension = { readonly kind: 'None' } | { readonly kind: 'Suspended'; readonly message: string };

/** More than this share of the runners, and more than one, lost at once: then it is rather the network, the API server or a mistake than the machines. */
const share = 0.3;

/**
 * Whether recovery is suspended: nothing is concluded from Nodes that are gone or out of service. What an agent answers and what the
 * administrator says of one Runner counts always, and what is observed is told as ever. Lifts by itself.
 */
export function suspensionOf({ known, lost }: FleetHealth): Suspension {
  if (lost < 2 || lost <= share * known) return { kind: 'None' };
  const message = `${lost} of ${known} runners are lost at once: recovery from Nodes that are gone or out of service is suspended.`;
  return { kind: 'Suspended', message };
}
