import { connect as connectHttp2, constants } from 'node:http2';
import { request } from 'node:https';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from '@jest/globals';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { z } from 'zod';
import { AgentHubClient } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { fakeCertificate } from '../../process/fake-certificate.ts';
import { silentLogger, type Logger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import type { TlsReloader } from '../../process/tls.ts';
import { aHello } from '../../test/builders/scripted-agent.ts';
import { Hub } from '../hub/controller.ts';
import { createHubServer } from '../hub/hub.server.ts';
import { noAuthentication } from '../hub/token-review.client.ts';
import { createApiServer, type ApiLimits } from './api.server.ts';
import { trustedCallers, type Callers } from './callers.client.ts';
import { ApiError } from './errors.ts';
import type { Operation } from './operation.ts';
import { startServing, type Serving } from './serving.server.ts';

const clock = systemClock();
const { cert, key } = fakeCertificate('berth');
const permission = { verb: 'create', subresource: 'things' } as const;
const made = { 201: { description: 'Made.' } };

/** One of each kind. */
const operations: readonly Operation[] = [
  {
    route: {
      id: 'make',
      method: 'POST',
      path: '/things',
      summary: '',
      permission,
      body: z.object({ size: z.int().default(1) }),
      answers: made,
      errors: [],
    },
    serve: ({ body, caller: { username }, idempotencyKey: key }) =>
      Promise.resolve({ status: 201, body: { body, username, ...(key !== undefined && { key }) } }),
  },
  {
    route: {
      id: 'read',
      method: 'GET',
      path: '/things/{id}',
      summary: '',
      permission,
      params: z.object({ id: z.string().max(5) }),
      query: z.object({ n: z.coerce.number().default(0) }),
      answers: made,
      errors: [],
    },
    serve: ({ params, query }) => Promise.resolve({ status: 200, body: { params, query } }),
  },
  {
    route: { id: 'remove', method: 'DELETE', path: '/things/{id}', summary: '', answers: made, errors: [] },
    serve: () => Promise.resolve({ status: 204 }),
  },
  {
    route: { id: 'measure', method: 'POST', path: '/bytes', summary: '', body: 'Bytes', answers: made, errors: [] },
    serve: async (request) => {
      let length = 0;
      for await (const chunk of request.bytes()) length += chunk.length;
      return { status: 200, body: { length } };
    },
  },
  {
    route: { id: 'listen', method: 'GET', path: '/stream', summary: '', answers: made, errors: [] },
    serve: () =>
      Promise.resolve({
        status: 200,
        contentType: 'text/plain',
        stream: async (out) => {
          for (const part of ['one ', 'two']) await out.write(part);
        },
      }),
  },
  {
    route: { id: 'wait', method: 'GET', path: '/wait', summary: '', answers: made, errors: [] },
    serve: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  },
  {
    route: { id: 'fail', method: 'GET', path: '/fail', summary: '', answers: made, errors: [] },
    serve: () => Promise.reject(new Error('the secret is swordfish')),
  },
];

interface SetUp {
  readonly usesTls?: boolean;
  readonly isSplit?: boolean;
  readonly limits?: Partial<ApiLimits>;
  readonly callers?: Callers;
  readonly notReady?: () => string | undefined;
}

describe('the port of agents and callers', () => {
  let serving: Serving | undefined;
  let lines: object[] = [];
  afterEach(async () => {
    await serving?.close();
    serving = undefined;
    lines = [];
  });

  async function start({
    usesTls = false,
    isSplit = false,
    limits = {},
    callers = trustedCallers,
    notReady,
  }: SetUp = {}): Promise<Serving> {
    const log: Logger = { ...silentLogger, info: (fields, message) => void lines.push({ message, ...fields }) };
    const hub = new Hub({ clock, log: silentLogger, operatorName: 'operator-1', operatorVersion: '1', authenticator: noAuthentication });
    const material = { cert: Buffer.from(cert), key: Buffer.from(key), ca: undefined };
    const tls: TlsReloader = { current: () => material, onChange: () => () => undefined, run: () => Promise.resolve() };
    const listen = { host: '127.0.0.1', port: 0 };
    serving = await startServing({
      hub: createHubServer({ hub, log: silentLogger }),
      api: createApiServer({ operations, callers, clock, log, limits, ...(notReady !== undefined && { notReady }) }),
      listen,
      apiListen: isSplit ? listen : undefined,
      tls: usesTls ? tls : undefined,
      isUnsafeAllowed: false,
      clock,
      log: silentLogger,
    });
    return serving;
  }

  const call = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`http://127.0.0.1:${serving?.api.port}${path}`, init);
    const body = await response.text();
    return { status: response.status, headers: response.headers, body: (body === '' ? undefined : JSON.parse(body)) as unknown };
  };
  const post = (body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    call('/things', { method: 'POST', body, headers });

  /** Says this on a connection and nothing more, and hears what comes until the other side closes, or patience ends. */
  const say = (words: string, port = serving?.api.port ?? 0, patienceMs?: number) =>
    new Promise<string>((resolve) => {
      let heard = '';
      const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(words));
      socket.setEncoding('utf8').on('data', (chunk: string) => (heard += chunk));
      socket.on('error', () => undefined).on('close', () => resolve(heard));
      if (patienceMs !== undefined) setTimeout(() => socket.destroy(), patienceMs);
    });
  const codeIn = (heard: string) => /"code":"(\w+)"/.exec(heard)?.[1];

  /** What the hub answers an agent's first word. */
  const greet = (port: number, usesTls = false) =>
    new Promise<string>((resolve) => {
      const channel = usesTls ? credentials.createSsl(Buffer.from(cert)) : credentials.createInsecure();
      const client = new AgentHubClient(`localhost:${port}`, channel, { 'grpc.enable_http_proxy': 0 });
      const stream = client.connect(new Metadata());
      stream.on('error', ({ details }: ServiceError) => {
        resolve(details);
        client.close();
      });
      stream.once('data', ({ message }: { readonly message?: { readonly $case: string } }) => {
        resolve(message?.$case ?? '');
        stream.cancel();
      });
      stream.write({ message: { $case: 'hello', value: aHello('r1') } });
    });

  describe('JSON', () => {
    it('serves what is asked, with the id of the request', async () => {
      await start();
      const { status, headers, body } = await post('{"size": 3}', {
        'content-type': 'application/json',
        'x-request-id': 'mine-1',
        'idempotency-key': 'k',
      });
      expect({ status, id: headers.get('x-request-id'), body }).toEqual({
        status: 201,
        id: 'mine-1',
        body: { body: { size: 3 }, username: 'anonymous', key: 'k' },
      });
      expect(lines).toEqual([
        expect.objectContaining({
          message: 'Request served',
          requestID: 'mine-1',
          route: 'make',
          method: 'POST',
          caller: 'anonymous',
          code: 'OK',
          status: 201,
        }),
      ]);
    });
    it('takes no body for an empty one', async () => {
      await start();
      expect(await call('/things', { method: 'POST' })).toMatchObject({ status: 201, body: { body: { size: 1 } } });
    });
    it('names fields that it does not know', async () => {
      await start();
      const { status, headers } = await post('{"test": "data"}');
      expect([status, headers.get('warning')]).toEqual([201, '299 berth "Unknown fields are passed over: test"']);
    });
    it('reads path and query, and answers HEAD without a body', async () => {
      await start();
      expect(await call('/things/a%2Fb?n=7')).toMatchObject({ status: 200, body: { params: { id: 'a/b' }, query: { n: 7 } } });
      expect(await call('/things/a', { method: 'HEAD' })).toMatchObject({ status: 200, body: undefined });
      expect(await call('/things/a', { method: 'DELETE' })).toMatchObject({ status: 204, body: undefined });
    });
    it('takes bytes as they come, and gives them so', async () => {
      await start();
      expect(await call('/bytes', { method: 'POST', body: 'x'.repeat(1_000_000) })).toMatchObject({ body: { length: 1_000_000 } });
      expect(await (await fetch(`http://127.0.0.1:${serving?.api.port}/stream`)).text()).toBe('one two');
    });

    it.each([
      { when: 'nothing is there', path: '/other', init: {}, status: 404, code: 'NotFound' },
      { when: 'the method is another', path: '/things', init: { method: 'PUT' }, status: 405, code: 'MethodNotAllowed' },
      { when: 'a part of the path is wrong', path: '/things/toolong', init: {}, status: 400, code: 'InvalidRequest' },
      { when: 'the path is no text', path: '/things/%ff', init: {}, status: 404, code: 'NotFound' },
      { when: 'the query is wrong', path: '/things/a?n=x', init: {}, status: 400, code: 'InvalidRequest' },
      { when: 'the path is long', path: `/things/${'a'.repeat(9_000)}`, init: {}, status: 414, code: 'UriTooLong' },
      { when: 'something fails', path: '/fail', init: {}, status: 500, code: 'Internal' },
    ])('says $code when $when', async ({ path, init, status, code }) => {
      await start();
      const answer = await call(path, init);
      expect(answer).toMatchObject({ status, body: { error: { code, requestID: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown } } });
      expect(JSON.stringify(answer.body)).not.toContain('swordfish');
    });

    const json = { 'content-type': 'application/json' };
    it.each([
      { when: 'a body is a mebibyte', body: `{"size":"${'x'.repeat(1024 * 1024)}"}`, headers: json, status: 413, code: 'BodyTooLarge' },
      { when: 'JSON is deep', body: '['.repeat(100_000), headers: json, status: 400, code: 'MalformedJson' },
      {
        when: 'JSON is deep and right',
        body: `${'['.repeat(90_000)}${']'.repeat(90_000)}`,
        headers: json,
        status: 400,
        code: 'JsonTooDeep',
      },
      {
        when: 'it is a form',
        body: 'a=b',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        status: 415,
        code: 'UnsupportedMediaType',
      },
      { when: 'a field is wrong', body: '{"size":"x"}', headers: json, status: 400, code: 'InvalidRequest' },
      { when: 'the key has spaces', body: '{}', headers: { ...json, 'idempotency-key': 'a b' }, status: 400, code: 'InvalidRequest' },
    ])('says $code when $when, and goes on', async ({ body, headers, status, code }) => {
      await start();
      expect(await post(body, headers)).toMatchObject({ status, body: { error: { code } } });
      expect(await post('{}')).toMatchObject({ status: 201 });
    });

    it('refuses a body that comes in chunks as soon as it is too large', async () => {
      await start({ limits: { bodyBytes: 1000 } });
      const chunk = `3e8\r\n${'x'.repeat(1000)}\r\n`;
      const head = 'POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
      const heard = await say(`${head}${chunk.repeat(3)}0\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      expect([...heard.matchAll(/"code":"(\w+)"/g)].map(([, code]) => code)).toEqual(['BodyTooLarge', 'NotFound']);
    });
    it('asks for no body that it would refuse', async () => {
      await start();
      const head =
        'POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n';
      const heard = await say(head);
      expect([heard.includes('100 Continue'), codeIn(heard)]).toEqual([false, 'BodyTooLarge']);
    });

    it.each([
      { when: 'it is no HTTP', words: '\0\x01\x02\r\n\r\n', code: 'BadRequest' },
      { when: 'the header is large', words: `GET / HTTP/1.1\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, code: 'HeadersTooLarge' },
      { when: 'a header ends nowhere', words: 'GET / HTTP/1.1\r\nHost: a\r\n', code: 'RequestTimeout' },
      {
        when: 'a body ends nowhere',
        words: 'POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
        code: 'RequestTimeout',
      },
      { when: 'it wants to be a proxy', words: 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', code: 'MethodNotAllowed' },
      {
        when: 'it expects what there is not',
        words: 'GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nConnection: close\r\n\r\n',
        code: 'ExpectationFailed',
      },
    ])('says $code when $when', async ({ words, code }) => {
      await start({ limits: { headersMs: 300, requestMs: 600 } });
      expect(codeIn(await say(words))).toBe(code);
    });

    it('takes so many connections and no more', async () => {
      await start({ limits: { connections: 1 } });
      const first = connect(serving?.api.port ?? 0, '127.0.0.1', () => first.write('GET /wait HTTP/1.1\r\nHost: a\r\n\r\n'));
      first.on('error', () => undefined);
      const heard = async (): Promise<string | undefined> => {
        const code = codeIn(await say('GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'));
        return code === 'NotFound' ? heard() : code;
      };
      expect(await heard()).toBe('TooManyConnections');
      first.destroy();
    });

    it('says that it is not ready until it knows what there is, to all but those who are not asked who they are', async () => {
      const unknown: { why: string | undefined } = { why: 'the caches have not synced yet' };
      await start({ notReady: () => unknown.why });
      const { status, headers, body } = await call('/things/a');
      expect({ status, retry: headers.get('retry-after'), body }).toMatchObject({
        ...{ status: 503, retry: '1' },
        body: {
          error: { code: 'NotReady', message: 'This operator pod has just started, and the caches have not synced yet: ask another one.' },
        },
      });
      expect(await call('/things/a', { method: 'DELETE' })).toMatchObject({ status: 204 });
      unknown.why = undefined;
      expect(await call('/things/a')).toMatchObject({ status: 200 });
    });

    it('ends what waits when it closes, and says so', async () => {
      await start();
      const waiting = call('/wait');
      while (lines.length === 0 && (await call('/things/a')).status !== 200);
      const closing = serving?.close();
      serving = undefined;
      const { status, headers, body } = await waiting;
      await closing;
      expect({ status, retry: headers.get('retry-after'), body }).toMatchObject({
        status: 503,
        retry: '1',
        body: { error: { code: 'ShuttingDown' } },
      });
    });
  });

  describe('callers', () => {
    const callers: Callers = {
      identify: (authorization) =>
        authorization === 'Bearer good'
          ? Promise.resolve({ username: 'ann', user: undefined })
          : Promise.reject(new ApiError('Unauthenticated')),
      authorize: (_caller, { verb }) => (verb === 'create' ? Promise.reject(new ApiError('Forbidden', 'ann may not.')) : Promise.resolve()),
    };
    it('are asked before their body is read', async () => {
      await start({ callers });
      const { status, headers, body } = await post('{"size":');
      expect({ status, asks: headers.get('www-authenticate'), body }).toMatchObject({
        status: 401,
        asks: 'Bearer',
        body: { error: { code: 'Unauthenticated' } },
      });
    });
    it('may do what they may do, and what is open to all', async () => {
      await start({ callers });
      expect(await post('{}', { 'content-type': 'application/json', authorization: 'Bearer good' })).toMatchObject({
        status: 403,
        body: { error: { code: 'Forbidden', message: 'ann may not.' } },
      });
      expect(await call('/things/a', { method: 'DELETE' })).toMatchObject({ status: 204 });
      expect(JSON.stringify(lines)).not.toContain('good');
    });
  });

  describe('gRPC beside it', () => {
    it('is told by its first bytes', async () => {
      const { hub, api } = await start();
      expect(hub.port).toBe(api.port);
      expect(await greet(hub.port)).toBe('welcome');
      expect(await call('/things/a')).toMatchObject({ status: 200 });
    });
    it('goes on after garbage', async () => {
      const { hub } = await start();
      const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
      for (const garbage of [`${preface}no frame`, `${preface}${'\xff'.repeat(4_000)}`, 'PRI * HTTP/2.0 and then something else\r\n\r\n'])
        await say(garbage, hub.port, 300);
      expect(await greet(hub.port)).toBe('welcome');
      expect(await call('/things/a')).toMatchObject({ status: 200 });
    });
    it('tells who brings JSON over HTTP/2 what to do', async () => {
      const { api } = await start();
      const session = connectHttp2(`http://127.0.0.1:${api.port}`);
      const stream = session.request({ ':method': 'POST', ':path': '/things', 'content-type': 'application/json' });
      const status = new Promise((resolve) => stream.once('response', (headers) => resolve(headers[constants.HTTP2_HEADER_STATUS])));
      stream.end('{}');
      expect([await status, codeIn(await text(stream))]).toEqual([505, 'HttpVersionNotSupported']);
      session.destroy();
    });
    it('has a port of its own when it is split off', async () => {
      const { hub, api } = await start({ isSplit: true });
      expect(hub.port).not.toBe(api.port);
      expect(await greet(hub.port)).toBe('welcome');
      expect(await call('/things/a')).toMatchObject({ status: 200 });
      expect(codeIn(await say('GET / HTTP/1.1\r\nHost: a\r\n\r\n', hub.port))).toBe('GrpcOnly');
      expect(await greet(api.port)).not.toBe('welcome');
    });
  });

  describe('under TLS', () => {
    const get = (ALPNProtocols: string[] | undefined) =>
      new Promise<number | undefined>((resolve, reject) => {
        const options = { host: 'localhost', port: serving?.api.port, path: '/things/a', ca: cert, agent: false as const };
        request({ ...options, ...(ALPNProtocols && { ALPNProtocols }) }, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end();
      });
    it.each([
      { offers: undefined, when: 'nothing' },
      { offers: ['http/1.1'], when: 'HTTP/1.1' },
      { offers: ['h2', 'http/1.1'], when: 'both' },
    ])('serves JSON to who offers $when', async ({ offers }) => {
      await start({ usesTls: true });
      expect(await get(offers)).toBe(200);
    });
    it('serves gRPC to who offers HTTP/2 alone', async () => {
      const { hub } = await start({ usesTls: true });
      expect(await greet(hub.port, true)).toBe('welcome');
    });
    it('tells who forgot TLS, in both protocols', async () => {
      await start({ usesTls: true });
      expect(codeIn(await say('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))).toBe('TlsRequired');
      expect(codeIn(await say('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'))).toBe('TlsRequired');
    });
    it('goes on after handshakes that are none', async () => {
      await start({ usesTls: true });
      await say('\x16\x03\x01garbage and more garbage, until it is long enough');
      const refused = await new Promise<string>((resolve) => {
        connectTls({ port: serving?.api.port ?? 0, host: 'localhost', ca: cert, ALPNProtocols: ['spdy/1'] })
          .on('error', ({ message }: Error) => resolve(message))
          .on('secureConnect', () => resolve('connected'));
      });
      expect(refused).toContain('no application protocol');
      expect(await get(undefined)).toBe(200);
    });
  });

  it('does not listen without TLS where others can reach it, and says which port it can not have', async () => {
    const { api } = await start();
    const shared = { hub: none, api: none, apiListen: undefined, tls: undefined, isUnsafeAllowed: false, clock, log: silentLogger };
    await expect(startServing({ ...shared, listen: { host: '0.0.0.0', port: 0 } })).rejects.toMatchObject({ code: 'InsecureListen' });
    await expect(startServing({ ...shared, listen: { host: '127.0.0.1', port: api.port } })).rejects.toMatchObject({
      code: 'ListenFailed',
    });
  });
});

const none = { inject: () => undefined, close: () => Promise.resolve() };
