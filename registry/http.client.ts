import { rootCertificates } from 'node:tls';
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import { unlessAborted } from '../process/abort.ts';
import { parseAddress, isLoopback } from '../process/address.ts';
import { RegistryError, noAnswer } from './errors.ts';

export interface HttpOptions {
  readonly userAgent: string;
  /** PEM of authorities besides those that everybody trusts. Asked at every request. Default: none. */
  readonly ca?: (() => Buffer | undefined) | undefined;
  /** Hosts, with their port, that speak plain HTTP. */
  readonly plainHttp: readonly string[];
  readonly connectMs: number;
  /** Silence of the other end that ends a request. */
  readonly quietMs: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'DELETE';
  /** Names the request in errors. */
  readonly what: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent to the host of the URL only: never to where it redirects. */
  readonly authorization: string | undefined;
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** It came from where the registry sent the request on to. */
  readonly isRedirected: boolean;
  header(name: string): string | undefined;
  /** The body as it comes; leaving the loop ends the connection. */
  chunks(): AsyncIterable<Uint8Array>;
  /** At most `limit` bytes of the body; undefined when there are more. */
  read(limit: number): Promise<Buffer | undefined>;
  /** Reads the body and forgets it. */
  discard(): Promise<void>;
}

const maxRedirects = 5;

/** Requests to registries, their token servers and their stores, with redirects followed under the rules of credentials and of plain HTTP. */
export class RegistryHttp {
  readonly #options: HttpOptions;
  #agent: Agent | undefined;
  #ca: string | undefined;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /**
   * `https://host`, or `http://host` for those that were named, and for this machine unless there are authorities for TLS: who gives them
   * means to use it.
   */
  originOf(host: string): string {
    const isPlain = this.#options.plainHttp.includes(host) || (isLoopbackHost(host) && this.#options.ca?.() === undefined);
    return `${isPlain ? 'http' : 'https'}://${host}`;
  }

  /** Rejects with a RegistryError when no answer comes, and with the signal's reason when it is aborted. */
  async send(start: URL, request: HttpRequest): Promise<HttpAnswer> {
    for (let url = start, hops = 0; ; hops++) {
      const answer = await this.#once(url, { ...request, authorization: url.origin === start.origin ? request.authorization : undefined });
      const location = [301, 302, 303, 307, 308].includes(answer.statusCode) ? headerOf(answer, 'location') : undefined;
      if (location === undefined) return answerOf(request.what, answer, hops > 0);
      await answer.body.dump();
      if (hops >= maxRedirects || !URL.canParse(location, url.href))
        throw new RegistryError(
          'Unavailable',
          `${request.what}: the registry sends the request on without end: look what serves this address.`,
        );
      url = new URL(location, url);
    }
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    await this.#agent?.destroy();
  }

  async #once(url: URL, { method, what, headers, authorization, signal }: HttpRequest): Promise<Dispatcher.ResponseData> {
    signal.throwIfAborted();
    if (url.protocol !== 'https:' && url.origin !== this.originOf(url.host))
      throw new RegistryError(
        'Unavailable',
        `${what}: ${url.host} would be asked without TLS: name its host as one that may speak plain HTTP, or give it TLS.`,
      );
    try {
      // undici looks at the signal only once there is a connection.
      return await unlessAborted(
        this.#dispatcher().request({
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method,
          headers: {
            'user-agent': this.#options.userAgent,
            'accept-encoding': 'identity',
            ...headers,
            ...(authorization === undefined ? {} : { authorization }),
          },
          signal,
        }),
        signal,
      );
    } catch (cause) {
      signal.throwIfAborted();
      throw noAnswer(what, cause);
    }
  }

  /** Of the authorities of the moment; connections under older ones end with what they are doing. */
  #dispatcher(): Agent {
    const ca = this.#options.ca?.()?.toString('utf8');
    if (this.#agent !== undefined && ca === this.#ca) return this.#agent;
    void this.#agent?.close();
    const { connectMs, quietMs } = this.#options;
    this.#ca = ca;
    this.#agent = new Agent({
      connect: { timeout: connectMs, ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }) },
      connections: 16,
      allowH2: false,
      headersTimeout: quietMs,
      bodyTimeout: quietMs,
    });
    return this.#agent;
  }
}

function isLoopbackHost(host: string): boolean {
  return isLoopback(parseAddress(host)?.host ?? host.replace(/^\[|\]$/g, ''));
}

function answerOf(what: string, { statusCode, headers, body }: Dispatcher.ResponseData, isRedirected: boolean): HttpAnswer {
  const chunks = async function* (): AsyncGenerator<Uint8Array, void> {
    try {
      for await (const chunk of body) yield chunk as Uint8Array;
    } catch (cause) {
      throw noAnswer(what, cause);
    }
  };
  return {
    status: statusCode,
    isRedirected,
    header: (name) => headerOf({ headers }, name),
    chunks,
    read: async (limit) => {
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of chunks()) {
        size += chunk.length;
        if (size > limit) return undefined;
        parts.push(chunk);
      }
      return Buffer.concat(parts);
    },
    discard: () => body.dump().catch(() => undefined),
  };
}

function headerOf({ headers }: Pick<Dispatcher.ResponseData, 'headers'>, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}
