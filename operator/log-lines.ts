/** The log lines that people search for: word for word as they have always been. Everything that varies but belongs to the line is in it. */

/** An agent's stream is up. `id` is the instance id: the agent's base id and the address that it dialled. */
export function connectedLine(id: string): string {
  return `Sandbox ${id} connected successfully`;
}

/** Debug: where a sandbox is to run is being decided. With sandboxId, currentRunnerId, prevRunnerId, runnerUnschedulable and backupState. */
export const ASSIGNMENT_LINE = 'Processing sandbox runner assignment';
