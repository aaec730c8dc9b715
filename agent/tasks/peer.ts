import type {
  TaskEvent,
  TaskReply,
  TaskRequest,
  TransferFromAgent,
  TransferHello,
  TransferToAgent,
} from '../proto/gen/berth/agent/v1/tasks.ts';

/** An operator pod, as tasks see it: one stream of control messages, and transfers beside it. */
export interface TaskPeer {
  /** Must not block and must not throw. */
  reply(reply: TaskReply): void;
  event(event: TaskEvent): void;
  /** Opens a stream for bulk data to the same pod. Never throws: what goes wrong is told by `closed`. */
  dial(hello: TransferHello, events: TransferEvents): TransferStream;
}

/** What comes of a pod's requests, for as long as its stream lasts. */
export interface TaskLink {
  request(request: TaskRequest): void;
  /** The stream has ended. */
  close(): void;
}

/** Opens a link for each stream to a pod that knows tasks. */
export interface TaskService {
  connect(peer: TaskPeer): TaskLink;
}

export interface TransferStream {
  /** Resolves when there is room for more. Rejects when the stream has ended. */
  send(message: TransferFromAgent): Promise<void>;
  /** After what was sent. */
  end(): void;
  /** Holds back what the pod sends until the frame before was dealt with. */
  pause(): void;
  resume(): void;
}

export interface TransferEvents {
  received(message: TransferToAgent): void;
  /** Once, at the end of the stream. `problem`: why it broke. */
  closed(problem: string | undefined): void;
}
