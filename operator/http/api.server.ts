import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Histogram, type Metrics } from '../../process/metrics.ts';
import { check, readJson, type Checked } from './body.ts';
import type { Caller, Callers, Subject } from './callers.client.ts';
import type { HttpErrorCode } from './error-table.ts';
import { ApiError, isCode } from './errors.ts';
import { Exchange } from './exchange.server.ts';
import { forwardedHeader, type Forwarder } from './forward.client.ts';
import type { ApiAnswer, ApiRequest, Operation } from './operation.ts';
import { refuseConnection } from './port.server.ts';
import { matchRoute, type Route } from './route.ts';

export interface ApiServerOptions {
  readonly operations: readonly Operation[];
  readonly callers: Callers;
  /** Asks the other operator pods; absent: there are none. */
  readonly forwarder?: Pick<Forwarder, 'ask'>;
  /** Why this pod can not tell yet what there is, in a sentence's second half: until it can, it says NotReady to all who are asked who they are. */
  readonly notReady?: () => string | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly limits?: Partial<ApiLimits>;
}

export interface ApiLimits {
  /** Of a JSON body. Default 256 KiB. */
  readonly bodyBytes: number;
  /** Of a body that is read as it comes. Default 16 MiB. */
  readonly streamBytes: number;
  /** Until a header has arrived. Default 10,000 ms. */
  readonly headersMs: number;
  /** Until a whole request has arrived. Default 60,000 ms. */
  readonly requestMs: number;
  /** Between requests on one connection. Default 60,000 ms. */
  readonly idleMs: number;
  /** Connections at once. Default 4,096. */
  readonly connections: number;
}

export interface ApiServer {
  /** Takes on a connection that is decrypted and of which nothing has been read. */
  inject(socket: Socket): void;
  /** Answers what is asked from now on with ShuttingDown, ends what waits, and resolves when every answer is sent. */
  close(): Promise<void>;
}

const standardLimits: ApiLimits = {
  bodyBytes: 256 * 1024,
  streamBytes: 16 * 1024 * 1024,
  headersMs: 10_000,
  requestMs: 60_000,
  idleMs: 60_000,
  connections: 4_096,
};
const longestUri = 8 * 1024;
const headerBytes = 16 * 1024;

/** The HTTP/1.1 API on the connections that it is given. Every answer that is no success is one of `httpErrors`. */
export function createApiServer(options: ApiServerOptions): ApiServer {
  return new HttpApi(options);
}

class HttpApi implements ApiServer {
  readonly #options: ApiServerOptions;
  readonly #limits: ApiLimits;
  readonly #operations: ReadonlyMap<Route, Operation>;
  readonly #server: Server;
  readonly #closing = new AbortController();
  readonly #sockets = new Set<Socket>();
  readonly #requests: Counter;
  readonly #seconds: Histogram;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#limits = { ...standardLimits, ...options.limits };
    this.#operations = new Map(options.operations.map((operation) => [operation.route, operation]));
    const metrics = options.metrics ?? noMetrics;
    this.#requests = metrics.counter({
      name: 'berth_http_requests_total',
      help: 'Requests to the HTTP API, by route and by the code of the answer: OK, or that of an error.',
      labels: ['route', 'code'],
    });
    this.#seconds = metrics.histogram({
      name: 'berth_http_request_seconds',
      help: 'How long answers took from the header of the request to the last byte, without streams.',
      labels: ['route'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    });
    const { headersMs, requestMs, idleMs } = this.#limits;
    this.#server = createServer({
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: Math.min(1_000, headersMs),
      maxHeaderSize: headerBytes,
      requireHostHeader: false,
      insecureHTTPParser: false,
    });
    this.#server.on('request', (request, response) => void this.#serve(request, response, false));
    this.#server.on('checkContinue', (request, response) => void this.#serve(request, response, true));
    this.#server.on('checkExpectation', (request, response) => this.#refuse(request, response, new ApiError('ExpectationFailed')));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#answerUnread(error, socket));
    this.#server.on('connect', (_, socket) => refuseConnection(socket, 'MethodNotAllowed', options.clock));
    // It listens nowhere itself: this is what makes it look for requests that take too long.
    this.#server.emit('listening');
  }

  inject(socket: Socket): void {
    if (this.#sockets.size >= this.#limits.connections) {
      refuseConnection(socket, 'TooManyConnections', this.#options.clock);
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    this.#server.emit('connection', socket);
  }

  async close(): Promise<void> {
    this.#closing.abort(new ApiError('ShuttingDown'));
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#server.close();
    for (const socket of this.#sockets) socket.destroySoon();
  }

  async #serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<void> {
    const exchange = new Exchange(request, response, expectsContinue, this.#limits, this.#closing.signal);
    const start = this.#options.clock.monotonic();
    this.#running++;
    const outcome: { route: string; caller?: string; code: HttpErrorCode | 'OK' | 'Gone' } = { route: 'none', code: 'OK' };
    try {
      await this.#answer(exchange, outcome);
    } catch (error) {
      outcome.code = this.#failed(exchange, error);
    }
    this.#running--;
    if (this.#running === 0) this.#idle?.();
    const ms = this.#options.clock.monotonic() - start;
    this.#requests.inc({ route: outcome.route, code: outcome.code });
    if (!exchange.isStream) this.#seconds.observe(ms / 1000, { route: outcome.route });
    const { method } = request;
    this.#options.log.info(
      { requestID: exchange.id, method, ...outcome, status: response.statusCode, ms: Math.round(ms) },
      'Request served',
    );
  }

  async #answer(exchange: Exchange, outcome: { route: string; caller?: string }): Promise<void> {
    if (this.#closing.signal.aborted) throw new ApiError('ShuttingDown');
    const route = this.#routeOf(exchange);
    outcome.route = route.route.id;
    const operation = this.#operations.get(route.route);
    if (operation === undefined) throw new ApiError('NotFound');
    const { permission, query: querySchema, params: paramSchema, mostBytes = this.#limits.streamBytes } = route.route;
    const { callers } = this.#options;
    const notReady = permission === undefined ? undefined : this.#options.notReady?.();
    if (notReady !== undefined) throw new ApiError('NotReady', `This operator pod has just started, and ${notReady}: ask another one.`);
    const caller = permission === undefined ? nobody : await callers.identify(exchange.header('authorization'));
    if (permission !== undefined) outcome.caller = caller.username;
    const params = paramSchema === undefined ? undefined : check(paramSchema, route.params, 'path').value;
    const query = querySchema === undefined ? nothingUnknown : check(querySchema, exchange.query, 'query');
    const body = await bodyOf(route.route, exchange);
    const idempotencyKey = keyOf(exchange.header('idempotency-key'));
    const authorize = (subject: Subject) => (permission === undefined ? Promise.resolve() : callers.authorize(caller, permission, subject));
    if (operation.authorizesItself !== true) {
      const subject = operation.subjectOf?.({ params, query: query.value, body: body.value }) ?? {};
      await authorize(subject);
    }
    exchange.warn([...query.unknown, ...body.unknown]);
    const { id, signal } = exchange;
    const elsewhere = this.#elsewhere(exchange, route.route);
    const answer = await orElsewhere(operation, exchange, {
      ...{ id, caller, params, query: query.value, body: body.value, idempotencyKey, signal, authorize },
      bytes: () => exchange.bytes(mostBytes),
      ...(elsewhere !== undefined && { elsewhere }),
    });
    await exchange.send(answer);
  }

  #elsewhere(exchange: Exchange, { body: kind, mostBytes = this.#limits.streamBytes }: Route): ApiRequest['elsewhere'] {
    const { forwarder } = this.#options;
    if (forwarder === undefined || exchange.header(forwardedHeader) !== undefined) return undefined;
    return (query = {}) => {
      const { id, method, path, signal } = exchange;
      const parameters = new URLSearchParams({ ...exchange.query, ...query }).toString();
      const body = kind === 'Bytes' ? exchange.bytes(mostBytes) : exchange.whole;
      const url = parameters === '' ? path : `${path}?${parameters}`;
      return forwarder.ask({ id, method, url, header: (name) => exchange.header(name), body, signal });
    };
  }

  #routeOf(exchange: Exchange): { readonly route: Route; readonly params: Readonly<Record<string, string>> } {
    if (exchange.url.length > longestUri) throw new ApiError('UriTooLong');
    const match = matchRoute([...this.#operations.keys()], exchange.method, exchange.path);
    if (match.kind === 'NotFound') throw new ApiError('NotFound');
    if (match.kind === 'OtherMethod') {
      exchange.setHeader('Allow', match.allowed.join(', '));
      throw new ApiError('MethodNotAllowed', `At this path there is only ${match.allowed.join(' and ')}.`);
    }
    return match;
  }

  /** Answers with what was thrown. Returns its code. */
  #failed(exchange: Exchange, error: unknown): HttpErrorCode | 'Gone' {
    if (exchange.isGone) return 'Gone';
    const known = error instanceof ApiError ? error : new ApiError('Internal', undefined, { cause: error });
    if (known.code === 'Internal') this.#options.log.error({ err: error, requestID: exchange.id }, 'Request failed');
    exchange.fail(known);
    return known.code;
  }

  /** No request could be read: whatever is wrong is said, and the connection ends. */
  #answerUnread(error: NodeJS.ErrnoException, socket: Duplex): void {
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else refuseConnection(socket, unreadCodes[error.code ?? ''] ?? 'BadRequest', this.#options.clock);
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: ApiError): void {
    new Exchange(request, response, false, this.#limits, this.#closing.signal).fail(error);
  }
}

/** What this pod can not do, since it lacks the runner, and has not begun, another one may do. */
async function orElsewhere(operation: Operation, exchange: Exchange, request: ApiRequest): Promise<ApiAnswer> {
  try {
    return await operation.serve(request);
  } catch (error) {
    if (!isCode(error, 'RunnerUnreachable', 'NoRunner') || request.elsewhere === undefined || exchange.isSpent) throw error;
    const answer = await request.elsewhere();
    if (answer === undefined) throw error;
    return answer;
  }
}

const nobody: Caller = { username: '', user: undefined };
const nothingUnknown: Checked<object> = { value: {}, unknown: [] };

async function bodyOf({ body }: Route, exchange: Exchange): Promise<Checked<unknown>> {
  if (body === undefined || body === 'Bytes') return { value: undefined, unknown: [] };
  const bytes = await exchange.read();
  return check(body, readJson(bytes, exchange.header('content-type')), 'body');
}

function keyOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (/^[\x21-\x7e]{1,128}$/.test(header)) return header;
  throw new ApiError('InvalidRequest', 'The Idempotency-Key must be 1 to 128 visible ASCII characters.');
}

const unreadCodes: Readonly<Record<string, HttpErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'HeadersTooLarge',
  ERR_HTTP_REQUEST_TIMEOUT: 'RequestTimeout',
};
