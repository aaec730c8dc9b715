import type { AgentMessage, OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';

/** Why the hub ends a stream; a gRPC status in production. */
export type StreamEnd =
  /** No protocol version is shared, or the agent serves another installation. */
  | 'FailedPrecondition'
  /** There is no valid token. */
  | 'Unauthenticated'
  /** The token is valid and not that of the node. */
  | 'PermissionDenied'
  /** Another stream replaced this one, or messages are missing: begin anew with an inventory. */
  | 'Aborted'
  /** What the agent says is not the protocol. */
  | 'InvalidArgument'
  /** Too many streams wait for their check. */
  | 'ResourceExhausted'
  /** This pod ends or can not check tokens now. */
  | 'Unavailable';

/** One stream of one agent, as the hub sees it: a port. gRPC in production, scripted in tests, a modelled network in the simulation. */
export interface AgentStream {
  /** The bearer token that the agent opened the stream with. */
  readonly token: string | undefined;
  /** Never blocks and never throws; what can not be sent is lost with the stream. */
  send(message: OperatorMessage): void;
  /** Ends the stream. Nothing is received from it afterwards. */
  end(code: StreamEnd, message: string): void;
}

/** What the transport calls: `received` in the order of arrival, `closed` once at the end. */
export interface StreamReceiver {
  received(message: AgentMessage): void;
  closed(reason: string): void;
}

/** Who a token belongs to. */
export interface AgentIdentity {
  /** The node that the token is bound to; undefined where agents are not asked who they are. */
  readonly nodeName: string | undefined;
  /** Milliseconds since the epoch; undefined when it does not expire. */
  readonly expiresAt: number | undefined;
}

export type Authentication =
  | { readonly kind: 'Authenticated'; readonly identity: AgentIdentity }
  | { readonly kind: 'Refused'; readonly code: 'Unauthenticated' | 'PermissionDenied'; readonly message: string };

/** Checks tokens of agents. Rejects when that can not be done now. */
export interface AgentAuthenticator {
  authenticate(token: string | undefined): Promise<Authentication>;
}
