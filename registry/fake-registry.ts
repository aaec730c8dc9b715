import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

/** How the next requests are answered instead. */
export type FakeFault =
  | { readonly kind: 'Status'; readonly status: number; readonly body?: string; readonly headers?: Readonly<Record<string, string>> }
  /** Blobs and manifests come with their last byte changed. */
  | { readonly kind: 'WrongBytes' }
  /** The body ends in the middle, and the connection with it. */
  | { readonly kind: 'CutOff' }
  /** HEAD tells one byte too many. */
  | { readonly kind: 'WrongSize' }
  /** HEAD tells no size. */
  | { readonly kind: 'NoSize' }
  /** A blob goes on beyond its size. */
  | { readonly kind: 'TooLong' }
  /** Nothing is ever answered. */
  | { readonly kind: 'Silent' }
  | { readonly kind: 'Redirect'; readonly to: string };

export interface FakeRegistryOptions {
  readonly auth?:
    | { readonly kind: 'Basic'; readonly username: string; readonly password: string }
    | {
        readonly kind: 'Bearer';
        readonly username: string;
        readonly password: string;
        readonly realm?: string;
        readonly expiresIn?: number;
      };
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** What it was asked, with the secret as it came. */
export interface FakeRequest {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
}

/** A registry in this process, of the parts of the specification that are read; it misbehaves when told to. */
export class FakeRegistry {
  readonly host: string;
  readonly requests: FakeRequest[] = [];
  readonly manifests = new Map<string, Buffer>();
  readonly tags = new Map<string, string>();
  readonly blobs = new Map<string, Buffer>();
  /** Tags in one answer at most. */
  tagsAtOnce = 100;
  /** Tokens that count. */
  readonly tokens = new Set<string>();
  readonly #server: Server;
  readonly #options: FakeRegistryOptions;
  readonly #faults: { readonly matches: (request: FakeRequest) => boolean; readonly fault: FakeFault; left: number }[] = [];

  private constructor(server: Server, options: FakeRegistryOptions) {
    this.#server = server;
    this.#options = options;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#serve(request, response));
  }

  static async start(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
    const server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new FakeRegistry(server, options);
  }

  /** A manifest of a config and these layers, all of which it has. Returns the digest. */
  push(layers: readonly Buffer[], tag?: string): string {
    const described = [Buffer.from(JSON.stringify({ layers: layers.length })), ...layers].map((bytes) => {
      this.blobs.set(digestOf(bytes), bytes);
      return { mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytes.length };
    });
    const [config, ...rest] = described;
    return this.pushManifest(Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: rest })), tag);
  }

  pushManifest(bytes: Buffer, tag?: string): string {
    const digest = digestOf(bytes);
    this.manifests.set(digest, bytes);
    if (tag !== undefined) this.tags.set(tag, digest);
    return digest;
  }

  /** The next `times` requests that match are answered so. */
  fail(fault: FakeFault, options: { readonly times?: number; readonly matches?: (request: FakeRequest) => boolean } = {}): void {
    this.#faults.push({ fault, left: options.times ?? Infinity, matches: options.matches ?? (() => true) });
  }

  mend(): void {
    this.#faults.length = 0;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve({ method = '', url = '', headers }: IncomingMessage, response: ServerResponse): void {
    const request: FakeRequest = { method, url, authorization: headers.authorization };
    this.requests.push(request);
    const planned = this.#faults.find(({ left, matches }) => left > 0 && matches(request));
    if (planned !== undefined) planned.left -= 1;
    const fault = planned?.fault;
    if (fault?.kind === 'Silent') return;
    if (fault?.kind === 'Status') response.writeHead(fault.status, fault.headers).end(fault.body);
    else if (fault?.kind === 'Redirect') response.writeHead(307, { location: fault.to }).end();
    else if (url.startsWith('/token')) this.#serveToken(request, response);
    else if (!this.#isAllowed(request)) this.#challenge(request, response);
    else if (url.includes('/tags/list')) this.#serveTags(new URL(url, 'http://any'), response);
    else this.#serveContent(request, headers.accept ?? '', response, fault);
  }

  #serveContent({ method, url }: FakeRequest, accept: string, response: ServerResponse, fault: FakeFault | undefined): void {
    const [, kind = '', name = ''] = /\/(manifests|blobs)\/([^/?]+)/.exec(url) ?? [];
    const digest = this.tags.get(name) ?? name;
    const bytes = (kind === 'blobs' ? this.blobs : this.manifests).get(digest);
    // As docker-registry: a manifest is not there for who does not say that he takes its type.
    const isTaken = kind !== 'manifests' || method !== 'GET' || accept.includes('application/vnd.oci.image.manifest.v1+json');
    if (bytes === undefined || !isTaken) refuse(response, 404, kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN');
    else if (method === 'DELETE') {
      this.manifests.delete(digest);
      response.writeHead(202).end();
    } else if (method === 'HEAD') sendSize(response, bytes, fault);
    else sendBytes(response, bytes, fault);
  }

  /** In pages, as asked: the next one is named in a header. */
  #serveTags({ pathname, searchParams }: URL, response: ServerResponse): void {
    const [limit, last] = [Number(searchParams.get('n') ?? 100), searchParams.get('last') ?? ''];
    const rest = [...this.tags.keys()].toSorted().filter((tag) => tag > last);
    const tags = rest.slice(0, Math.min(limit, this.tagsAtOnce));
    const next = `<${pathname}?last=${tags.at(-1) ?? ''}&n=${limit}>; rel="next"`;
    response.writeHead(200, { 'content-type': 'application/json', ...(rest.length > tags.length && { link: next }) });
    response.end(JSON.stringify({ name: pathname, tags }));
  }

  #isAllowed({ authorization }: FakeRequest): boolean {
    const { auth } = this.#options;
    if (auth?.kind === 'Basic') return authorization === basic(auth);
    return auth?.kind !== 'Bearer' || this.tokens.has((authorization ?? '').replace('Bearer ', ''));
  }

  #challenge({ method, url }: FakeRequest, response: ServerResponse): void {
    const { auth } = this.#options;
    const repository = /^\/v2\/(.*)\/(?:manifests|blobs|tags)\//.exec(url)?.[1] ?? '';
    const scope = `repository:${repository}:${method === 'DELETE' ? 'delete' : 'pull'}`;
    const realm = auth?.kind === 'Bearer' && auth.realm !== undefined ? auth.realm : `http://${this.host}/token`;
    const asks = auth?.kind === 'Basic' ? 'Basic realm="fake"' : `Bearer realm="${realm}",service="fake",scope="${scope}"`;
    refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': asks });
  }

  #serveToken({ authorization }: FakeRequest, response: ServerResponse): void {
    const { auth } = this.#options;
    if (auth?.kind !== 'Bearer' || authorization !== basic(auth)) {
      refuse(response, 401, 'UNAUTHORIZED');
      return;
    }
    const token = `token-${this.tokens.size + 1}`;
    this.tokens.add(token);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ token, ...(auth.expiresIn === undefined ? {} : { expires_in: auth.expiresIn }) }));
  }
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function basic({ username, password }: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function refuse(response: ServerResponse, status: number, code: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code, message: 'as a registry says it' }] }));
}

function sendSize(response: ServerResponse, { length }: Buffer, fault: FakeFault | undefined): void {
  const size = length + (fault?.kind === 'WrongSize' ? 1 : 0);
  response.writeHead(200, fault?.kind === 'NoSize' ? { 'transfer-encoding': 'chunked' } : { 'content-length': size }).end();
}

function sendBytes(response: ServerResponse, bytes: Buffer, fault: FakeFault | undefined): void {
  if (fault?.kind === 'CutOff') {
    response.writeHead(200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, bytes.length / 2), () => {
      response.destroy();
    });
    return;
  }
  const sent = fault?.kind === 'TooLong' ? Buffer.concat([bytes, bytes]) : Buffer.from(bytes);
  if (fault?.kind === 'WrongBytes') sent[sent.length - 1] = (sent[sent.length - 1] ?? 0) ^ 0xff;
  response.writeHead(200, fault?.kind === 'TooLong' ? {} : { 'content-length': sent.length }).end(sent);
}
