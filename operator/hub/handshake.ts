import type { Hello, Welcome } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { AgentIdentity, StreamEnd } from './stream.ts';

/** What this operator speaks. */
export interface HubOffer {
  readonly minVersion: number;
  readonly maxVersion: number;
  readonly capabilities: readonly string[];
  readonly operatorName: string;
  readonly operatorVersion: string;
  /** Of this start of the operator pod. */
  readonly operatorID: string;
}

export const PROTOCOL_VERSION = 1;

export type Handshake =
  | { readonly kind: 'Welcome'; readonly welcome: Welcome }
  | { readonly kind: 'Refused'; readonly code: StreamEnd; readonly message: string };

/** Whether the agent may go on, in which version, and with which capabilities: those that both named. */
export function shakeHands(hello: Hello, identity: AgentIdentity, offer: HubOffer): Handshake {
  const incomplete = missingField(hello);
  if (incomplete !== undefined) return refused('InvalidArgument', `The agent's Hello has no ${incomplete}.`);
  if (identity.nodeName !== undefined && identity.nodeName !== hello.runnerName) {
    return refused(
      'PermissionDenied',
      `The token is bound to node "${identity.nodeName}" and can not speak for runner "${hello.runnerName}".`,
    );
  }
  const version = Math.min(hello.maxVersion, offer.maxVersion);
  if (version < Math.max(hello.minVersion, offer.minVersion)) {
    const [theirs, ours] = [rangeOf(hello), rangeOf(offer)];
    return refused(
      'FailedPrecondition',
      `No protocol version is shared: agent ${hello.agentVersion} of runner "${hello.runnerName}" speaks ${theirs}, operator ${offer.operatorVersion} speaks ${ours}. Upgrade the older one.`,
    );
  }
  const capabilities = offer.capabilities.filter((capability) => hello.capabilities.includes(capability));
  const { operatorName, operatorVersion, operatorID: operatorId } = offer;
  return { kind: 'Welcome', welcome: { version, capabilities, operatorName, operatorVersion, operatorId } };
}

function missingField(hello: Hello): string | undefined {
  const required = ['runnerName', 'storeId', 'agentId', 'bootId', 'instanceId'] as const;
  return required.find((field) => hello[field] === '');
}

function rangeOf({ minVersion, maxVersion }: Pick<HubOffer, 'minVersion' | 'maxVersion'>): string {
  return minVersion === maxVersion ? String(minVersion) : `${minVersion} to ${maxVersion}`;
}

function refused(code: StreamEnd, message: string): Handshake {
  return { kind: 'Refused', code, message };
}
