import { createServer as createPlainServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { isLoopback } from '../../process/address.ts';
import type { Clock } from '../../process/clock.ts';
import { BerthError } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { TlsReloader } from '../../process/tls.ts';
import { chooseAlpn, decideProtocol, type Protocol } from './decide-protocol.ts';
import type { HttpErrorCode } from './error-table.ts';
import { rawAnswer } from './errors.ts';

/** Takes on connections that are decrypted and of which nothing has been read. */
export type Injector = (socket: Socket) => void;

export interface PortOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Undefined: plain text, which is allowed on the loopback interface only. */
  readonly tls: TlsReloader | undefined;
  /** Plain text is allowed everywhere: for a network in which everybody is trusted. */
  readonly isUnsafeAllowed?: boolean;
  /** Who serves HTTP/2; undefined: nobody does here. */
  readonly http2: Injector | undefined;
  /** Who serves HTTP/1.1; undefined: nobody does here. */
  readonly http1: Injector | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Port {
  readonly host: string;
  readonly port: number;
  /**
   * Takes no more connections, drops those that have not said yet what they speak, and when `finish` has ended the others, whatever is left.
   * Resolves when all are closed.
   */
  close(finish: () => Promise<unknown>): Promise<void>;
}

/** A connection that has not said by then what it speaks is dropped. */
const decisionMs = 10_000;
/** Connections that may be undecided at once; one more, and the oldest goes. */
const mostUndecided = 1024;
/** After an answer to what is not spoken here the other side has so long to read it. */
const lingerMs = 2_000;

/**
 * One port for gRPC and for JSON: under TLS by what the client offers (ALPN), without TLS by the first bytes. Certificates are taken as they are when a
 * connection begins. Rejects with `ListenFailed`, or `InsecureListen` for plain text anywhere but on the loopback interface.
 */
export async function openPort(options: PortOptions): Promise<Port> {
  const { host, port, tls, isUnsafeAllowed = false, log } = options;
  if (tls === undefined && !isUnsafeAllowed && !isLoopback(host)) {
    throw new BerthError(
      'InsecureListen',
      `Without TLS the operator listens only on the loopback interface, not on ${host}: set a certificate and key.`,
    );
  }
  const secured = tls === undefined ? undefined : tlsServer(tls, options);
  const connections = new Connections(options, secured);
  const listener = createPlainServer({ noDelay: true }, (socket) => connections.add(socket));
  const address = await listen(listener, host, port);
  listener.on('error', (err: Error) => log.error({ err }, 'Port failed'));
  return {
    host: address.address,
    port: address.port,
    close: async (finish) => {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      connections.dropUndecided();
      await finish();
      connections.dropAll();
      await closed;
    },
  };
}

/** Connections from the first moment on: each waits for its first bytes, and is then handed on. */
class Connections {
  readonly #options: PortOptions;
  readonly #secured: TlsServer | undefined;
  readonly #all = new Set<Socket>();
  /** In the order in which they came. */
  readonly #undecided = new Set<Socket>();

  constructor(options: PortOptions, secured: TlsServer | undefined) {
    this.#options = options;
    this.#secured = secured;
  }

  add(socket: Socket): void {
    this.#all.add(socket);
    this.#undecided.add(socket);
    const [oldest] = this.#undecided;
    if (this.#undecided.size > mostUndecided) oldest?.destroy();
    const timer = this.#options.clock.after(decisionMs, () => socket.destroy());
    const read = () => {
      const first = socket.read() as Buffer | null;
      if (first === null) return;
      const protocol = decideProtocol(first);
      socket.unshift(first);
      if (protocol === 'Undecided') return;
      socket.off('readable', read);
      timer.cancel();
      this.#undecided.delete(socket);
      this.#injectorFor(protocol)(socket);
    };
    socket.on('readable', read);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      timer.cancel();
      this.#undecided.delete(socket);
      this.#all.delete(socket);
    });
  }

  dropUndecided(): void {
    for (const socket of this.#undecided) socket.destroy();
  }

  dropAll(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #injectorFor(protocol: Exclude<Protocol, 'Undecided'>): Injector {
    const { clock } = this.#options;
    const secured = this.#secured;
    if (secured === undefined) return protocol === 'Http2' ? http2Of(this.#options) : http1Of(this.#options);
    return protocol === 'Tls'
      ? (socket) => void secured.emit('connection', socket)
      : (socket) => refuseConnection(socket, 'TlsRequired', clock);
  }
}

/** Answers who speaks what is not spoken here, so that they know, and gives them time to read it. */
export function refuseConnection(socket: Duplex, code: HttpErrorCode, clock: Clock): void {
  socket.on('error', () => socket.destroy());
  socket.end(rawAnswer(code));
  socket.resume();
  const timer = clock.after(lingerMs, () => socket.destroy());
  socket.on('close', () => timer.cancel());
}

function http1Of({ http1, clock }: PortOptions): Injector {
  return http1 ?? ((socket) => refuseConnection(socket, 'GrpcOnly', clock));
}

function http2Of({ http2 }: PortOptions): Injector {
  return http2 ?? ((socket) => void socket.destroy());
}

function tlsServer(tls: TlsReloader, options: PortOptions): TlsServer {
  const { cert, key } = tls.current();
  const server = createTlsServer({
    cert,
    key,
    ALPNCallback: ({ protocols }) => chooseAlpn(protocols, { http1: options.http1 !== undefined, http2: options.http2 !== undefined }),
    minVersion: 'TLSv1.2',
    handshakeTimeout: decisionMs,
  });
  server.on('secureConnection', (socket) => {
    const serve = socket.alpnProtocol === 'h2' ? http2Of(options) : http1Of(options);
    serve(socket);
  });
  server.on('tlsClientError', (_, socket) => socket.destroy());
  tls.onChange((material) => server.setSecureContext({ cert: material.cert, key: material.key }));
  return server;
}

function listen(listener: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    listener.once('error', (cause: Error) => {
      reject(new BerthError('ListenFailed', `Cannot listen on ${host}:${port}: ${cause.message}. Choose another address.`, { cause }));
    });
    listener.listen(port, host, () => resolve(listener.address() as AddressInfo));
  });
}
