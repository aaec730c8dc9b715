import { Agent, request } from 'undici';

export interface PlainClientOptions {
  readonly server: string;
  readonly ca: string;
  readonly token: string;
  /** Connections for requests that are made at the same time. Default 16. */
  readonly connections?: number;
}

/** One event of a watch. `at` is of `performance.now()`, taken when the bytes are here and before they are parsed. */
export interface Told<T> {
  readonly type: string;
  readonly object: T;
  readonly at: number;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/**
 * The API server through plain HTTP: kept-alive connections for requests, one more for each watch. Not the product's own client, so that
 * this is not its own witness.
 */
export class PlainClient {
  readonly #server: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #requests: Agent;
  readonly #watches: Agent;
  readonly #abort = new AbortController();
  readonly #watching: Promise<void>[] = [];

  constructor({ server, ca, token, connections = 16 }: PlainClientOptions) {
    this.#server = server;
    this.#headers = { authorization: `Bearer ${token}`, accept: 'application/json' };
    this.#requests = new Agent({ connect: { ca }, connections, keepAliveTimeout: 60_000 });
    this.#watches = new Agent({ connect: { ca }, bodyTimeout: 0 });
  }

  /** Any other status than `expected` is an error. Resolves with the time at which the answer was here. */
  async ask(method: Method, path: string, expected: number, content?: object): Promise<{ readonly at: number; readonly body: unknown }> {
    const { text, at } = await this.text(method, path, expected, content);
    return { at, body: JSON.parse(text) as unknown };
  }

  /** As `ask`, for answers that are not JSON. */
  async text(method: Method, path: string, expected: number, content?: object): Promise<{ readonly at: number; readonly text: string }> {
    const { statusCode, body } = await request(`${this.#server}${path}`, {
      method,
      dispatcher: this.#requests,
      headers: { ...this.#headers, 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' },
      ...(content === undefined ? {} : { body: JSON.stringify(content) }),
    });
    const text = await body.text();
    const at = performance.now();
    if (statusCode !== expected) throw new Error(`${method} ${path}: ${statusCode} ${text}`);
    return { at, text };
  }

  /** Calls `take` for every change of the collection from now on; resolves when the watch is open. `failed` is told when it ends by itself. */
  async watch<T>(path: string, take: (told: Told<T>) => void, failed: (error: Error) => void): Promise<void> {
    const { metadata } = (await this.ask('GET', `${path}?limit=1`, 200)).body as { metadata: { resourceVersion: string } };
    const query = new URLSearchParams({ watch: '1', resourceVersion: metadata.resourceVersion });
    const { body, statusCode } = await request(`${this.#server}${path}?${query.toString()}`, {
      dispatcher: this.#watches,
      headers: this.#headers,
      signal: this.#abort.signal,
    });
    if (statusCode !== 200) throw new Error(`WATCH ${path}: ${statusCode} ${await body.text()}`);
    const watching = read(body, take).catch((error: unknown) => {
      if (!this.#abort.signal.aborted) failed(error instanceof Error ? error : new Error(String(error)));
    });
    this.#watching.push(watching);
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#watching);
    await Promise.all([this.#requests.destroy(), this.#watches.destroy()]);
  }
}

async function read<T>(body: AsyncIterable<Buffer>, take: (told: Told<T>) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const at = performance.now();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take({ ...(JSON.parse(line) as Omit<Told<T>, 'at'>), at });
  }
  throw new Error('the watch ended');
}
