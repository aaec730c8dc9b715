import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { FakeClock } from '../process/fake-clock.ts';
import { loadConnection } from './config.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-kubeconfig-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function kubeconfig(user: object, over: { readonly cluster?: object; readonly context?: object } = {}): Promise<string> {
  const file = join(directory, `config-${Math.random()}`);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server: 'https://example.test:6443/', ...over.cluster } }],
    users: [{ name: 'u', user }],
    contexts: [
      { name: 'x', context: { cluster: 'c', user: 'u', ...over.context } },
      { name: 'y', context: { cluster: 'c', user: 'u', namespace: 'other' } },
    ],
    'current-context': 'x',
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('kubeconfig', () => {
  it.each([
    { when: 'a token', user: { token: 'secret' }, want: { headers: { authorization: 'Bearer secret' } } },
    {
      when: 'a name and a password',
      user: { username: 'n', password: 'p' },
      want: { headers: { authorization: `Basic ${base64('n:p')}` } },
    },
    {
      when: 'a client certificate',
      user: { 'client-certificate-data': base64('CERT'), 'client-key-data': base64('KEY') },
      want: { headers: {}, tls: { cert: Buffer.from('CERT'), key: Buffer.from('KEY') } },
    },
    { when: 'nothing', user: {}, want: { headers: {} } },
  ])('gives $when', async ({ user, want }) => {
    const connection = await loadConnection({ kubeconfig: await kubeconfig(user), clock: new FakeClock() });
    expect([connection.server, connection.namespace]).toEqual(['https://example.test:6443', 'default']);
    expect(await connection.credentials()).toMatchObject(want);
  });

  it('gives authorities, the name to verify, and whether to verify at all', async () => {
    const cluster = { 'certificate-authority-data': base64('CA'), 'tls-server-name': 'name', 'insecure-skip-tls-verify': true };
    const connection = await loadConnection({ kubeconfig: await kubeconfig({ token: 't' }, { cluster }), clock: new FakeClock() });
    expect((await connection.credentials()).tls).toMatchObject({ ca: Buffer.from('CA'), servername: 'name', rejectUnauthorized: false });
  });

  it('reads a token file again when what it read is old, or was refused', async () => {
    const tokenFile = join(directory, 'token');
    const clock = new FakeClock();
    await writeFile(tokenFile, 'one\n');
    const connection = await loadConnection({ kubeconfig: await kubeconfig({ tokenFile: 'token' }), clock });
    const header = async () => (await connection.credentials()).headers.authorization;
    expect(await header()).toBe('Bearer one');
    await writeFile(tokenFile, 'two');
    clock.advance(9_999);
    expect(await header()).toBe('Bearer one');
    clock.advance(1);
    expect(await header()).toBe('Bearer two');
    await writeFile(tokenFile, 'three');
    connection.invalidate();
    expect(await header()).toBe('Bearer three');
    await rm(tokenFile);
    connection.invalidate();
    await expect(header()).rejects.toMatchObject({ code: 'CredentialsUnreadable' });
    await writeFile(tokenFile, 'four');
    expect(await header()).toBe('Bearer four');
  });

  it('takes the context that was asked for', async () => {
    const connection = await loadConnection({ kubeconfig: await kubeconfig({}), context: 'y', clock: new FakeClock() });
    expect(connection.namespace).toBe('other');
  });

  it.each([
    { when: 'there is no such file', over: {}, file: '/nowhere/config', message: 'cannot be used' },
    { when: 'there is no such context', over: { select: 'z' }, file: undefined, message: 'it has no context z' },
    {
      when: 'the cluster is behind a proxy',
      over: { cluster: { 'proxy-url': 'http://p:1' } },
      file: undefined,
      message: 'through a proxy',
    },
    {
      when: 'the context names no known cluster',
      over: { context: { cluster: 'none' } },
      file: undefined,
      message: 'There is no API server to connect to',
    },
  ])('is refused when $when', async ({ over, file, message }) => {
    const { select, ...rest } = over as { readonly select?: string; readonly cluster?: object; readonly context?: object };
    const load = loadConnection({ kubeconfig: file ?? (await kubeconfig({ token: 't' }, rest)), context: select, clock: new FakeClock() });
    await expect(load).rejects.toMatchObject({ code: 'KubeConfigInvalid', message: expect.stringContaining(message) as unknown });
  });
});
