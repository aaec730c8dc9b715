import { mkdtemp, rename, rm, symlink, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { fakeCertificate } from './fake-certificate.ts';
import type { FakeCertificate } from './fake-certificate.ts';
import { FakeClock } from './fake-clock.ts';
import type { Logger } from './log.ts';
import { silentLogger } from './log.ts';
import { loadTls } from './tls.ts';

const [first, second] = [fakeCertificate('first'), fakeCertificate('second')];
const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** A mounted Secret: the files are links into a directory that is replaced by renaming a link. */
async function setUp(content: Partial<FakeCertificate> = first) {
  const directory = await mkdtemp(join(tmpdir(), 'berth-tls-'));
  cleanUp.push(() => rm(directory, { recursive: true }));
  let version = 0;
  const mount = async ({ cert, key }: Partial<FakeCertificate>) => {
    const data = join(directory, `..${++version}`);
    await mkdir(data);
    if (cert !== undefined) await writeFile(join(data, 'tls.crt'), cert);
    if (key !== undefined) await writeFile(join(data, 'tls.key'), key);
    await symlink(data, join(directory, '..new'));
    await rename(join(directory, '..new'), join(directory, '..data'));
  };
  await mount(content);
  for (const file of ['tls.crt', 'tls.key']) await symlink(join('..data', file), join(directory, file));
  const files = { certFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key'), caFile: join(directory, 'tls.crt') };
  const clock = new FakeClock();
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, info: (_, line) => void lines.push(line), error: (_, line) => void lines.push(line) };
  /** One comparison of the files, over the real file system. */
  const compare = async () => {
    clock.advance(10_000);
    while (clock.timers === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  };
  const load = () => loadTls({ files, clock, log });
  const start = async () => {
    const tls = await load();
    const stop = new AbortController();
    const done = tls.run(stop.signal);
    cleanUp.push(async () => {
      stop.abort();
      await done;
    });
    return tls;
  };
  return { files, mount, lines, load, start, compare };
}

describe('TLS files', () => {
  it('are read again when they are replaced, and a server takes the new ones without a restart', async () => {
    const { mount, lines, start, compare } = await setUp();
    const tls = await start();
    const server = createServer({ ...tls.current() }, (socket) => socket.end());
    tls.onChange((material) => server.setSecureContext({ ...material }));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanUp.push(() => new Promise((resolve) => server.close(resolve)));
    const seen = () =>
      new Promise<unknown>((resolve, reject) => {
        const socket = connect(
          { port: (server.address() as AddressInfo).port, host: '127.0.0.1', ca: tls.current().ca, servername: 'localhost' },
          () => {
            resolve(socket.getPeerCertificate().subject.CN);
            socket.destroy();
          },
        );
        socket.on('error', reject);
      });
    expect(await seen()).toBe('first');
    await mount(second);
    await compare();
    expect([await seen(), lines]).toEqual(['second', ['TLS files reloaded']]);
  });

  it('stay in use while those on disk do not fit together, and are replaced when they do', async () => {
    const { mount, lines, start, compare } = await setUp();
    const tls = await start();
    const changes: unknown[] = [];
    const unsubscribe = tls.onChange((material) => changes.push(material));
    await mount({ cert: second.cert, key: first.key });
    await compare();
    await mount({ cert: second.cert });
    await compare();
    expect([tls.current().cert?.toString(), changes, lines]).toEqual([
      first.cert,
      [],
      ['TLS files not reloaded, the old ones stay in use', 'TLS files not reloaded, the old ones stay in use'],
    ]);
    await mount(second);
    await compare();
    expect(changes).toHaveLength(1);
    unsubscribe();
    await mount(first);
    await compare();
    expect([changes.length, tls.current().cert?.toString()]).toEqual([1, first.cert]);
  });

  it('are left alone while nothing changes', async () => {
    const { lines, start, compare } = await setUp();
    await start();
    await compare();
    await compare();
    expect(lines).toEqual([]);
  });

  it.each([
    {
      when: 'the key is of another certificate',
      content: { cert: first.cert, key: second.key },
      message: 'The key must belong to the certificate',
    },
    { when: 'a file is missing', content: { cert: first.cert }, message: 'tls.key cannot be read' },
    { when: 'a file is not PEM', content: { cert: 'x', key: first.key }, message: 'cannot be used' },
  ])('are refused at start when $when', async ({ content, message }) => {
    const { load } = await setUp(content);
    await expect(load()).rejects.toMatchObject({ code: 'TlsFiles', message: expect.stringContaining(message) as unknown });
  });

  it('are refused when a certificate is named without its key', async () => {
    const { files } = await setUp();
    const load = loadTls({ files: { certFile: files.certFile }, clock: new FakeClock(), log: silentLogger });
    await expect(load).rejects.toMatchObject({ code: 'TlsFiles' });
  });
});
