import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import { ScriptedAgent, aReport } from '../../test/builders/scripted-agent.ts';
import { Hub } from '../hub/controller.ts';
import { openPort, type Port } from '../http/port.server.ts';
import { createHubServer, type HubServer } from '../hub/hub.server.ts';
import type { Authentication } from '../hub/stream.ts';
import { noAuthentication } from '../hub/token-review.client.ts';
import { grpcPeerDialer, requireSecurePeers } from './relay.client.ts';
import { RelayServing } from './serving.server.ts';

describe('relays over gRPC', () => {
  const clock = systemClock();
  let hub: Hub;
  let grpc: HubServer;
  let server: Port;
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'berth-relay-'));
    const own = { clock, log: silentLogger, operatorName: 'pod-2', operatorVersion: '1' };
    hub = new Hub({ ...own, authenticator: noAuthentication });
    const authenticate = (token: string | undefined): Promise<Authentication> =>
      token === 'good'
        ? noAuthentication.authenticate(token)
        : Promise.resolve({ kind: 'Refused', code: 'PermissionDenied', message: 'The token is that of somebody else.' });
    const relay = new RelayServing({ ...own, hub, authenticator: { authenticate } });
    grpc = createHubServer({ hub, relay, log: silentLogger });
    const http2 = (socket: Socket) => grpc.inject(socket);
    server = await openPort({ host: '127.0.0.1', port: 0, tls: undefined, http1: undefined, http2, clock, log: silentLogger });
  });
  afterEach(async () => {
    await server.close(() => grpc.close());
    await rm(folder, { recursive: true });
  });

  const until = async (test: () => boolean) => {
    while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  async function dial(token: string | undefined) {
    const tokenFile = join(folder, 'token');
    if (token !== undefined) await writeFile(tokenFile, `${token}\n`);
    const heard: NonNullable<RelayMessage['message']>[] = [];
    const closed: string[] = [];
    const dialer = grpcPeerDialer({ ca: () => undefined, serverName: undefined, tokenFile, clock });
    const stream = dialer.dial(`127.0.0.1:${server.port}`, {
      received: ({ message }) => {
        if (message !== undefined) heard.push(message);
      },
      closed: (reason) => void closed.push(reason),
    });
    stream.send({ message: { $case: 'hello', value: { minVersion: 1, maxVersion: 1, operatorName: 'pod-1', operatorVersion: '1' } } });
    return { heard, closed, stream };
  }

  it('carries what an agent says to the leader, and what the leader says to the agent', async () => {
    const agent = new ScriptedAgent('r1').dial(hub);
    await until(() => agent.isWelcome);
    agent.inventory(aReport('a', 1));
    const { heard, stream } = await dial('good');
    await until(() => heard.length > 0);
    expect(heard[0]).toEqual({ $case: 'welcome', value: { version: 1, operatorName: 'pod-2', operatorVersion: '1' } });
    stream.send({ message: { $case: 'wanted', value: { runnerNames: ['r1', 'r2'] } } });
    await until(() => heard.length > 2);
    expect(heard.slice(1)).toMatchObject([
      { value: { runnerName: 'r1', message: { message: { $case: 'hello', value: agent.hello } } } },
      { value: { runnerName: 'r1', message: { message: { $case: 'inventory', value: { seq: 1, last: true, copies: [{ uid: 'a' }] } } } } },
    ]);
    const unclaimed = { storeId: 'store-r1', copies: [], validSeconds: 5 };
    const welcome = { version: 9, capabilities: [], operatorName: 'x', operatorVersion: 'x', operatorId: 'x' };
    for (const message of [
      { $case: 'welcome' as const, value: welcome },
      { $case: 'unclaimed' as const, value: unclaimed },
    ])
      stream.send({ message: { $case: 'toAgent', value: { runnerName: 'r1', message: { message } } } });
    await until(() => agent.heard.length > 1);
    expect(agent.heard.slice(1)).toEqual([{ $case: 'unclaimed', value: unclaimed }]);
    stream.close();
  });

  it.each([
    { when: 'its token is that of somebody else', token: 'other', says: /PERMISSION_DENIED: The token is that of somebody else/ },
    { when: 'it has none', token: undefined, says: /The token can not be read/ },
  ])('ends with the reason when $when', async ({ token, says }) => {
    const { closed, heard } = await dial(token);
    await until(() => closed.length > 0);
    expect([closed, heard]).toEqual([[expect.stringMatching(says)], []]);
  });

  it('is not dialled in plain text on another machine', () => {
    requireSecurePeers(['10.0.0.5:3001'], true);
    requireSecurePeers(['127.0.0.1:3001', '[::1]:3001', 'localhost:3001'], false);
    expect(() => requireSecurePeers(['127.0.0.1:3001', '10.0.0.5:3001'], false)).toThrow(/10\.0\.0\.5:3001.*BERTH_PEER_CA/);
    requireSecurePeers([], true, 'berth-operator');
    expect(() => requireSecurePeers([], false, 'berth-operator')).toThrow(/Service berth-operator.*BERTH_PEER_CA/);
  });
});
