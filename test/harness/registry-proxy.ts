import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Transform } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { AddressInfo } from 'node:net';
import type { Registry } from './registry.ts';

/** How a registry may behave instead of answering. */
export type Misbehaviour =
  /** Every request is answered so. */
  | { readonly kind: 'Status'; readonly status: 401 | 403 | 404 | 429 | 500 | 503 }
  /** Blobs come at this rate. */
  | { readonly kind: 'Slow'; readonly bytesPerSecond: number }
  /** Blobs come with their first byte changed. */
  | { readonly kind: 'WrongBytes' }
  /** Blobs end in the middle. */
  | { readonly kind: 'CutOff' }
  /** Requests are taken and never answered. */
  | { readonly kind: 'Silent' };

/** A registry of plain http on its own port that passes everything on to another, unless it was told to misbehave. */
export class RegistryProxy {
  /** host:port, the first part of image names. */
  readonly address: string;
  /** `GET /v2/…` of every request so far. */
  readonly requests: string[] = [];
  readonly #server: Server;
  readonly #registry: Registry;
  #misbehaviour: Misbehaviour | undefined;

  private constructor(server: Server, registry: Registry) {
    this.#server = server;
    this.#registry = registry;
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (incoming: IncomingMessage, outgoing: ServerResponse) => {
      this.requests.push(`${incoming.method ?? ''} ${incoming.url ?? ''}`);
      // A client that goes away in the middle is no failure of the proxy.
      this.#serve(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  /** The registry must be one of plain http. */
  static async before(registry: Registry): Promise<RegistryProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RegistryProxy(server, registry);
  }

  /** From now on; undefined: it answers as it should. */
  misbehave(misbehaviour: Misbehaviour | undefined): void {
    this.#misbehaviour = misbehaviour;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const misbehaviour = this.#misbehaviour;
    if (misbehaviour?.kind === 'Silent') return;
    if (misbehaviour?.kind === 'Status') {
      const challenge = misbehaviour.status === 401 ? { 'www-authenticate': 'Basic realm="proxy"' } : {};
      outgoing.writeHead(misbehaviour.status, { 'content-type': 'application/json', ...challenge });
      outgoing.end(JSON.stringify({ errors: [{ code: 'UNKNOWN', message: 'told to' }] }));
      return;
    }
    const { method, url, headers } = incoming;
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const passed = request(`${this.#registry.url}${url ?? ''}`, { method, headers }, resolve);
      passed.once('error', reject);
      incoming.pipe(passed);
    });
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    const isBlob = method === 'GET' && url?.includes('/blobs/') === true;
    await pipeline(answer, isBlob ? transformed(misbehaviour, outgoing) : new Transform({ transform: pass }), outgoing);
  }
}

type Done = (error: Error | null, data?: Buffer) => void;
const pass = (chunk: Buffer, _: BufferEncoding, done: Done) => done(null, chunk);

function transformed(misbehaviour: Misbehaviour | undefined, outgoing: ServerResponse): Transform {
  const state = { isFirst: true };
  switch (misbehaviour?.kind) {
    case 'Slow':
      return new Transform({
        transform: (chunk: Buffer, _, done: Done) => void trickle(chunk, misbehaviour.bytesPerSecond, outgoing).then(() => done(null)),
      });
    case 'WrongBytes':
      return new Transform({
        transform: (chunk: Buffer, _, done: Done) => {
          const wrong = Buffer.from(chunk);
          if (state.isFirst) wrong[0] = (wrong[0] ?? 0) ^ 0xff;
          state.isFirst = false;
          done(null, wrong);
        },
      });
    case 'CutOff':
      return new Transform({
        transform: (chunk: Buffer, _, done: Done) => {
          outgoing.write(chunk.subarray(0, chunk.length / 2));
          done(new Error('cut off'));
        },
      });
    default:
      return new Transform({ transform: pass });
  }
}

async function trickle(chunk: Buffer, bytesPerSecond: number, outgoing: ServerResponse): Promise<void> {
  const size = Math.max(1, Math.floor(bytesPerSecond / 10));
  for (let at = 0; at < chunk.length && !outgoing.destroyed; at += size) {
    outgoing.write(chunk.subarray(at, at + size));
    await delay(100);
  }
}
