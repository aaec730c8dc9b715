import { Pool, buildConnector } from 'undici';
import type { Dispatcher } from 'undici';
import { unlessAborted } from '../process/abort.ts';
import { messageOf } from '../process/errors.ts';
import type { KubeConnection, TlsSettings } from './connection.ts';
import { KubeError } from './errors.ts';

export interface HttpRequest {
  readonly method: Dispatcher.HttpMethod;
  /** With the query. */
  readonly path: string;
  /** Names the request in errors. */
  readonly what: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  text(): Promise<string>;
  /** The body as it comes; leaving the loop ends the connection. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** No answer came. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  readonly error: KubeError;
  /** False when the connection was never made, so that the server cannot have seen the request. */
  readonly sent: boolean;

  constructor(error: KubeError, sent: boolean) {
    super(error.message, { cause: error });
    this.error = error;
    this.sent = sent;
  }
}

/** Connections to one server, kept alive. `verbs` has a bounded number; a watch holds its own for as long as it lasts. */
export class HttpClient {
  readonly #verbs: Pool;
  readonly #watches: Pool;
  readonly #prefix: string;

  constructor(connection: KubeConnection, connections: number) {
    const { origin, pathname } = new URL(connection.server);
    this.#prefix = pathname === '/' ? '' : pathname;
    const connect = connector(connection);
    /** The deadline of every request is the transport's: undici's own timers are off. */
    const common = {
      connect,
      allowH2: false,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
      keepAliveMaxTimeout: 60_000,
    };
    this.#verbs = new Pool(origin, { ...common, connections });
    this.#watches = new Pool(origin, { ...common, connections: null, headersTimeout: 30_000 });
  }

  send(request: HttpRequest): Promise<HttpAnswer> {
    return this.#send(this.#verbs, request);
  }

  /** For answers without end. */
  open(request: HttpRequest): Promise<HttpAnswer> {
    return this.#send(this.#watches, request);
  }

  async close(): Promise<void> {
    await Promise.all([this.#verbs.destroy(), this.#watches.destroy()]);
  }

  async #send(pool: Pool, { method, path, what, headers, body, signal }: HttpRequest): Promise<HttpAnswer> {
    try {
      const request = { method, path: `${this.#prefix}${path}`, headers: { ...headers }, body: body ?? null, signal };
      // undici looks at the signal of a request only once there is a connection for it, which may take as long as connecting may.
      const answer = await unlessAborted(pool.request(request), signal);
      return {
        status: answer.statusCode,
        header: (name) => {
          const value = answer.headers[name];
          return Array.isArray(value) ? value[0] : value;
        },
        text: () => answer.body.text(),
        chunks: () => answer.body,
      };
    } catch (cause) {
      throw noAnswer(what, cause);
    }
  }
}

const neverConnected = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** What a failed exchange means to the caller. */
export function noAnswer(what: string, cause: unknown): NoAnswer {
  const code = (cause as { readonly code?: unknown } | null)?.code;
  const error = new KubeError('Unreachable', `${what}: the API server gives no answer: ${messageOf(cause) || String(code)}`, { cause });
  return new NoAnswer(error, !(typeof code === 'string' && neverConnected.has(code)));
}

/** Connects with the credentials of the moment; the TLS session cache is kept while they stay the same. */
function connector(connection: KubeConnection): buildConnector.connector {
  let built: { readonly tls: TlsSettings; readonly connect: buildConnector.connector } | undefined;
  return (options, callback) => {
    connection.credentials().then(
      ({ tls }) => {
        if (built === undefined || !sameTls(built.tls, tls)) built = { tls, connect: buildConnector(connectOptions(tls)) };
        built.connect(options, callback);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

/** A peer that is gone without a word is noticed after about 25 s: the kernel asks after 15 s of silence, ten times, every second. */
function connectOptions(tls: TlsSettings): buildConnector.BuildOptions {
  const given = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)) as buildConnector.BuildOptions;
  return { ...given, allowH2: false, keepAlive: true, keepAliveInitialDelay: 15_000, timeout: 10_000 };
}

function sameTls(a: TlsSettings, b: TlsSettings): boolean {
  const same = (x: string | Buffer | undefined, y: string | Buffer | undefined) => String(x) === String(y);
  return (
    same(a.ca, b.ca) &&
    same(a.cert, b.cert) &&
    same(a.key, b.key) &&
    a.servername === b.servername &&
    a.rejectUnauthorized === b.rejectUnauthorized
  );
}
