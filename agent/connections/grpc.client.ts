import { credentials, Metadata, status } from '@grpc/grpc-js';
import type { ChannelCredentials, ClientOptions, ServiceError } from '@grpc/grpc-js';
import { AgentHubClient } from '../proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, OperatorMessage } from '../proto/gen/berth/agent/v1/agent.ts';
import type { TransferHello, TransferToAgent } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TransferEvents, TransferStream } from '../tasks/peer.ts';
import type { Dialer, OperatorStream, StreamEnd, StreamEvents } from './stream.ts';

export interface GrpcDialerOptions {
  /** The authorities that operators must be certified by, as they are now; undefined: plain text, for operators on this machine. */
  readonly ca: () => Buffer | undefined;
  /** The name in the operators' certificates, whatever address is dialled. */
  readonly serverName: string | undefined;
}

/** Orders and configurations are far smaller. */
const longestMessage = 16 * 1024 * 1024;
const refusals = new Set<number>([
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.INVALID_ARGUMENT,
  status.UNIMPLEMENTED,
]);

/** Dials operators over gRPC. Every stream has its own connection, so that none waits for another; keepalive notices a silent network. */
export function grpcDialer(options: GrpcDialerOptions): Dialer {
  return { dial: (address, token, events) => new GrpcStream(address, token, events, options) };
}

class GrpcStream implements OperatorStream {
  readonly #client: AgentHubClient;
  readonly #call: ReturnType<AgentHubClient['connect']>;
  readonly #events: StreamEvents;
  /** For transfers, and made with the first of them. */
  readonly #bulk: () => AgentHubClient;
  #bulkClient: AgentHubClient | undefined;
  readonly #metadata: Metadata;
  #hasEnded = false;

  constructor(address: string, token: string | undefined, events: StreamEvents, options: GrpcDialerOptions) {
    this.#events = events;
    this.#bulk = () => new AgentHubClient(address, channelCredentials(options.ca()), channelOptions(options.serverName));
    this.#client = new AgentHubClient(address, channelCredentials(options.ca()), channelOptions(options.serverName));
    const metadata = new Metadata();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    this.#metadata = metadata;
    this.#call = this.#client.connect(metadata);
    this.#call.on('data', (message: OperatorMessage) => {
      if (!this.#hasEnded) events.received(message);
    });
    this.#call.on('drain', () => {
      if (!this.#hasEnded) events.drained();
    });
    this.#call.on('error', (error: ServiceError) => this.#ended(endOf(error)));
    this.#call.on('end', () => this.#ended({ kind: 'Lost', message: 'The operator ended the stream.' }));
  }

  send(message: AgentMessage): boolean {
    return this.#hasEnded || this.#call.write(message);
  }

  transfer(hello: TransferHello, events: TransferEvents): TransferStream {
    this.#bulkClient ??= this.#bulk();
    return openTransfer(this.#bulkClient, this.#metadata, hello, events);
  }

  close(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#call.end();
    this.#call.cancel();
    this.#closeClients();
  }

  #closeClients(): void {
    this.#client.close();
    this.#bulkClient?.close();
  }

  #ended(end: StreamEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#closeClients();
    this.#events.closed(end);
  }
}

function openTransfer(client: AgentHubClient, metadata: Metadata, hello: TransferHello, events: TransferEvents): TransferStream {
  const call = client.transfer(metadata);
  let hasEnded = false;
  let wake: () => void = () => undefined;
  const closed = (problem: string | undefined) => {
    if (hasEnded) return;
    hasEnded = true;
    wake();
    events.closed(problem);
  };
  call.on('data', (message: TransferToAgent) => events.received(message));
  call.on('drain', () => wake());
  call.on('error', (error: ServiceError) => closed(error.details));
  call.on('end', () => closed(undefined));
  call.write({ message: { $case: 'hello', value: hello } });
  return {
    send: async (message) => {
      if (hasEnded) throw new Error('the transfer has ended');
      if (call.write(message)) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    },
    end: () => call.end(),
    pause: () => call.pause(),
    resume: () => call.resume(),
  };
}

function channelCredentials(ca: Buffer | undefined): ChannelCredentials {
  return ca === undefined ? credentials.createInsecure() : credentials.createSsl(ca);
}

function channelOptions(serverName: string | undefined): ClientOptions {
  return {
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_receive_message_length': longestMessage,
    'grpc.max_send_message_length': longestMessage,
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
  };
}

function endOf({ code, details }: ServiceError): StreamEnd {
  return { kind: refusals.has(code) ? 'Refused' : 'Lost', message: `${status[code]}: ${details}` };
}
