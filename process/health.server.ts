import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BerthError, messageOf } from './errors.ts';
import type { MetricsRegistry } from './metrics.ts';

/** Why it is not well, in a sentence; undefined when it is. Answers from memory: it must not block. */
export type Check = () => string | undefined;

export interface HealthOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** `/healthz` fails, and the process is restarted, while one of these has a reason. */
  readonly alive: Readonly<Record<string, Check>>;
  /** `/readyz` fails while one of these, or of `alive`, has a reason. */
  readonly ready: Readonly<Record<string, Check>>;
  /** Served at `/metrics`. */
  readonly metrics: MetricsRegistry;
}

export interface HealthServer {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Serves `/healthz`, `/readyz` and `/metrics`. Rejects with `ListenFailed`. */
export async function startHealthServer(options: HealthOptions): Promise<HealthServer> {
  const server = createServer({ requestTimeout: 10_000, maxHeaderSize: 8192 }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => send(response, 500, `${messageOf(error)}\n`));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new BerthError('ListenFailed', `Cannot serve health on ${options.host}:${options.port}: ${cause.message}. Choose another port.`, {
          cause,
        }),
      );
    });
    server.listen(options.port, options.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(options: HealthOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '/').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(response, 405, 'Only GET.\n', { allow: 'GET, HEAD' });
  } else if (path === '/metrics') {
    send(response, 200, await options.metrics.text(), { 'content-type': options.metrics.contentType });
  } else if (path === '/healthz' || path === '/readyz') {
    const report = examine(path === '/healthz' ? options.alive : { ...options.alive, ...options.ready });
    send(response, report.ok ? 200 : 503, report.text);
  } else {
    send(response, 404, 'There are /healthz, /readyz and /metrics.\n');
  }
}

function send(response: ServerResponse, status: number, body: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(body);
}

/** A line for each check, as kube-apiserver writes them. */
function examine(checks: Readonly<Record<string, Check>>): { readonly ok: boolean; readonly text: string } {
  const results = Object.entries(checks).map(([name, check]) => ({ name, reason: reasonOf(check) }));
  const lines = results.map(({ name, reason }) => (reason === undefined ? `[+]${name} ok\n` : `[-]${name} failed: ${reason}\n`));
  const ok = results.every(({ reason }) => reason === undefined);
  return { ok, text: `${lines.join('')}${ok ? 'ok' : 'failed'}\n` };
}

function reasonOf(check: Check): string | undefined {
  try {
    return check();
  } catch (error) {
    return messageOf(error);
  }
}
