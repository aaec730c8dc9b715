import { sleep } from '../process/clock.ts';
import type { Clock, Random } from '../process/clock.ts';
import { messageOf } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import { noMetrics } from '../process/metrics.ts';
import type { Counter, Histogram, Metrics } from '../process/metrics.ts';
import type { KubeConnection } from './connection.ts';
import { decodeEvent, decodeObject, decodePage, parseJson, readLines } from './decode.ts';
import { KubeError, errorFromStatus, isKubeError } from './errors.ts';
import { HttpClient, NoAnswer, noAnswer } from './http.client.ts';
import type { HttpAnswer } from './http.client.ts';
import { isGone } from './object.ts';
import { collectionPath, listQuery, nameRequest, objectPath, query, scopeOf, watchQuery } from './path.ts';
import { parseRetryAfter, retryDelay } from './retry.ts';
import type { Attempt } from './retry.ts';
import type {
  DeleteOptions,
  DeleteResult,
  KubeObject,
  KubeTransport,
  ListOptions,
  Manifest,
  ObjectRef,
  Page,
  Patch,
  RequestOptions,
  Resource,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from './types.ts';

export interface TransportOptions {
  readonly connection: KubeConnection;
  readonly clock: Clock & { readonly anchor?: (serverTimeMs: number, roundTripMs: number) => void };
  readonly random: Random;
  readonly log: Logger;
  /** `berth-operator/0.1.0` */
  readonly userAgent: string;
  readonly metrics?: Metrics;
  /** Connections for requests; watches have their own. Default 32. */
  readonly connections?: number;
}

/** The real API server, over HTTP/1.1 connections that are kept alive. Feeds `clock.anchor` with the server's time. */
export interface HttpTransport extends KubeTransport {
  /** Breaks off what is under way. */
  close(): Promise<void>;
}

export function createTransport(options: TransportOptions): HttpTransport {
  return new UndiciTransport(options);
}

interface Call {
  readonly method: Attempt['method'];
  readonly path: string;
  readonly what: string;
  readonly body?: string | undefined;
  readonly contentType?: string;
}

const defaultTimeoutMs = 30_000;
const patchTypes: Readonly<Record<Patch['type'], string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
};

class UndiciTransport implements HttpTransport {
  readonly #options: TransportOptions;
  readonly #http: HttpClient;
  readonly #requests: Counter;
  readonly #duration: Histogram;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#http = new HttpClient(options.connection, options.connections ?? 32);
    const metrics = options.metrics ?? noMetrics;
    this.#requests = metrics.counter({
      name: 'rest_client_requests_total',
      help: 'Requests to the API server by result.',
      labels: ['method', 'code'],
    });
    this.#duration = metrics.histogram({
      name: 'rest_client_request_duration_seconds',
      help: 'Time from request to answer of the API server.',
      labels: ['method'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    });
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  async get(resource: Resource, ref: ObjectRef, options: RequestOptions = {}): Promise<KubeObject> {
    const what = nameRequest('GET', resource, ref);
    return decodeObject(what, resource, await this.#call({ method: 'GET', path: objectPath(resource, ref), what }, options));
  }

  async list(resource: Resource, options: ListOptions = {}): Promise<Page> {
    const what = nameRequest('LIST', resource, { ...(options.namespace === undefined ? {} : { namespace: options.namespace }) });
    const path = `${collectionPath(resource, options.namespace)}${listQuery(options)}`;
    return decodePage(what, resource, await this.#call({ method: 'GET', path, what }, options));
  }

  async create(resource: Resource, object: Manifest, options: WriteOptions = {}): Promise<KubeObject> {
    const what = nameRequest('POST', resource, object.metadata, options.subresource);
    const path = collectionPath(resource, scopeOf(resource, object.metadata));
    return decodeObject(what, resource, await this.#call({ method: 'POST', path, what, body: JSON.stringify(object) }, options));
  }

  async update(resource: Resource, object: KubeObject, options: WriteOptions = {}): Promise<KubeObject> {
    const what = nameRequest('PUT', resource, object.metadata, options.subresource);
    const path = objectPath(resource, object.metadata, options.subresource);
    return decodeObject(what, resource, await this.#call({ method: 'PUT', path, what, body: JSON.stringify(object) }, options));
  }

  async patch(resource: Resource, ref: ObjectRef, patch: Patch, options: WriteOptions = {}): Promise<KubeObject> {
    const what = nameRequest('PATCH', resource, ref, options.subresource);
    const parameters = patch.type === 'apply' ? query({ fieldManager: patch.fieldManager, force: patch.force }) : '';
    const path = `${objectPath(resource, ref, options.subresource)}${parameters}`;
    const call: Call = { method: 'PATCH', path, what, body: JSON.stringify(patch.body), contentType: patchTypes[patch.type] };
    return decodeObject(what, resource, await this.#call(call, options));
  }

  async delete(resource: Resource, ref: ObjectRef, options: DeleteOptions = {}): Promise<DeleteResult> {
    const what = nameRequest('DELETE', resource, ref);
    const { preconditions, propagationPolicy, gracePeriodSeconds } = options;
    const body = JSON.stringify({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions, propagationPolicy, gracePeriodSeconds });
    const raw = await this.#call({ method: 'DELETE', path: objectPath(resource, ref), what, body }, options);
    if ((raw as { readonly kind?: unknown } | null)?.kind === 'Status') return { kind: 'deleted' };
    const object = decodeObject(what, resource, raw);
    return object.metadata.deletionTimestamp === undefined || isGone(object.metadata) ? { kind: 'deleted' } : { kind: 'deleting', object };
  }

  createSubresource(resource: Resource, ref: ObjectRef, subresource: string, body: object, options: RequestOptions = {}): Promise<unknown> {
    const what = nameRequest('POST', resource, ref, subresource);
    return this.#call({ method: 'POST', path: objectPath(resource, ref, subresource), what, body: JSON.stringify(body) }, options);
  }

  post(path: string, body: object, options: RequestOptions = {}): Promise<unknown> {
    return this.#call({ method: 'POST', path, what: `POST ${path}`, body: JSON.stringify(body) }, options);
  }

  async *watch(resource: Resource, options: WatchOptions): AsyncGenerator<WatchEvent, void> {
    const what = nameRequest('WATCH', resource, { ...(options.namespace === undefined ? {} : { namespace: options.namespace }) });
    const path = `${collectionPath(resource, options.namespace)}${watchQuery(options)}`;
    const signal = options.signal ?? new AbortController().signal;
    try {
      const answer = await this.#exchange({ method: 'GET', path, what }, signal, true);
      if (answer.status !== 200) throw await this.#refused(what, answer);
      for await (const line of readLines(answer.chunks())) yield decodeEvent(what, resource, line);
    } catch (error) {
      if (signal.aborted) return;
      if (isKubeError(error, 'Unauthorized')) this.#options.connection.invalidate();
      if (error instanceof KubeError) throw error;
      throw error instanceof NoAnswer ? error.error : noAnswer(what, error).error;
    }
  }

  /** One request with its retries under one deadline. Returns the parsed body. */
  async #call(call: Call, { signal, timeoutMs = defaultTimeoutMs }: RequestOptions): Promise<unknown> {
    const { clock, random } = this.#options;
    const end = clock.monotonic() + timeoutMs;
    const deadline = new AbortController();
    const timer = clock.after(timeoutMs, () => deadline.abort(new KubeError('Timeout', `${call.what}: no answer within ${timeoutMs} ms`)));
    const either = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
    let renewed = false;
    try {
      for (let number = 1; ; number++) {
        const outcome = await this.#attempt(call, either);
        if (outcome.kind === 'answered') return outcome.body;
        const { error, sent } = outcome;
        const mayRenew: boolean = !renewed && isKubeError(error, 'Unauthorized');
        if (mayRenew) this.#options.connection.invalidate();
        renewed ||= mayRenew;
        const delay = mayRenew ? 0 : retryDelay({ method: call.method, error, sent, number, remainingMs: end - clock.monotonic() }, random);
        if (delay === undefined) throw error;
        this.#options.log.debug({ request: call.what, delayMs: Math.round(delay), reason: error.message }, 'Request again');
        if (delay > 0) await sleep(clock, delay, either);
      }
    } finally {
      timer.cancel();
    }
  }

  async #attempt(
    call: Call,
    signal: AbortSignal,
  ): Promise<
    { readonly kind: 'answered'; readonly body: unknown } | { readonly kind: 'failed'; readonly error: KubeError; readonly sent: boolean }
  > {
    try {
      const answer = await this.#exchange(call, signal, false);
      if (answer.status >= 200 && answer.status < 300) return { kind: 'answered', body: parseJson(call.what, await answer.text()) };
      return { kind: 'failed', error: await this.#refused(call.what, answer), sent: true };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof NoAnswer) return { kind: 'failed', error: error.error, sent: error.sent };
      if (error instanceof KubeError) throw error;
      return { kind: 'failed', error: noAnswer(call.what, error).error, sent: true };
    }
  }

  async #exchange(call: Call, signal: AbortSignal, open: boolean): Promise<HttpAnswer> {
    const { connection, clock, userAgent } = this.#options;
    signal.throwIfAborted();
    const { headers: credentials } = await connection.credentials().catch((cause: unknown) => {
      throw new KubeError('Unauthorized', `${call.what}: ${messageOf(cause)}`, { cause });
    });
    const headers = {
      accept: 'application/json',
      'user-agent': userAgent,
      ...(call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }),
      ...credentials,
    };
    const began = clock.monotonic();
    const count = (code: string) => this.#requests.inc({ method: open ? 'WATCH' : call.method, code });
    try {
      const request = { method: call.method, path: call.path, what: call.what, headers, body: call.body, signal };
      const answer = await (open ? this.#http.open(request) : this.#http.send(request));
      const took = clock.monotonic() - began;
      count(String(answer.status));
      if (!open) this.#duration.observe(took / 1000, { method: call.method });
      this.#follow(answer.header('date'), took);
      return answer;
    } catch (error) {
      count('none');
      throw error;
    }
  }

  #follow(date: string | undefined, roundTripMs: number): void {
    const serverTime = date === undefined ? Number.NaN : Date.parse(date);
    if (!Number.isNaN(serverTime)) this.#options.clock.anchor?.(serverTime, roundTripMs);
  }

  async #refused(what: string, answer: HttpAnswer): Promise<KubeError> {
    const text = await answer.text();
    return errorFromStatus(what, answer.status, statusOf(text), parseRetryAfter(answer.header('retry-after')));
  }
}

/** The Status object of a refusal, or one with the text that came instead (from a proxy, or the server's own filters). */
function statusOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text.trim().slice(0, 500) };
  }
}
