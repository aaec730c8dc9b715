import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { Server, ServerCredentials, status, type ServerDuplexStream } from '@grpc/grpc-js';
import { AgentHubService, type AgentMessage, type OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { TransferFromAgent, TransferToAgent } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { OperatorRelayService, type LeaderMessage, type RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import type { Logger } from '../../process/log.ts';
import { ApiError, errorBodyOf } from '../http/errors.ts';
import type { Transfers } from '../tasks/transfers.server.ts';
import type { RelayServing } from '../relay/serving.server.ts';
import type { Hub } from './controller.ts';
import type { StreamEnd } from './stream.ts';

export interface HubServerOptions {
  readonly hub: Pick<Hub, 'accept' | 'close'>;
  /** What other operator pods dial; absent: nothing is relayed for them. */
  readonly relay?: Pick<RelayServing, 'accept' | 'close'>;
  /** What agents dial for bulk data; absent: none is asked for. */
  readonly transfers?: Pick<Transfers, 'accept'>;
  readonly log: Logger;
}

export interface HubServer {
  /** Takes on a connection that is decrypted and begins with HTTP/2. */
  inject(socket: Socket): void;
  /** Ends every stream, and resolves when that is done. */
  close(): Promise<void>;
}

type Call = ServerDuplexStream<AgentMessage, OperatorMessage>;
type TransferCall = ServerDuplexStream<TransferFromAgent, TransferToAgent>;
type RelayCall = ServerDuplexStream<LeaderMessage, RelayMessage>;

const statusOf: Readonly<Record<StreamEnd, status>> = {
  FailedPrecondition: status.FAILED_PRECONDITION,
  Unauthenticated: status.UNAUTHENTICATED,
  PermissionDenied: status.PERMISSION_DENIED,
  Aborted: status.ABORTED,
  InvalidArgument: status.INVALID_ARGUMENT,
  ResourceExhausted: status.RESOURCE_EXHAUSTED,
  Unavailable: status.UNAVAILABLE,
};

/** An inventory part of a few thousand copies fits; more is not sent in one message. */
const longestMessage = 16 * 1024 * 1024;
/** An agent has one stream on a connection of its own, and its transfers of bulk data together on another. */
const streamsPerConnection = 256;

/** Serves AgentHub, and OperatorRelay for other pods, over gRPC on the connections that it is given. */
export function createHubServer(options: HubServerOptions): HubServer {
  const { hub, relay, transfers, log } = options;
  const grpc = new Server({
    'grpc.max_receive_message_length': longestMessage,
    'grpc.max_concurrent_streams': streamsPerConnection,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.http2.min_ping_interval_without_data_ms': 5_000,
  });
  grpc.addService(AgentHubService, {
    connect: (call: Call) => serve(hub, call, log),
    ...(transfers !== undefined && { transfer: (call: TransferCall) => transfers.accept(call) }),
  });
  if (relay !== undefined) grpc.addService(OperatorRelayService, { relay: (call: RelayCall) => serveRelay(relay, call, log) });
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  answerOthers(grpc);
  return {
    inject: (socket) => injector.injectConnection(socket),
    close: async () => {
      hub.close();
      relay?.close();
      await new Promise<void>((resolve) => grpc.tryShutdown(() => resolve()));
      injector.drain(0);
      injector.destroy();
    },
  };
}

/**
 * Requests over HTTP/2 that are not gRPC get a body that says what to do. gRPC has no public way to say so: without its method of this name they would
 * get its bare 415, which is right as well.
 */
function answerOthers(grpc: Server): void {
  const verify = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean => {
    if (headers['content-type']?.startsWith('application/grpc') === true) return true;
    const error = new ApiError('HttpVersionNotSupported');
    stream.respond({ ':status': error.status, 'content-type': 'application/json' });
    stream.end(`${JSON.stringify(errorBodyOf(error))}\n`);
    // Read and dropped, so that the client comes to the end of what it sends.
    stream.resume();
    return false;
  };
  Object.assign(grpc, { _verifyContentType: verify });
}

function serve(hub: Pick<Hub, 'accept'>, call: Call, log: Logger): void {
  const receiver = hub.accept(sideOf(call));
  listenTo(call, receiver, (reason) => log.debug({ reason }, 'Stream of an agent failed'));
}

function serveRelay(relay: Pick<RelayServing, 'accept'>, call: RelayCall, log: Logger): void {
  const receiver = relay.accept(sideOf(call));
  listenTo(call, receiver, (reason) => log.debug({ reason }, 'Stream of another operator pod failed'));
}

/** Our side of a stream. */
function sideOf<In, Out>(call: ServerDuplexStream<In, Out>) {
  return {
    token: bearerOf(call.metadata.get('authorization')[0]),
    send: (message: Out) => {
      if (!call.cancelled && !call.destroyed) call.write(message);
    },
    end: (code: StreamEnd, message: string) => {
      if (!call.cancelled && !call.destroyed) call.emit('error', { code: statusOf[code], details: message });
    },
  };
}

interface Receiver<In> {
  received(message: In): void;
  closed(reason: string): void;
}

function listenTo<In, Out>(call: ServerDuplexStream<In, Out>, receiver: Receiver<In>, failed: (reason: string) => void): void {
  call.on('data', (message: In) => receiver.received(message));
  call.on('end', () => {
    receiver.closed('the other side ended the stream');
    call.end();
  });
  call.on('cancelled', () => receiver.closed('the connection was lost'));
  call.on('error', (error: Error) => {
    failed(error.message);
    receiver.closed(error.message);
  });
}

function bearerOf(header: string | Buffer | undefined): string | undefined {
  const [scheme = '', token] = String(header ?? '').split(' ');
  return scheme.toLowerCase() === 'bearer' ? token : undefined;
}
