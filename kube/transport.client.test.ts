import { createServer } from 'node:http';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import type { Clock } from '../process/clock.ts';
import { FakeClock, settle } from '../process/fake-clock.ts';
import { silentLogger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { createTransport } from './transport.client.ts';
import type { HttpTransport } from './transport.client.ts';
import type { KubeTransport, ObjectRef, Resource, WatchEvent } from './types.ts';

const things: Resource = { group: 'example.dev', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };
const nodes: Resource = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
const ref: ObjectRef = { namespace: 'ns', name: 'a' };
const thing = { apiVersion: 'example.dev/v1', kind: 'Thing', metadata: { namespace: 'ns', name: 'a', uid: 'u1', resourceVersion: '5' } };

interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
type Answer = (response: ServerResponse, request: Received) => void;

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** An API server that gives these answers one after the other, the last one for ever. */
async function setUp(answers: readonly Answer[], options: { readonly clock?: Clock } = {}) {
  const received: Received[] = [];
  const sockets = new Set<unknown>();
  let connections = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, headers } = request;
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() };
      received.push(one);
      answers[Math.min(received.length, answers.length) - 1]?.(response, one);
    });
  });
  server.on('connection', (socket) => {
    connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const tokens = { count: 0 };
  const clock = options.clock ?? new FakeClock();
  const metrics = createMetrics({ processMetrics: false });
  const connection = {
    server: `http://127.0.0.1:${(server.address() as AddressInfo).port}/prefix`,
    namespace: 'default',
    credentials: () => Promise.resolve({ headers: { authorization: `Bearer t${tokens.count}` }, tls: {} }),
    invalidate: () => {
      tokens.count++;
    },
  };
  const transport = createTransport({
    connection,
    clock,
    random: () => 0,
    log: silentLogger,
    userAgent: 'test/1',
    metrics,
    connections: 2,
  });
  open.push(async () => {
    await transport.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { transport, received, metrics, sockets, server, connections: () => connections };
}

const json =
  (body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Answer =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
const refusal = (code: number, reason: string, message = 'no', headers: Readonly<Record<string, string>> = {}) =>
  json({ kind: 'Status', status: 'Failure', code, reason, message }, code, headers);
const hangUp: Answer = (response) => response.destroy();
const silence: Answer = () => undefined;

/** Lets a request over a real socket and a fake clock go on. */
async function pass(clock: FakeClock, ms: number, rounds = 20): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    await settle();
  }
  clock.advance(ms);
}

describe('requests', () => {
  it.each<{ when: string; call: (t: HttpTransport) => Promise<unknown>; want: object; answer?: unknown }>([
    { when: 'get', call: (t) => t.get(things, ref), want: { method: 'GET', url: '/apis/example.dev/v1/namespaces/ns/things/a', body: '' } },
    { when: 'get in the core group, cluster-scoped', call: (t) => t.get(nodes, { name: 'n' }), want: { url: '/api/v1/nodes/n' } },
    {
      when: 'list of a page',
      call: (t) => t.list(things, { namespace: 'ns', limit: 2, continueToken: 'x=', labelSelector: 'a=b', fieldSelector: 'c=d' }),
      answer: { metadata: { resourceVersion: '9' }, items: [] },
      want: { url: '/apis/example.dev/v1/namespaces/ns/things?labelSelector=a%3Db&fieldSelector=c%3Dd&limit=2&continue=x%3D' },
    },
    {
      when: 'list of all namespaces',
      call: (t) => t.list(things, { resourceVersion: '0', resourceVersionMatch: 'NotOlderThan' }),
      answer: { metadata: { resourceVersion: '9' }, items: null },
      want: { url: '/apis/example.dev/v1/things?resourceVersion=0&resourceVersionMatch=NotOlderThan' },
    },
    {
      when: 'create',
      call: (t) => t.create(things, thing),
      want: { method: 'POST', url: '/apis/example.dev/v1/namespaces/ns/things', body: JSON.stringify(thing), type: 'application/json' },
    },
    {
      when: 'update of the status',
      call: (t) => t.update(things, thing, { subresource: 'status' }),
      want: {
        method: 'PUT',
        url: '/apis/example.dev/v1/namespaces/ns/things/a/status',
        body: JSON.stringify(thing),
        type: 'application/json',
      },
    },
    {
      when: 'merge patch of the status',
      call: (t) => t.patch(things, ref, { type: 'merge', body: { status: { x: null } } }, { subresource: 'status' }),
      want: {
        method: 'PATCH',
        url: '/apis/example.dev/v1/namespaces/ns/things/a/status',
        body: '{"status":{"x":null}}',
        type: 'application/merge-patch+json',
      },
    },
    {
      when: 'JSON patch',
      call: (t) => t.patch(things, ref, { type: 'json', body: [{ op: 'remove', path: '/x' }] }),
      want: { body: '[{"op":"remove","path":"/x"}]', type: 'application/json-patch+json' },
    },
    {
      when: 'server-side apply',
      call: (t) =>
        t.patch(things, ref, { type: 'apply', body: { apiVersion: 'v', kind: 'k', metadata: {} }, fieldManager: 'me', force: true }),
      want: {
        url: '/apis/example.dev/v1/namespaces/ns/things/a?fieldManager=me&force=true',
        body: '{"apiVersion":"v","kind":"k","metadata":{}}',
        type: 'application/apply-patch+yaml',
      },
    },
    {
      when: 'delete with preconditions',
      call: (t) => t.delete(things, ref, { preconditions: { uid: 'u1' }, propagationPolicy: 'Background', gracePeriodSeconds: 0 }),
      want: {
        method: 'DELETE',
        url: '/apis/example.dev/v1/namespaces/ns/things/a',
        body: '{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"u1"},"propagationPolicy":"Background","gracePeriodSeconds":0}',
      },
    },
    {
      when: 'token of a service account',
      call: (t) => t.createSubresource(things, ref, 'token', { spec: {} }),
      want: { method: 'POST', url: '/apis/example.dev/v1/namespaces/ns/things/a/token', body: '{"spec":{}}' },
    },
    {
      when: 'review',
      call: (t) => t.post('/apis/x/v1/reviews', { a: 1 }),
      want: { method: 'POST', url: '/apis/x/v1/reviews', body: '{"a":1}' },
    },
  ])('$when', async ({ call, want, answer }) => {
    const { transport, received } = await setUp([json(answer ?? thing)]);
    await call(transport);
    const [{ method, url, headers, body } = { method: '', url: '', headers: {}, body: '' }] = received;
    expect(received).toHaveLength(1);
    expect({ method, url: url?.replace('/prefix', ''), body, type: headers['content-type'] }).toMatchObject(want);
    expect(headers).toMatchObject({ authorization: 'Bearer t0', accept: 'application/json', 'user-agent': 'test/1' });
    expect(url).toMatch(/^\/prefix\//);
  });

  it('gives items of a list their kind, which the server leaves out for built-in resources', async () => {
    const { transport } = await setUp([
      json({ metadata: { resourceVersion: '9', continue: 'next' }, items: [{ metadata: { name: 'n', uid: 'u', resourceVersion: '3' } }] }),
    ]);
    expect(await transport.list(nodes)).toEqual({
      items: [{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', uid: 'u', resourceVersion: '3' } }],
      resourceVersion: '9',
      continueToken: 'next',
    });
  });

  it.each([
    { when: 'the server says so', answer: { kind: 'Status', status: 'Success' }, want: { kind: 'deleted' } },
    { when: 'nothing holds the object', answer: thing, want: { kind: 'deleted' } },
    {
      when: 'a finalizer holds it',
      answer: { ...thing, metadata: { ...thing.metadata, deletionTimestamp: 't', finalizers: ['f'] } },
      want: { kind: 'deleting', object: { metadata: { finalizers: ['f'] } } },
    },
  ])('delete is told as $want.kind when $when', async ({ answer, want }) => {
    const { transport } = await setUp([json(answer)]);
    expect(await transport.delete(things, ref)).toMatchObject(want);
  });

  it('refuses to ask for a namespaced object without its namespace', async () => {
    const { transport, received } = await setUp([json(thing)]);
    await expect(transport.get(things, { name: 'a' })).rejects.toMatchObject({ code: 'BadRequest' });
    expect(received).toEqual([]);
  });

  it('keeps connections alive, and no more of them than allowed', async () => {
    const { transport, connections } = await setUp([json(thing)]);
    await Promise.all(Array.from({ length: 20 }, () => transport.get(things, ref)));
    expect(connections()).toBeLessThanOrEqual(2);
  });

  it('counts requests and anchors the clock to the time of the server', async () => {
    const anchored: number[] = [];
    const clock = Object.assign(new FakeClock(), { anchor: (time: number) => void anchored.push(time) });
    const { transport, metrics } = await setUp([json(thing, 200, { date: 'Thu, 01 Jan 2026 00:00:07 GMT' })], { clock });
    await transport.get(things, ref);
    expect(anchored).toEqual([Date.UTC(2026, 0, 1, 0, 0, 7)]);
    expect(await metrics.text()).toContain('rest_client_requests_total{method="GET",code="200"} 1');
  });
});

describe('refusals', () => {
  it.each([
    { status: 400, reason: 'BadRequest', code: 'BadRequest' },
    { status: 403, reason: 'Forbidden', code: 'Forbidden' },
    { status: 404, reason: 'NotFound', code: 'NotFound' },
    { status: 409, reason: 'Conflict', code: 'Conflict' },
    { status: 409, reason: 'AlreadyExists', code: 'AlreadyExists' },
    { status: 410, reason: 'Expired', code: 'Expired' },
    { status: 410, reason: 'Gone', code: 'Expired' },
    { status: 422, reason: 'Invalid', code: 'Invalid' },
    { status: 429, reason: 'TooManyRequests', code: 'TooManyRequests' },
    { status: 500, reason: 'InternalError', code: 'ServerError' },
    { status: 503, reason: 'ServiceUnavailable', code: 'ServerError' },
    { status: 504, reason: 'Timeout', code: 'Timeout' },
  ])('$status $reason is $code, with what the server says', async ({ status, reason, code }) => {
    const { transport, received } = await setUp([refusal(status, reason, 'because')]);
    await expect(transport.patch(things, ref, { type: 'merge', body: {} })).rejects.toMatchObject({
      code,
      message: 'PATCH things ns/a: because',
      details: { status, reason },
    });
    expect(received).toHaveLength(1);
  });

  it('tells what came when it is no Status', async () => {
    const { transport } = await setUp([(response) => response.writeHead(502).end('<html>bad gateway</html>')]);
    await expect(transport.get(things, ref)).rejects.toMatchObject({
      code: 'ServerError',
      message: 'GET things ns/a: <html>bad gateway</html>',
    });
  });

  it('calls an answer that is no object malformed', async () => {
    const { transport } = await setUp([json({ metadata: {} }), (response) => response.end('{"kind"')]);
    await expect(transport.get(things, ref)).rejects.toMatchObject({ code: 'Malformed' });
    await expect(transport.get(things, ref)).rejects.toMatchObject({ code: 'Malformed' });
  });

  it('renews the credentials once when they are refused', async () => {
    const { transport, received } = await setUp([refusal(401, 'Unauthorized'), json(thing)]);
    await transport.create(things, thing);
    expect(received.map(({ headers }) => headers.authorization)).toEqual(['Bearer t0', 'Bearer t1']);
  });

  it('gives up when the renewed credentials are refused too', async () => {
    const { transport, received } = await setUp([refusal(401, 'Unauthorized')]);
    await expect(transport.get(things, ref)).rejects.toMatchObject({ code: 'Unauthorized' });
    expect(received).toHaveLength(2);
  });
});

describe('requests again', () => {
  const write = (t: KubeTransport) => t.patch(things, ref, { type: 'merge', body: {} });
  const read = (t: KubeTransport) => t.get(things, ref);

  it.each([
    {
      when: 'a write is throttled and told when to come back',
      call: write,
      first: refusal(429, 'TooManyRequests', '', { 'retry-after': '1' }),
      want: { requests: 2 },
    },
    {
      when: 'a write meets a server that shuts down',
      call: write,
      first: refusal(503, 'ServiceUnavailable', '', { 'retry-after': '1' }),
      want: { requests: 2 },
    },
    { when: 'a read loses its connection', call: read, first: hangUp, want: { requests: 2 } },
    { when: 'a write loses its connection: it may have happened', call: write, first: hangUp, want: { requests: 1, code: 'Unreachable' } },
    {
      when: 'the server asks to come back after the deadline',
      call: read,
      first: refusal(429, 'TooManyRequests', '', { 'retry-after': '31' }),
      want: { requests: 1, code: 'TooManyRequests' },
    },
    {
      when: 'the server fails without saying when to come back',
      call: read,
      first: refusal(503, 'ServiceUnavailable'),
      want: { requests: 1, code: 'ServerError' },
    },
    { when: 'the object changed', call: write, first: refusal(409, 'Conflict'), want: { requests: 1, code: 'Conflict' } },
  ])('$when: $want.requests requests', async ({ call, first, want }) => {
    const clock = new FakeClock();
    const { transport, received } = await setUp([first, json(thing)], { clock });
    const outcome = call(transport).then(
      () => undefined,
      (error: unknown) => (error as { code?: string }).code,
    );
    await pass(clock, 1000);
    expect(await outcome).toBe(want.code);
    expect(received).toHaveLength(want.requests);
  });

  it('asks again while the server cannot be reached, also to write, as it cannot have seen it; then says Unreachable', async () => {
    const clock = new FakeClock();
    const { transport, server } = await setUp([json(thing)], { clock });
    await new Promise((resolve) => server.close(resolve));
    const outcome = write(transport).catch((error: unknown) => error);
    for (const _ of [1, 2, 3]) await pass(clock, 2000);
    expect(await outcome).toMatchObject({ code: 'Unreachable' });
    expect(clock.monotonic()).toBe(6000);
  });

  it('ends at the deadline', async () => {
    const clock = new FakeClock();
    const { transport } = await setUp([silence], { clock });
    const outcome = transport.get(things, ref, { timeoutMs: 500 }).catch((error: unknown) => error);
    await pass(clock, 500);
    expect(await outcome).toMatchObject({ code: 'Timeout', message: 'GET things ns/a: no answer within 500 ms' });
    expect(clock.timers).toBe(0);
  });

  it('ends at the deadline also while it connects to a server that does not answer', async () => {
    const clock = new FakeClock();
    const sockets: Socket[] = [];
    const mute = createTcpServer((socket) => void sockets.push(socket));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const connection = {
      server: `https://127.0.0.1:${(mute.address() as AddressInfo).port}`,
      namespace: 'default',
      credentials: () => Promise.resolve({ headers: {}, tls: {} }),
      invalidate: () => undefined,
    };
    const transport = createTransport({ connection, clock, random: () => 0, log: silentLogger, userAgent: 'test/1' });
    open.push(async () => {
      await transport.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => mute.close(resolve));
    });
    const outcome = transport.get(things, ref, { timeoutMs: 500 }).catch((error: unknown) => error);
    await pass(clock, 500);
    expect(await outcome).toMatchObject({ code: 'Timeout' });
  });

  it('ends when the caller gives up', async () => {
    const clock = new FakeClock();
    const { transport } = await setUp([silence], { clock });
    const stop = new AbortController();
    const outcome = transport.get(things, ref, { signal: stop.signal }).catch((error: unknown) => error);
    await pass(clock, 0);
    stop.abort(new Error('enough'));
    expect(await outcome).toMatchObject({ message: 'enough' });
    expect(clock.timers).toBe(0);
  });
});

describe('watch', () => {
  const line = (event: unknown) => `${JSON.stringify(event)}\n`;
  const added = line({ type: 'ADDED', object: thing });
  const bookmark = line({
    type: 'BOOKMARK',
    object: { metadata: { resourceVersion: '9', annotations: { 'k8s.io/initial-events-end': 'true' } } },
  });

  async function collect(transport: KubeTransport, signal?: AbortSignal) {
    const events: WatchEvent[] = [];
    try {
      for await (const event of transport.watch(things, { resourceVersion: '4', timeoutSeconds: 300, signal })) events.push(event);
      return { events };
    } catch (error) {
      return { events, code: (error as { code: string }).code };
    }
  }

  it('gives the events in order, wherever the bytes are cut', async () => {
    const bytes = Buffer.from(line({ type: 'MODIFIED', object: { ...thing, spec: { text: 'größe' } } }) + added + bookmark);
    const { transport, received } = await setUp([
      (response) => {
        const write = (at: number) => {
          if (at >= bytes.length) response.end();
          else response.write(bytes.subarray(at, at + 7), () => setImmediate(write, at + 7));
        };
        write(0);
      },
    ]);
    expect(await collect(transport)).toEqual({
      events: [
        { type: 'MODIFIED', object: { ...thing, spec: { text: 'größe' } } },
        { type: 'ADDED', object: thing },
        { type: 'BOOKMARK', resourceVersion: '9', initialEventsEnd: true },
      ],
    });
    expect(received[0]?.url).toBe(
      '/prefix/apis/example.dev/v1/things?watch=true&allowWatchBookmarks=true&resourceVersion=4&timeoutSeconds=300',
    );
  });

  it('asks for a streaming list', async () => {
    const { transport, received } = await setUp([(response) => response.end()]);
    for await (const _ of transport.watch(things, { sendInitialEvents: true })) expect(_).toBeUndefined();
    expect(received[0]?.url).toContain('?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan');
  });

  it.each<{ when: string; answer: Answer; want: object }>([
    { when: 'the version is refused as too old', answer: refusal(410, 'Expired'), want: { events: [], code: 'Expired' } },
    {
      when: 'the version becomes too old on the way',
      answer: (response) =>
        response.end(added + line({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' } })),
      want: { events: [{ type: 'ADDED', object: thing }], code: 'Expired' },
    },
    { when: 'there is no such resource', answer: refusal(404, 'NotFound'), want: { events: [], code: 'NotFound' } },
    {
      when: 'the connection breaks within a line',
      answer: (response) => response.write(added + added.slice(0, 20), () => response.destroy()),
      want: { events: [{ type: 'ADDED', object: thing }], code: 'Unreachable' },
    },
    { when: 'a line is not JSON', answer: (response) => response.end('{"type":\n'), want: { events: [], code: 'Malformed' } },
    {
      when: 'an event has no known type',
      answer: (response) => response.end(line({ type: 'SURPRISE' })),
      want: { events: [], code: 'Malformed' },
    },
    {
      when: 'an object has no name',
      answer: (response) => response.end(line({ type: 'ADDED', object: {} })),
      want: { events: [], code: 'Malformed' },
    },
  ])('ends with $want when $when', async ({ answer, want }) => {
    const { transport } = await setUp([answer]);
    expect(await collect(transport)).toEqual(want);
  });

  it('ends normally and closes its connection when it is aborted', async () => {
    const { transport, sockets } = await setUp([(response) => response.write(added)]);
    const stop = new AbortController();
    const watching = collect(transport, stop.signal);
    while (sockets.size === 0) await settle();
    await pass(new FakeClock(), 0);
    stop.abort();
    expect(await watching).toEqual({ events: [{ type: 'ADDED', object: thing }] });
    while (sockets.size > 0) await settle();
  });

  it('closes its connection when the loop is left', async () => {
    const { transport, sockets } = await setUp([(response) => response.write(added)]);
    for await (const event of transport.watch(things, { resourceVersion: '4' })) {
      expect(event).toEqual({ type: 'ADDED', object: thing });
      break;
    }
    while (sockets.size > 0) await settle();
  });

  it('says Unreachable when there is no server', async () => {
    const { transport, server } = await setUp([silence]);
    await new Promise((resolve) => server.close(resolve));
    expect(await collect(transport)).toEqual({ events: [], code: 'Unreachable' });
  });
});
