import { request as requestPlain, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { request as requestTls } from 'node:https';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseAddress, type Address } from '../../process/address.ts';
import type { Clock } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Metrics } from '../../process/metrics.ts';
import { ApiError } from './errors.ts';
import type { ApiAnswer, Outlet } from './operation.ts';

export interface ForwarderOptions {
  /** The other operator pods, as host:port of what agents dial. This pod's own address may be among them. */
  readonly peers: () => readonly string[];
  /** Where this pod serves the HTTP API when that has a port of its own, which is the same at all of them; undefined: where agents are served. */
  readonly apiListen: Address | undefined;
  /** The authorities that operators must be certified by, as they are now; undefined: plain text, for operators on this machine. */
  readonly ca: () => Buffer | undefined;
  /** The name in the operators' certificates, whatever address is dialled. */
  readonly serverName: string | undefined;
  readonly podName: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

/** A request as it came, to be made again at another pod. */
export interface ForwardedRequest {
  readonly id: string;
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly header: (name: string) => string | undefined;
  /** All of it, or as it comes: then it is taken by one pod at most. */
  readonly body: Buffer | AsyncIterable<Uint8Array> | undefined;
  readonly signal: AbortSignal;
}

/** Who has this header comes from another operator pod, and is sent to no third one. */
export const forwardedHeader = 'berth-forwarded-by';

/** What a caller says of itself and of its request. */
const passedOn = ['authorization', 'content-type', 'idempotency-key', 'accept'] as const;
const passedBack = ['location', 'retry-after', 'warning', 'www-authenticate', 'x-accel-buffering'] as const;
/** With these a pod says that it has done nothing, and that another one may do better. */
const notHere: ReadonlySet<string> = new Set([
  ...['RunnerUnreachable', 'NoRunner', 'NotReady', 'ShuttingDown', 'TooManyConnections', 'TlsRequired', 'GrpcOnly'],
]);
const connectMs = 2_000;
/** A pod that was not reached is asked last for so long. */
const shunnedMs = 10_000;
const largestAnswer = 4 * 1024 * 1024;

/**
 * Makes a request again at the other operator pods, for what this one can not do since it lacks the runner: with the caller's own token, so that each
 * of them asks for the caller's permissions itself.
 */
export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #shunned = new Map<string, number>();
  readonly #outcomes: Counter;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#outcomes = (options.metrics ?? noMetrics).counter({
      name: 'berth_http_forwarded_total',
      help: 'Requests that this pod passed on to others because it lacks the runner: Answered by one, NotReached by any, or Unknown.',
      labels: ['outcome'],
    });
  }

  /** The answer of the first pod that reaches the runner; undefined when none does and nothing was done. @throws ApiError `OutcomeUnknown` */
  async ask(request: ForwardedRequest): Promise<ApiAnswer | undefined> {
    for (const peer of this.#inOrder()) {
      request.signal.throwIfAborted();
      const answer = await this.#askOne(peer, request);
      if (answer === undefined) continue;
      this.#outcomes.inc({ outcome: 'Answered' });
      this.#options.log.debug({ requestID: request.id, peer }, 'Request answered by another operator pod');
      return answer;
    }
    this.#outcomes.inc({ outcome: 'NotReached' });
    return undefined;
  }

  #inOrder(): readonly string[] {
    const now = this.#options.clock.monotonic();
    for (const [peer, until] of this.#shunned) if (until <= now) this.#shunned.delete(peer);
    return this.#options.peers().toSorted((one, other) => Number(this.#shunned.has(one)) - Number(this.#shunned.has(other)));
  }

  /** Undefined: it was not reached, or does not reach the runner either. */
  async #askOne(peer: string, request: ForwardedRequest): Promise<ApiAnswer | undefined> {
    const { clock, log, apiListen } = this.#options;
    const address = parseAddress(peer);
    if (address === undefined) return undefined;
    const sent = { now: false };
    try {
      const response = await this.#send({ ...address, port: apiListen?.port ?? address.port }, request, () => (sent.now = true));
      return await answerOf(response, isRead(request));
    } catch (error) {
      request.signal.throwIfAborted();
      log.debug({ requestID: request.id, peer, said: messageOf(error) }, 'Operator pod not asked for another one');
      if (!sent.now) this.#shunned.set(peer, clock.monotonic() + shunnedMs);
      // What changes nothing may be asked elsewhere.
      if (!sent.now || isRead(request)) return undefined;
      this.#outcomes.inc({ outcome: 'Unknown' });
      throw new ApiError('OutcomeUnknown', 'The operator pod that was asked for it did not answer.', { cause: error });
    }
  }

  /** `onSent`: from now on it may have been done. */
  #send({ host, port }: Address, request: ForwardedRequest, onSent: () => void): Promise<IncomingMessage> {
    const { ca, serverName, podName, clock } = this.#options;
    const { method, url: path, header, body, signal, id } = request;
    const authority = ca();
    const given = passedOn.flatMap((name) => (header(name) === undefined ? [] : [[name, header(name)] as const]));
    const isWhole = body === undefined || body instanceof Buffer;
    const headers: OutgoingHttpHeaders = {
      ...Object.fromEntries(given),
      ...{ 'x-request-id': id, [forwardedHeader]: podName },
      // Nothing of what comes only once is sent to who does not take it.
      ...(isWhole ? { 'content-length': body?.length ?? 0 } : { expect: '100-continue', 'transfer-encoding': 'chunked' }),
    };
    const options = { host, port, method, path, headers, signal, agent: false as const };
    const tls = { ca: authority, ...(serverName !== undefined && isIP(serverName) === 0 && { servername: serverName }) };
    const outgoing = authority === undefined ? requestPlain(options) : requestTls({ ...options, ...tls });
    const timer = clock.after(connectMs, () => outgoing.destroy(new Error(`it was not reached within ${connectMs / 1000} s`)));
    return new Promise((resolve, reject) => {
      outgoing.on('error', reject).on('close', () => {
        timer.cancel();
        reject(new Error('the connection was closed'));
      });
      outgoing.on('response', resolve);
      outgoing.on('socket', (socket) =>
        socket.on(authority === undefined ? 'connect' : 'secureConnect', () => {
          timer.cancel();
          if (!isWhole) return;
          onSent();
          outgoing.end(body);
        }),
      );
      if (isWhole) return;
      outgoing.flushHeaders();
      outgoing.on('continue', () => {
        onSent();
        pipeline(Readable.from(body), outgoing).catch(reject);
      });
    });
  }
}

function isRead({ method }: ForwardedRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** Undefined: the pod has done nothing, since it does not reach the runner; or it can not tell, and what only reads may be asked elsewhere. */
async function answerOf(response: IncomingMessage, mayAskAgain: boolean): Promise<ApiAnswer | undefined> {
  const status = response.statusCode ?? 0;
  const contentType = response.headers['content-type'] ?? '';
  const named = passedBack.flatMap((name) => (typeof response.headers[name] === 'string' ? [[name, response.headers[name]] as const] : []));
  const headers = Object.fromEntries(named);
  if (!contentType.startsWith('application/json') && status === 200)
    return { status, contentType, headers, stream: (out) => pass(response, out) };
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > largestAnswer) throw new Error('the answer is too large');
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (text === '') return { status, headers };
  const body = JSON.parse(text) as { readonly error?: { readonly code?: unknown } };
  const code = String(body.error?.code);
  return notHere.has(code) || (mayAskAgain && code === 'OutcomeUnknown') ? undefined : { status, headers, body };
}

async function pass(response: IncomingMessage, out: Outlet): Promise<void> {
  for await (const chunk of response as AsyncIterable<Buffer>) await out.write(chunk);
  if (!response.complete) throw new ApiError('OutcomeUnknown', 'The other operator pod ended the answer before its end.');
}
