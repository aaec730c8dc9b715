import { Agent, request } from 'undici';
import { isDeepStrictEqual } from 'node:util';

interface Seen {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
  readonly status?: { readonly state?: string; readonly reason?: string; readonly message?: string };
}

/** What the watch told of one sandbox so far. */
interface Followed {
  statusWrites: number;
  last: Seen;
}

interface Waiter {
  readonly test: (seen: Seen, type: string) => boolean;
  readonly resolve: (at: number) => void;
  readonly reject: (error: Error) => void;
}

/** A benchmark that hangs says so. */
const giveUpMs = 120_000;

/**
 * The Sandboxes of one namespace through plain HTTP: a kept-alive connection for requests and one watch. Not the product's own client, so that
 * this is not its own witness. Times are of `performance.now()`, taken when the bytes are here and before they are parsed.
 */
export class Sandboxes {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #requests: Agent;
  readonly #watches: Agent;
  readonly #abort = new AbortController();
  readonly #followed = new Map<string, Followed>();
  readonly #waiters = new Map<string, Waiter>();
  #watching: Promise<void> | undefined;

  constructor({
    server,
    ca,
    token,
    namespace,
  }: {
    readonly server: string;
    readonly ca: string;
    readonly token: string;
    readonly namespace: string;
  }) {
    this.#url = `${server}/apis/berth.dev/v1alpha1/namespaces/${namespace}/sandboxes`;
    this.#headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json' };
    this.#requests = new Agent({ connect: { ca }, keepAliveTimeout: 60_000 });
    this.#watches = new Agent({ connect: { ca }, bodyTimeout: 0 });
  }

  /** Begins to watch; resolves when the watch is open. */
  async watch(): Promise<void> {
    const { metadata } = (await this.#ask('GET', '', 200)) as { metadata: { resourceVersion: string } };
    const query = new URLSearchParams({ watch: '1', resourceVersion: metadata.resourceVersion });
    const { body, statusCode } = await request(`${this.#url}?${query.toString()}`, {
      dispatcher: this.#watches,
      headers: this.#headers,
      signal: this.#abort.signal,
    });
    if (statusCode !== 200) throw new Error(`watch: ${statusCode} ${await body.text()}`);
    this.#watching = this.#read(body).catch((error: unknown) => {
      if (!this.#abort.signal.aborted) this.#fail(error instanceof Error ? error : new Error(String(error)));
    });
  }

  /** Creates a sandbox; resolves with the time of the 201 and the uid. */
  async create(name: string, spec: object): Promise<{ readonly at: number; readonly uid: string }> {
    const body = { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: { name }, spec };
    const answer = await this.#send('POST', '', 201, body);
    return { at: answer.at, uid: (answer.body as Seen).metadata.uid };
  }

  /** When the watch told that the sandbox is Started. Ask before `create`. */
  started(name: string): Promise<number> {
    return this.#wait(name, ({ status }) => {
      if (status?.state === 'Error') throw new Error(`${name}: ${status.reason ?? ''} ${status.message ?? ''}`);
      return status?.state === 'Started';
    });
  }

  /** Deletes a sandbox and waits until it is gone. */
  async remove(name: string): Promise<void> {
    const gone = this.#wait(name, (_, type) => type === 'DELETED');
    await this.#ask('DELETE', `/${name}`, 200);
    await gone;
    this.#followed.delete(name);
  }

  /** How often the status of this sandbox was written since it was created. */
  statusWrites(name: string): number {
    return this.#followed.get(name)?.statusWrites ?? 0;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#watching;
    await Promise.all([this.#requests.destroy(), this.#watches.destroy()]);
  }

  async #ask(method: 'GET' | 'DELETE', path: string, expected: number): Promise<unknown> {
    return (await this.#send(method, path, expected)).body;
  }

  async #send(method: 'GET' | 'POST' | 'DELETE', path: string, expected: number, content?: object) {
    const { statusCode, body } = await request(`${this.#url}${path}`, {
      method,
      dispatcher: this.#requests,
      headers: this.#headers,
      ...(content === undefined ? {} : { body: JSON.stringify(content) }),
    });
    const text = await body.text();
    const at = performance.now();
    if (statusCode !== expected) throw new Error(`${method} ${path}: ${statusCode} ${text}`);
    return { at, body: JSON.parse(text) as unknown };
  }

  #wait(name: string, test: Waiter['test']): Promise<number> {
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`${name}: nothing came of it within ${giveUpMs / 1000} s`)), giveUpMs);
      const settled =
        <T>(settle: (result: T) => void) =>
        (result: T) => {
          clearTimeout(timeout);
          settle(result);
        };
      this.#waiters.set(name, { test, resolve: settled(resolve), reject: settled(reject) });
    });
  }

  async #read(body: AsyncIterable<Buffer>): Promise<void> {
    let rest = '';
    for await (const chunk of body) {
      const at = performance.now();
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(JSON.parse(line) as { type: string; object: Seen }, at);
    }
    throw new Error('the watch ended');
  }

  #take({ type, object }: { readonly type: string; readonly object: Seen }, at: number): void {
    const { name } = object.metadata;
    const known = this.#followed.get(name);
    const written = known !== undefined && type === 'MODIFIED' && !isDeepStrictEqual(known.last.status, object.status);
    this.#followed.set(name, { last: object, statusWrites: (known?.statusWrites ?? 0) + (written ? 1 : 0) });
    const waiter = this.#waiters.get(name);
    if (waiter === undefined) return;
    try {
      if (!waiter.test(object, type)) return;
      waiter.resolve(at);
    } catch (error) {
      waiter.reject(error as Error);
    }
    this.#waiters.delete(name);
  }

  #fail(error: Error): void {
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
  }
}
