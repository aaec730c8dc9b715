import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { v4 as uuid } from 'uuid';
import { ApiError, errorBodyOf } from './errors.ts';
import { warningOf } from './body.ts';
import type { ApiAnswer, Outlet } from './operation.ts';

export interface ExchangeLimits {
  /** Of a JSON body. */
  readonly bodyBytes: number;
}

/** One request and its answer. */
export class Exchange implements Outlet {
  /** The caller's X-Request-Id if it is a sensible one, else a new one; every answer has it. */
  readonly id: string;
  /** Aborted when the caller has gone away or this pod ends. */
  readonly signal: AbortSignal;
  /** It is answered with a stream. */
  isStream = false;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #limits: ExchangeLimits;
  readonly #gone = new AbortController();
  #expectsContinue: boolean;
  #whole: Buffer | undefined;
  #hasBegun = false;

  constructor(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean, limits: ExchangeLimits, closing: AbortSignal) {
    this.#request = request;
    this.#response = response;
    this.#limits = limits;
    this.#expectsContinue = expectsContinue;
    const given = this.header('x-request-id') ?? '';
    this.id = /^[\w.:/+=-]{1,128}$/.test(given) ? given : uuid();
    this.signal = AbortSignal.any([this.#gone.signal, closing]);
    response.setHeader('X-Request-Id', this.id);
    response.on('close', () => {
      if (!response.writableFinished) this.#gone.abort(new Error('the caller has gone away'));
    });
    request.on('error', () => undefined);
    response.on('error', () => undefined);
  }

  get method(): string {
    return this.#request.method ?? '';
  }

  get url(): string {
    return this.#request.url ?? '';
  }

  get path(): string {
    return this.url.split('?', 1)[0] ?? '';
  }

  /** The parameters after the question mark; of one that is given twice the last. */
  get query(): Readonly<Record<string, string>> {
    return Object.fromEntries(new URLSearchParams(this.url.slice(this.path.length + 1)));
  }

  /** The caller reads no answer any more. */
  get isGone(): boolean {
    return this.#gone.signal.aborted;
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  setHeader(name: string, value: string): void {
    if (!this.#response.headersSent) this.#response.setHeader(name, value);
  }

  warn(unknown: readonly string[]): void {
    const warning = warningOf(unknown);
    if (warning !== undefined) this.setHeader('Warning', warning);
  }

  /** The whole body. @throws ApiError `BodyTooLarge` */
  async read(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.bytes(this.#limits.bodyBytes)) chunks.push(chunk);
    this.#whole = Buffer.concat(chunks);
    return this.#whole;
  }

  /** The body, if it was read as a whole. */
  get whole(): Buffer | undefined {
    return this.#whole;
  }

  /** Some of the body was read, and not kept. */
  get isSpent(): boolean {
    return this.#hasBegun && this.#whole === undefined;
  }

  /** The body as it comes. What is not read of it is dropped when the answer is sent. @throws ApiError `BodyTooLarge` */
  async *bytes(most: number): AsyncGenerator<Buffer> {
    const tooLarge = new ApiError('BodyTooLarge', `The body is larger than the ${most} bytes that are taken here.`, {
      details: { mostBytes: most },
    });
    if (Number(this.header('content-length') ?? 0) > most) throw tooLarge;
    this.#hasBegun = true;
    if (this.#expectsContinue) this.#response.writeContinue();
    this.#expectsContinue = false;
    let sum = 0;
    try {
      for await (const chunk of this.#request.iterator({ destroyOnReturn: false })) {
        sum += (chunk as Buffer).length;
        if (sum > most) throw tooLarge;
        yield chunk as Buffer;
      }
    } catch (error) {
      if (this.#request.errored !== null) throw new ApiError('RequestTimeout', 'The body did not arrive whole.', { cause: error });
      throw error;
    }
  }

  async send(answer: ApiAnswer): Promise<void> {
    const response = this.#response;
    for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
    if (!('stream' in answer)) {
      await this.#end(answer.status, answer.body);
      return;
    }
    this.isStream = true;
    response.writeHead(answer.status, { 'Content-Type': answer.contentType, 'Cache-Control': 'no-store' });
    response.flushHeaders();
    if (this.method !== 'HEAD') await answer.stream(this);
    response.end();
    await finished(response);
  }

  async write(chunk: string | Uint8Array): Promise<void> {
    this.signal.throwIfAborted();
    if (this.#response.write(chunk)) return;
    await once(this.#response, 'drain', { signal: this.signal });
  }

  /** Answers with an error; when an answer is on its way already, cuts it off, so that nobody takes it for whole. */
  fail(error: ApiError): void {
    if (this.#response.headersSent) {
      this.#response.destroy();
      return;
    }
    if (error.code === 'Unauthenticated') this.setHeader('WWW-Authenticate', 'Bearer');
    if (error.retryAfter !== undefined) this.setHeader('Retry-After', String(error.retryAfter));
    // Who waits for a word before it sends its body gets this answer and sends none: nothing can follow on the connection.
    if (this.#expectsContinue || error.code === 'ShuttingDown') this.setHeader('Connection', 'close');
    void this.#end(error.status, errorBodyOf(error, this.id));
  }

  async #end(status: number, body: object | undefined): Promise<void> {
    const response = this.#response;
    const text = body === undefined ? '' : `${JSON.stringify(body)}\n`;
    if (body !== undefined) response.setHeader('Content-Type', 'application/json');
    response.setHeader('Cache-Control', 'no-store');
    if (status !== 204) response.setHeader('Content-Length', Buffer.byteLength(text));
    response.writeHead(status);
    response.end(text);
    await finished(response);
  }
}

async function finished(response: ServerResponse): Promise<void> {
  if (response.writableFinished || response.destroyed) return;
  await new Promise<void>((resolve) => {
    response.once('finish', resolve);
    response.once('close', resolve);
  });
}
