import { createServer as createPlainServer, type AddressInfo, type Server as PlainServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { Server, ServerCredentials, status, type ServerDuplexStream } from '@grpc/grpc-js';
import { AgentHubService, type AgentMessage, type OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { OperatorRelayService, type LeaderMessage, type RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import { isLoopback } from '../../process/address.ts';
import { BerthError } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { TlsReloader } from '../../process/tls.ts';
import type { RelayServing } from '../relay/serving.server.ts';
import type { Hub } from './controller.ts';
import type { StreamEnd } from './stream.ts';

export interface HubServerOptions {
  readonly hub: Pick<Hub, 'accept' | 'close'>;
  /** What other operator pods dial; absent: nothing is relayed for them. */
  readonly relay?: Pick<RelayServing, 'accept' | 'close'>;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Undefined: plain text, which is allowed on the loopback interface only. */
  readonly tls: TlsReloader | undefined;
  readonly log: Logger;
}

export interface HubServer {
  readonly host: string;
  readonly port: number;
  /** Ends every stream, and resolves when the port is closed. */
  close(): Promise<void>;
}

type Call = ServerDuplexStream<AgentMessage, OperatorMessage>;
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
/** An agent has one stream on a connection of its own; the others are room for a stream that replaces it. */
const streamsPerConnection = 8;
/** A connection that does not finish its TLS handshake is dropped. */
const handshakeMs = 10_000;

/**
 * Serves AgentHub, and OperatorRelay for other pods, over gRPC. Listens itself and hands decrypted connections to gRPC, so that a new certificate counts from the next
 * connection on. Rejects with `ListenFailed`, or `InsecureListen` for plain text anywhere but on the loopback interface.
 */
export async function startHubServer(options: HubServerOptions): Promise<HubServer> {
  const { hub, relay, host, port, tls, log } = options;
  if (tls === undefined && !isLoopback(host)) {
    throw new BerthError(
      'InsecureListen',
      `Without TLS the operator listens only on the loopback interface, not on ${host}: set a certificate and key.`,
    );
  }
  const grpc = new Server({
    'grpc.max_receive_message_length': longestMessage,
    'grpc.max_concurrent_streams': streamsPerConnection,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.http2.min_ping_interval_without_data_ms': 5_000,
  });
  grpc.addService(AgentHubService, { connect: (call: Call) => serve(hub, call, log) });
  if (relay !== undefined) grpc.addService(OperatorRelayService, { relay: (call: RelayCall) => serveRelay(relay, call, log) });
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = listenerFor(tls, (socket) => injector.injectConnection(socket));
  const address = await listen(listener, host, port);
  listener.on('error', (err: Error) => log.error({ err }, 'Port for agents failed'));
  return {
    host: address.address,
    port: address.port,
    close: async () => {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      hub.close();
      relay?.close();
      await new Promise<void>((resolve) => grpc.tryShutdown(() => resolve()));
      injector.drain(0);
      injector.destroy();
      await closed;
    },
  };
}

function listenerFor(tls: TlsReloader | undefined, connected: (socket: Socket) => void): PlainServer | TlsServer {
  if (tls === undefined) return createPlainServer(connected);
  const { cert, key } = tls.current();
  const server = createTlsServer({ cert, key, ALPNProtocols: ['h2'], minVersion: 'TLSv1.2', handshakeTimeout: handshakeMs });
  server.on('secureConnection', (socket) => {
    if (socket.alpnProtocol === 'h2') connected(socket);
    else socket.destroy();
  });
  tls.onChange((material) => server.setSecureContext({ cert: material.cert, key: material.key }));
  return server;
}

function listen(listener: PlainServer | TlsServer, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    listener.once('error', (cause: Error) => {
      reject(
        new BerthError('ListenFailed', `Cannot listen for agents on ${host}:${port}: ${cause.message}. Choose another address.`, { cause }),
      );
    });
    listener.listen(port, host, () => resolve(listener.address() as AddressInfo));
  });
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
