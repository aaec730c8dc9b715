/** The log lines that people search for: word for word as they have always been. Everything that varies but belongs to the line is in it. */

/** Once per start of the agent. */
export function baseIDLine(agentID: string): string {
  return `Sandbox base ID: ${agentID}`;
}

export function connectingLine(address: string): string {
  return `Connecting to new scheduler at ${address}`;
}

export function connectedLine(address: string): string {
  return `Connected to scheduler at ${address}`;
}

/** When the set of schedulers has changed and each was tried. */
export function managingLine(addresses: readonly string[]): string {
  return `Managing connections to ${addresses.length} scheduler(s): [${addresses.join(' ')}]`;
}
