import type { TransferHello } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TransferEvents, TransferStream } from '../tasks/peer.ts';
import type { AgentMessage, OperatorMessage } from '../proto/gen/berth/agent/v1/agent.ts';

/** A stream to one operator pod, as the agent sees it: a port. gRPC in production, a modelled network in the simulation. */
export interface OperatorStream {
  /** Never throws. False: there is no more room, and `drained` is called when there is. What was given is sent all the same. */
  send(message: AgentMessage): boolean;
  /** Opens a stream for bulk data to the same pod, on a connection that is not this one's. Never throws: what goes wrong is told by `closed`. */
  transfer(hello: TransferHello, events: TransferEvents): TransferStream;
  /** Ends the stream; nothing is called afterwards, and its transfers end too. */
  close(): void;
}

/** What the transport calls: `received` in the order of arrival, `closed` once at the end and nothing after it. */
export interface StreamEvents {
  received(message: OperatorMessage): void;
  drained(): void;
  closed(end: StreamEnd): void;
}

export interface StreamEnd {
  /** Lost: the network or the pod. Refused: the pod does not want this agent, and says why. */
  readonly kind: 'Lost' | 'Refused';
  /** A sentence for people. */
  readonly message: string;
}

export interface Dialer {
  /** Opens a stream with this bearer token. Never throws: what goes wrong is told by `closed`, and not before this returns. */
  dial(address: string, token: string | undefined, events: StreamEvents): OperatorStream;
}
