import type { Hello, Welcome } from '../proto/gen/berth/agent/v1/agent.ts';
import { instanceIDOf } from './address-id.ts';

/** Protocol versions that this agent speaks. */
export const spoken = { minVersion: 1, maxVersion: 1 };

/** The ability to run tasks and to give slots (docs/adr/0010-tasks.md). */
export const tasksCapability = 'tasks';

/** The optional abilities of an agent with such tasks. */
export function capabilitiesOf(tasks: object | undefined): readonly string[] {
  return tasks === undefined ? [] : [tasksCapability];
}

/** Who this agent is, for one start of it. */
export interface AgentIdentity {
  readonly runnerName: string;
  readonly storeID: string;
  readonly incarnation: number;
  readonly agentID: string;
  readonly bootID: string;
  readonly installID: string;
  readonly version: string;
}

/** The first message of a stream to `address`. */
export function helloOf(identity: AgentIdentity, address: string, capabilities: readonly string[]): Hello {
  const { runnerName, storeID, incarnation, agentID, bootID, installID, version } = identity;
  return {
    minVersion: spoken.minVersion,
    maxVersion: spoken.maxVersion,
    capabilities: [...capabilities],
    runnerName,
    storeId: storeID,
    incarnation,
    agentId: agentID,
    bootId: bootID,
    instanceId: instanceIDOf(agentID, address),
    installId: installID,
    agentVersion: version,
  };
}

/** Why the agent cannot go on with this operator, in a sentence; undefined when it can. */
export function refuseWelcome({ version, operatorName, operatorVersion }: Welcome): string | undefined {
  if (version >= spoken.minVersion && version <= spoken.maxVersion) return undefined;
  return `Operator ${operatorName} (${operatorVersion}) chose protocol version ${version}, and this agent speaks ${spoken.minVersion} to ${spoken.maxVersion}.`;
}
