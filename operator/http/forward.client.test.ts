import { createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { fakeCertificate } from '../../process/fake-certificate.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import type { TlsReloader } from '../../process/tls.ts';
import { createApiServer } from './api.server.ts';
import type { Callers } from './callers.client.ts';
import { ApiError } from './errors.ts';
import { Forwarder } from './forward.client.ts';
import type { Operation } from './operation.ts';
import { startServing } from './serving.server.ts';

const clock = systemClock();
const permission = { verb: 'create', subresource: 'things' } as const;
const common = { summary: '', permission, answers: {}, errors: [] } as const;
/** Who asks is the token. */
const callers: Callers = {
  identify: (header) => Promise.resolve({ username: header ?? '', user: undefined }),
  authorize: () => Promise.resolve(),
};

/** What a pod serves: `name` is in its answers; undefined: it lacks the runner. */
function operationsOf(name: string | undefined, served: string[]): readonly Operation[] {
  const orLacking = async <T>(what: string, answer: () => T | Promise<T>): Promise<T> => {
    if (name === undefined) throw new ApiError('RunnerUnreachable');
    served.push(`${name}: ${what}`);
    return await answer();
  };
  const body = z.object({ size: z.int() });
  return [
    {
      route: { ...common, id: 'make', method: 'POST', path: '/things', query: z.object({ n: z.string().default('') }), body },
      serve: ({ body: given, query, caller: { username }, idempotencyKey: key }) =>
        orLacking('make', () => ({ status: 201, body: { name, given, query, username, key }, headers: { Location: '/things/1' } })),
    },
    {
      route: { ...common, id: 'conflict', method: 'POST', path: '/conflict' },
      serve: () => orLacking('conflict', () => Promise.reject(new ApiError('TaskEnded'))),
    },
    {
      route: { ...common, id: 'measure', method: 'POST', path: '/bytes', body: 'Bytes' },
      serve: (request) =>
        orLacking('measure', async () => {
          let length = 0;
          for await (const chunk of request.bytes()) length += chunk.length;
          return { status: 200, body: { name, length } };
        }),
    },
    {
      route: { ...common, id: 'spend', method: 'POST', path: '/spent', body: 'Bytes' },
      serve: async (request) => {
        served.push(`${name ?? 'lacking'}: asked`);
        for await (const chunk of request.bytes()) served.push(`${name ?? 'lacking'}: took ${chunk.length}`);
        throw new ApiError('RunnerUnreachable');
      },
    },
    {
      route: { ...common, id: 'listen', method: 'GET', path: '/stream' },
      serve: () =>
        orLacking('listen', () => ({
          ...{ status: 200, contentType: 'text/event-stream' },
          stream: async (out) => {
            for (const part of ['one ', 'two']) await out.write(part);
          },
        })),
    },
    {
      route: { ...common, id: 'ask', method: 'GET', path: '/ask' },
      serve: async ({ elsewhere }) => ({ status: 200, body: { elsewhere: (await elsewhere?.({ n: 'changed' })) ?? 'nobody' } }),
    },
  ];
}

describe('requests that a pod can not do since it lacks the runner', () => {
  const stops: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0)) await stop();
  });

  const { cert, key } = fakeCertificate('berth-operator');
  const material = { cert: Buffer.from(cert), key: Buffer.from(key), ca: undefined };
  const tls: TlsReloader = { current: () => material, onChange: () => () => undefined, run: () => Promise.resolve() };
  const served: string[] = [];

  /** A pod, by its address. */
  const aPod = async (name: string | undefined, peers: () => readonly string[] = () => [], { usesTls = false, isNew = false } = {}) => {
    const ca = () => (usesTls ? Buffer.from(cert) : undefined);
    const forwarder = new Forwarder({
      ...{ peers, apiListen: undefined, ca, serverName: usesTls ? 'localhost' : undefined, podName: name ?? 'lacking' },
      ...{ clock, log: silentLogger },
    });
    const serving = await startServing({
      hub: { inject: (socket) => socket.destroy(), close: () => Promise.resolve() },
      api: createApiServer({
        ...{ operations: operationsOf(name, served), callers, forwarder, clock, log: silentLogger },
        notReady: () => (isNew ? 'the caches have not synced yet' : undefined),
      }),
      listen: { host: '127.0.0.1', port: 0 },
      ...{ apiListen: undefined, tls: usesTls ? tls : undefined, isUnsafeAllowed: false, clock, log: silentLogger },
    });
    stops.push(() => serving.close());
    return `127.0.0.1:${serving.api.port}`;
  };
  /** One that takes connections and what is sent, and then ends them. */
  const aDyingPod = async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).once('data', () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    stops.push(() => new Promise((resolve) => server.close(() => resolve())));
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const call = async (pod: string, path: string, init: RequestInit = {}) => {
    served.splice(0);
    const response = await fetch(`http://${pod}${path}`, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type') === 'application/json';
    return { status: response.status, headers: response.headers, body: isJson ? (JSON.parse(text) as unknown) : text };
  };
  const make = (pod: string) =>
    call(pod, '/things?n=5', {
      method: 'POST',
      body: '{"size": 3, "odd": 1}',
      headers: { 'content-type': 'application/json', authorization: 'Bearer me', 'idempotency-key': 'k', 'x-request-id': 'mine' },
    });

  it('are answered by the pod that reaches it, as if that had been asked', async () => {
    const [lacking, having] = [await aPod(undefined), await aPod('having')];
    const pod = await aPod(undefined, () => [lacking, having]);
    const { status, headers, body } = await make(pod);
    expect(status).toBe(201);
    expect(body).toEqual({ name: 'having', given: { size: 3 }, query: { n: '5' }, username: 'Bearer me', key: 'k' });
    expect([headers.get('location'), headers.get('x-request-id')]).toEqual(['/things/1', 'mine']);
    expect(headers.get('warning')).toContain('odd');
    expect(served).toEqual(['having: make']);
  });

  it('go on to the next pod when one has only just started', async () => {
    const [started, having] = [await aPod('started', undefined, { isNew: true }), await aPod('having')];
    const { status, body } = await make(await aPod(undefined, () => [started, having]));
    expect({ status, body }).toMatchObject({ status: 201, body: { name: 'having' } });
    expect(served).toEqual(['having: make']);
  });

  it('are told its errors', async () => {
    const having = await aPod('having');
    const answer = await call(await aPod(undefined, () => [having]), '/conflict', { method: 'POST' });
    expect([answer.status, answer.body]).toMatchObject([409, { error: { code: 'TaskEnded' } }]);
  });

  it('are told that nobody reaches it when no pod does', async () => {
    const lacking = await aPod(undefined);
    const answer = await make(await aPod(undefined, () => ['127.0.0.1:1', lacking]));
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    expect(answer.body).toMatchObject({ error: { code: 'RunnerUnreachable' } });
  });

  it('go to one other pod, and not round in a circle', async () => {
    const addresses: string[] = [];
    addresses.push(await aPod(undefined, () => addresses), await aPod(undefined, () => addresses));
    expect((await make(addresses[0] ?? '')).status).toBe(503);
    const asked = await call(addresses[0] ?? '', '/ask');
    // The other one may ask nobody.
    expect(asked.body).toEqual({ elsewhere: { status: 200, headers: {}, body: { elsewhere: 'nobody' } } });
  });

  it('bring a body that comes only once to the pod that takes it, and to no other', async () => {
    const [lacking, having] = [await aPod(undefined), await aPod('having')];
    const pod = await aPod(undefined, () => ['127.0.0.1:1', lacking, having]);
    const answer = await call(pod, '/bytes', { method: 'POST', body: Buffer.alloc(3_000_000) });
    expect(answer.body).toEqual({ name: 'having', length: 3_000_000 });
    const spent = await call(pod, '/spent', { method: 'POST', body: 'abc' });
    expect([spent.status, served]).toEqual([503, ['lacking: asked', 'lacking: took 3']]);
  });

  it('are answered with streams as they come', async () => {
    const having = await aPod('having');
    const answer = await call(await aPod(undefined, () => [having]), '/stream');
    expect([answer.status, answer.headers.get('content-type'), answer.body]).toEqual([200, 'text/event-stream', 'one two']);
  });

  it('are not sent to another pod after one that may have done it: nobody knows then', async () => {
    const [dying, having] = [await aDyingPod(), await aPod('having')];
    const pod = await aPod(undefined, () => [dying, having]);
    const answer = await make(pod);
    expect([answer.status, answer.body]).toMatchObject([503, { error: { code: 'OutcomeUnknown' } }]);
    expect(served).toEqual([]);
    // What changes nothing is.
    expect((await call(pod, '/stream')).body).toBe('one two');
  });

  it('are sent over TLS to who has the name of the operator', async () => {
    const having = await aPod('having', () => [], { usesTls: true });
    const pod = await aPod('other', () => [having], { usesTls: true });
    const forwarder = (serverName: string) =>
      new Forwarder({
        ...{
          peers: () => [having, pod],
          apiListen: undefined,
          ca: () => Buffer.from(cert),
          serverName,
          podName: 'x',
          clock,
          log: silentLogger,
        },
      });
    const request = {
      ...{ id: 'a', method: 'GET', url: '/stream', header: () => undefined, body: undefined, signal: new AbortController().signal },
    };
    expect(await forwarder('localhost').ask(request)).toMatchObject({ status: 200, contentType: 'text/event-stream' });
    expect(await forwarder('somebody-else').ask(request)).toBeUndefined();
  });
});
