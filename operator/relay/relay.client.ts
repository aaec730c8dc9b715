import { readFile } from 'node:fs/promises';
import { credentials, Metadata, status, type ClientDuplexStream, type ClientOptions, type ServiceError } from '@grpc/grpc-js';
import { OperatorRelayClient, type LeaderMessage, type RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import { isLoopback, parseAddress } from '../../process/address.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { PeerDialer, PeerEvents, PeerStream } from './stream.ts';

export interface GrpcPeerDialerOptions {
  /** The authorities that operators must be certified by, as they are now; undefined: plain text, for operators on this machine. */
  readonly ca: () => Buffer | undefined;
  /** The name in the operators' certificates, whatever address is dialled. */
  readonly serverName: string | undefined;
  /** Path of the bearer token; read at every dial, and again while the stream lives. Undefined: none is shown. */
  readonly tokenFile: string | undefined;
  readonly clock: Clock;
}

const longestMessage = 16 * 1024 * 1024;
/** The token's file is read so often: it is replaced long before it expires. */
const tokenMs = 60_000;

/** Dials other operator pods over gRPC. Keepalive notices a silent network. */
export function grpcPeerDialer(options: GrpcPeerDialerOptions): PeerDialer {
  return { dial: (address, events) => new GrpcPeerStream(address, events, options) };
}

/** @throws BerthError `InsecureDial` for a peer on another machine without an authority to verify it by. */
export function requireSecurePeers(peers: readonly string[], isVerified: boolean, service?: string): void {
  if (service !== undefined && !isVerified)
    throw new BerthError('InsecureDial', `The pods of the Service ${service} are on other machines: set BERTH_PEER_CA to verify them by.`);
  const insecure = isVerified ? undefined : peers.find((peer) => !isLoopback(parseAddress(peer)?.host ?? ''));
  if (insecure !== undefined)
    throw new BerthError('InsecureDial', `The operator pod ${insecure} is on another machine: set BERTH_PEER_CA to verify it by.`);
}

class GrpcPeerStream implements PeerStream {
  readonly #events: PeerEvents;
  readonly #options: GrpcPeerDialerOptions;
  readonly #client: OperatorRelayClient;
  #call: ClientDuplexStream<LeaderMessage, RelayMessage> | undefined;
  #early: LeaderMessage[] = [];
  #token: string | undefined;
  #timer: Timer | undefined;
  #hasEnded = false;

  constructor(address: string, events: PeerEvents, options: GrpcPeerDialerOptions) {
    this.#events = events;
    this.#options = options;
    const ca = options.ca();
    const channel = ca === undefined ? credentials.createInsecure() : credentials.createSsl(ca);
    this.#client = new OperatorRelayClient(address, channel, channelOptions(options.serverName));
    void this.#open();
  }

  send(message: LeaderMessage): void {
    if (this.#hasEnded) return;
    if (this.#call === undefined) this.#early.push(message);
    else this.#call.write(message);
  }

  close(): void {
    if (this.#hasEnded) return;
    this.#finish();
    this.#call?.end();
    this.#call?.cancel();
  }

  async #open(): Promise<void> {
    try {
      this.#token = await this.#readToken();
    } catch (error) {
      this.#ended(`The token can not be read: ${messageOf(error)}`);
      return;
    }
    if (this.#isEnded()) return;
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set('authorization', `Bearer ${this.#token}`);
    const call = this.#client.relay(metadata);
    this.#call = call;
    call.on('data', (message: RelayMessage) => {
      if (!this.#hasEnded) this.#events.received(message);
    });
    call.on('error', ({ code, details }: ServiceError) => this.#ended(`${status[code]}: ${details}`));
    call.on('end', () => this.#ended('The other operator pod ended the stream.'));
    for (const message of this.#early.splice(0)) call.write(message);
    this.#renewLater();
  }

  #renewLater(): void {
    this.#timer = this.#options.clock.after(tokenMs, () => {
      this.#renew().catch((error: unknown) => this.#ended(`The token can not be read: ${messageOf(error)}`));
    });
  }

  async #renew(): Promise<void> {
    const token = await this.#readToken();
    if (this.#isEnded()) return;
    if (token !== undefined && token !== this.#token) this.send({ message: { $case: 'tokenRenewal', value: { token } } });
    this.#token = token;
    this.#renewLater();
  }

  async #readToken(): Promise<string | undefined> {
    const { tokenFile } = this.#options;
    return tokenFile === undefined ? undefined : (await readFile(tokenFile, 'utf8')).trim();
  }

  #ended(reason: string): void {
    if (this.#hasEnded) return;
    this.#finish();
    this.#events.closed(reason);
  }

  #finish(): void {
    this.#hasEnded = true;
    this.#timer?.cancel();
    this.#client.close();
  }

  /** As a call, since the state changes while one awaits. */
  #isEnded(): boolean {
    return this.#hasEnded;
  }
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
