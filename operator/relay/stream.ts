import type { LeaderMessage, RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import type { StreamEnd } from '../hub/stream.ts';

/** Versions of the relay contract that this operator speaks. */
export const RELAY_VERSION = 1;

/** A stream that the leader has opened, as the pod that it dialled sees it: a port. */
export interface LeaderStream {
  /** The bearer token that the leader opened the stream with. */
  readonly token: string | undefined;
  /** Never blocks and never throws; what can not be sent is lost with the stream. */
  send(message: RelayMessage): void;
  /** Ends the stream. Nothing is received from it afterwards. */
  end(code: StreamEnd, message: string): void;
}

/** What the transport of a dialled pod calls. */
export interface LeaderReceiver {
  received(message: LeaderMessage): void;
  closed(reason: string): void;
}

/** A stream to another pod, as the leader sees it: a port. */
export interface PeerStream {
  /** Never throws; what is sent before the stream is open waits for that. */
  send(message: LeaderMessage): void;
  /** Ends the stream; nothing is called afterwards. */
  close(): void;
}

/** What the transport of the leader calls: `received` in the order of arrival, `closed` once at the end and not before `dial` returns. */
export interface PeerEvents {
  received(message: RelayMessage): void;
  closed(reason: string): void;
}

export interface PeerDialer {
  /** Opens a stream. Never throws. */
  dial(address: string, events: PeerEvents): PeerStream;
}
