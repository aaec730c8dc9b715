/**
 * Log lines whose text is an interface: people and their tools search for it, so it is never reworded. Everything that varies but belongs to the line is
 * in it. "Sandbox" is here the agent of a runner and "scheduler" an operator pod, as these lines have always called them.
 */
export const stableLines = {
  /** Agent, once per start: the id that its instance ids begin with. */
  agentStarted: (agentID: string) => `Sandbox base ID: ${agentID}`,
  /** Agent, when the set of operator pods has changed and each was tried. */
  managingConnections: (addresses: readonly string[]) =>
    `Managing connections to ${addresses.length} scheduler(s): [${addresses.join(' ')}]`,
  /** Agent, before it dials an operator pod for the first time. */
  connecting: (address: string) => `Connecting to new scheduler at ${address}`,
  /** Agent, when its stream to that operator pod is up. */
  connected: (address: string) => `Connected to scheduler at ${address}`,
  /** Agent, when a stream that was up has ended. It is dialled again. */
  disconnected: (address: string) => `Disconnected from scheduler at ${address}`,
  /** Agent, when nobody names that operator pod any more. It is not dialled again. */
  removed: (address: string) => `Removing connection to scheduler at ${address}`,
  /** Operator, when an agent's stream is up. `instanceID` is the agent's base id and the address that it dialled. */
  agentConnected: (instanceID: string) => `Sandbox ${instanceID} connected successfully`,
  /** Operator, when such a stream has ended. */
  agentDisconnected: (instanceID: string) => `Sandbox ${instanceID} disconnected`,
  /** Operator, debug: where a sandbox is to run is being decided. With sandboxId, currentRunnerId, prevRunnerId, runnerUnschedulable and backupState. */
  assigning: 'Processing sandbox runner assignment',
} as const;
