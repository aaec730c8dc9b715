import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { text } from 'node:stream/consumers';
import { connect as connectHttp2, type Settings } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { Metadata, credentials, status, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { AgentHubClient, type AgentMessage, type OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import { aHello, aRunnerReport } from '../../test/builders/scripted-agent.ts';
import { Hub } from './controller.ts';
import { openPort, type Port } from '../http/port.server.ts';
import { createHubServer, type HubServer } from './hub.server.ts';
import type { Authentication } from './stream.ts';

describe('the hub over gRPC', () => {
  let hub: Hub;
  let grpc: HubServer;
  let server: Port;
  let tokens: (string | undefined)[];
  const clients: AgentHubClient[] = [];

  beforeEach(async () => {
    tokens = [];
    hub = new Hub({
      clock: systemClock(),
      log: silentLogger,
      operatorName: 'operator-1',
      operatorVersion: '1.0',
      authenticator: {
        authenticate: (token): Promise<Authentication> => {
          tokens.push(token);
          return Promise.resolve(
            token === 'good'
              ? { kind: 'Authenticated', identity: { nodeName: 'r1', expiresAt: undefined } }
              : { kind: 'Refused', code: 'Unauthenticated', message: 'The token is not valid.' },
          );
        },
      },
    });
    grpc = createHubServer({ hub, log: silentLogger });
    const http2 = (socket: Socket) => grpc.inject(socket);
    server = await openPort({
      host: '127.0.0.1',
      port: 0,
      tls: undefined,
      http1: undefined,
      http2,
      clock: systemClock(),
      log: silentLogger,
    });
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await server.close(() => grpc.close());
  });

  type Stream = ClientDuplexStream<AgentMessage, OperatorMessage>;

  function dial(authorization?: string): Stream {
    const client = new AgentHubClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
    clients.push(client);
    const metadata = new Metadata();
    if (authorization !== undefined) metadata.set('authorization', authorization);
    const stream = client.connect(metadata);
    stream.write({ message: { $case: 'hello', value: aHello('r1') } });
    return stream;
  }
  const next = (stream: Stream) => new Promise<OperatorMessage>((resolve) => stream.once('data', resolve));
  const ended = (stream: Stream) =>
    new Promise<Pick<ServiceError, 'code' | 'details'>>((resolve) =>
      stream.once('error', ({ code, details }: ServiceError) => resolve({ code, details })),
    );
  const until = async (test: () => boolean) => {
    while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  it('welcomes an agent with its token, takes its inventory and sends it orders', async () => {
    const stream = dial('Bearer good');
    stream.on('error', () => undefined);
    expect(await next(stream)).toMatchObject({ message: { $case: 'welcome', value: { version: 1, operatorName: 'operator-1' } } });
    expect(tokens).toEqual(['good']);
    stream.write({ message: { $case: 'inventory', value: { seq: 1, copies: [], runner: aRunnerReport, last: true, tick: 1 } } });
    await until(() => hub.facts('r1')?.isComplete === true);
    const order = {
      uid: 'u',
      namespace: 'n',
      name: 'u',
      epoch: 1,
      order: 2,
      storeId: 's',
      bootId: 'b',
      wanted: 3,
      contentVersion: 0,
      graceSeconds: 4,
    } as const;
    const rest = { source: undefined, config: undefined, credentials: [], secretEnv: [], backup: undefined };
    hub.send('r1', { ...order, ...rest }, { isAccepted: false });
    expect(await next(stream)).toMatchObject({ message: { $case: 'order', value: order } });
    stream.end();
    await until(() => hub.facts('r1')?.isConnected === false);
  });

  it.each([undefined, 'Bearer bad', 'Basic good'])('refuses an agent that shows %p', async (authorization) => {
    expect(await ended(dial(authorization))).toEqual({ code: status.UNAUTHENTICATED, details: 'The token is not valid.' });
    expect(hub.instances()).toEqual([]);
  });

  it('takes only so many streams on one connection', async () => {
    const session = connectHttp2(`http://127.0.0.1:${server.port}`);
    const settings = await new Promise<Settings>((resolve) => session.once('remoteSettings', resolve));
    expect(settings.maxConcurrentStreams).toBe(256);
    session.destroy();
  });

  it('notices an agent that vanishes', async () => {
    const stream = dial('Bearer good');
    stream.on('error', () => undefined);
    await next(stream);
    clients[0]?.close();
    stream.cancel();
    await until(() => hub.instances().length === 0);
  });

  it('ends its streams when it closes', async () => {
    const stream = dial('Bearer good');
    await next(stream);
    const end = ended(stream);
    await server.close(() => grpc.close());
    expect(await end).toMatchObject({ code: status.UNAVAILABLE });
  });

  it('goes on after nonsense on its port', async () => {
    for (const nonsense of ['GET / HTTP/1.1\r\n\r\n', '\0\0\0\0', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame']) {
      await new Promise<void>((resolve) => {
        const socket = connectSocket(server.port, '127.0.0.1', () => socket.write(nonsense));
        socket.on('error', () => resolve());
        socket.on('close', () => resolve());
        socket.setTimeout(300, () => socket.destroy());
      });
    }
    const stream = dial('Bearer good');
    stream.on('error', () => undefined);
    expect(await next(stream)).toMatchObject({ message: { $case: 'welcome' } });
  });

  it('tells who speaks HTTP/2 and not gRPC what is served here', async () => {
    const session = connectHttp2(`http://127.0.0.1:${server.port}`);
    const request = session.request({ ':method': 'POST', ':path': '/sandbox/reserve', 'content-type': 'application/json' });
    const status = new Promise((resolve) => request.once('response', (headers) => resolve(headers[':status'])));
    request.end('{}');
    const body = await text(request);
    expect({ status: await status, body: JSON.parse(body) as unknown }).toMatchObject({
      status: 505,
      body: { error: { code: 'HttpVersionNotSupported' } },
    });
    session.destroy();
  });
});
