import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { fakeCertificate } from '../process/fake-certificate.ts';
import { systemClock } from '../process/system-clock.ts';
import { RegistryError } from './errors.ts';
import { FakeRegistry, digestOf } from './fake-registry.ts';
import type { FakeFault, FakeRegistryOptions, FakeRequest } from './fake-registry.ts';
import { createRegistryClient } from './registry.client.ts';
import type { RegistryClientOptions } from './registry.client.ts';

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function aRegistry(options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const registry = await FakeRegistry.start(options);
  cleanUp.push(() => registry.close());
  return registry;
}

function aClient(options: Partial<RegistryClientOptions> = {}) {
  const limits = { connectMs: 5_000, quietMs: 2_000, callMs: 10_000, blobMs: 10_000, attempts: 3 };
  const client = createRegistryClient({ clock: systemClock(), random: () => 1, userAgent: 'test', limits, ...options });
  cleanUp.push(() => client.close());
  return client;
}

const repositoryOf = ({ host }: FakeRegistry) => ({ host, repository: 'backups/default.web' });
const layers = [Buffer.from('first layer'), randomBytes(100_000)] as const;
const credential = { host: 'any', username: 'berth', password: 'very secret' };
const isBlob = ({ url }: FakeRequest) => url.includes('/blobs/');
const isManifest = ({ url }: FakeRequest) => url.includes('/manifests/');

/** The error that it rejects with, which never tells a secret. */
async function failure(pending: Promise<unknown>): Promise<RegistryError> {
  const error: unknown = await pending.catch((reason: unknown) => reason);
  if (!(error instanceof RegistryError)) throw new Error('it should have failed with a RegistryError', { cause: error });
  expect(JSON.stringify([error.message, error.details])).not.toMatch(/very secret|dmVyeSBzZWNyZXQ|token-/);
  return error;
}

describe('what is whole', () => {
  it.each(['Meta', 'Full'] as const)('is verified (%s)', async (depth) => {
    const registry = await aRegistry();
    const digest = registry.push([...layers, layers[0]]);
    const manifest = await aClient().verify(repositoryOf(registry), digest, depth);
    expect(manifest.layers.map(({ size }) => size)).toEqual([11, 100_000, 11]);
    const asked = registry.requests.filter(isBlob);
    expect(asked).toHaveLength(3);
    expect(new Set(asked.map(({ method }) => method))).toEqual(new Set([depth === 'Full' ? 'GET' : 'HEAD']));
  });

  it('is found by its tag, and gone after it was deleted, which may be said twice', async () => {
    const registry = await aRegistry();
    const digest = registry.push(layers, 'b-1');
    const client = aClient();
    const repository = repositoryOf(registry);
    expect(await client.resolve(repository, 'b-1')).toBe(digest);
    expect(await client.delete(repository, digest)).toBe('Deleted');
    expect(await client.delete(repository, digest)).toBe('Gone');
    expect((await failure(client.manifest(repository, digest))).code).toBe('NotFound');
  });

  it('is what it says of itself, and nothing else', async () => {
    const registry = await aRegistry();
    const annotations = { 'berth.dev/uid': 'u-1', 'berth.dev/content-version': '3' };
    const manifest = JSON.parse(registry.manifests.get(registry.push(layers))?.toString() ?? '') as object;
    const digest = registry.pushManifest(Buffer.from(JSON.stringify({ ...manifest, annotations })));
    const verify = (wanted: Readonly<Record<string, string>>, of = digest) =>
      aClient().verify(repositoryOf(registry), of, 'Full', { annotations: wanted });
    expect((await verify(annotations)).annotations).toEqual(annotations);
    for (const [what, of] of [[{ ...annotations, 'berth.dev/content-version': '4' }], [annotations, registry.push(layers)]] as const) {
      const error = await failure(verify(what, of));
      expect([error.code, error.message]).toEqual(['Corrupt', expect.stringContaining('berth.dev/')]);
    }
  });

  it('goes with all others under tags that begin alike, however many pages of tags there are', async () => {
    const registry = await aRegistry();
    registry.tagsAtOnce = 2;
    const push = (what: string, tag: string, annotations: Readonly<Record<string, string>>) => {
      const manifest = JSON.parse(registry.manifests.get(registry.push([Buffer.from(what)]))?.toString() ?? '') as object;
      registry.manifests.clear();
      return { tag, bytes: Buffer.from(JSON.stringify({ ...manifest, annotations })) };
    };
    const pushes = [
      ...[1, 2, 3, 4, 5].map((n) => push(`ours ${n}`, `b-one-${n}`, { uid: 'one' })),
      ...['a', 'b-two-1', 'c'].map((tag) => push(tag, tag, { uid: 'one' })),
      push('tagged by hand', 'b-one-x', { uid: 'two' }),
    ];
    const digests = pushes.map(({ tag, bytes }) => registry.pushManifest(bytes, tag));
    registry.manifests.delete(digests[0] ?? '');
    const sweep = () => aClient().sweep(repositoryOf(registry), 'b-one-', { annotations: { uid: 'one' } });
    expect([...(await sweep())].toSorted()).toEqual(digests.slice(1, 5).toSorted());
    expect([...registry.manifests.keys()]).toEqual(digests.slice(5));
    expect(await sweep()).toEqual([]);
  });

  it('comes although the registry says no size, fails for a moment, or answers from elsewhere', async () => {
    const registry = await aRegistry();
    const store = await aRegistry();
    const digest = registry.push(layers);
    const blob = digestOf(layers[1]);
    store.blobs.set(blob, layers[1]);
    registry.fail({ kind: 'NoSize' }, { matches: ({ method, url }) => method === 'HEAD' && url.includes(digestOf(layers[0])) });
    registry.fail({ kind: 'Status', status: 503, headers: { 'retry-after': '0' } }, { matches: isManifest, times: 2 });
    registry.fail({ kind: 'Redirect', to: `http://${store.host}/v2/x/blobs/${blob}` }, { matches: ({ url }) => url.includes(blob) });
    await aClient().verify(repositoryOf(registry), digest, 'Meta');
    expect(store.requests.map(({ method }) => method)).toEqual(['HEAD']);
  });
});

describe('what is not', () => {
  interface Row {
    readonly when: string;
    readonly fault: FakeFault;
    readonly at?: (request: FakeRequest) => boolean;
    readonly depth: 'Meta' | 'Full';
    readonly want: RegistryError['code'];
    /** How often the last question was asked. */
    readonly attempts?: number;
  }
  const notFound = JSON.stringify({ errors: [{ code: 'BLOB_UNKNOWN' }] });
  const rows: readonly Row[] = [
    { when: 'a blob has one wrong byte', fault: { kind: 'WrongBytes' }, at: isBlob, depth: 'Full', want: 'Corrupt' },
    { when: 'the manifest has one wrong byte', fault: { kind: 'WrongBytes' }, at: isManifest, depth: 'Meta', want: 'Corrupt', attempts: 1 },
    { when: 'a blob has another size', fault: { kind: 'WrongSize' }, at: isBlob, depth: 'Meta', want: 'Corrupt' },
    { when: 'a blob has no end', fault: { kind: 'TooLong' }, at: isBlob, depth: 'Full', want: 'Corrupt' },
    { when: 'a blob is cut off each time', fault: { kind: 'CutOff' }, at: isBlob, depth: 'Full', want: 'Unavailable' },
    { when: 'a blob is missing', fault: { kind: 'Status', status: 404, body: notFound }, at: isBlob, depth: 'Meta', want: 'NotFound' },
    { when: 'a blob is missing', fault: { kind: 'Status', status: 404, body: notFound }, at: isBlob, depth: 'Full', want: 'NotFound' },
    {
      when: 'something else than a registry says 404',
      fault: { kind: 'Status', status: 404, body: '<html>' },
      depth: 'Meta',
      want: 'Unavailable',
      attempts: 1,
    },
    { when: 'it fails each time', fault: { kind: 'Status', status: 500 }, depth: 'Meta', want: 'Unavailable', attempts: 3 },
    { when: 'it is too busy each time', fault: { kind: 'Status', status: 429 }, depth: 'Meta', want: 'Unavailable', attempts: 3 },
    { when: 'it forbids', fault: { kind: 'Status', status: 403 }, depth: 'Meta', want: 'Unauthorized', attempts: 1 },
    { when: 'it sends in a circle', fault: { kind: 'Redirect', to: '/v2/again' }, depth: 'Meta', want: 'Unavailable' },
    {
      when: 'it sends to plain http elsewhere',
      fault: { kind: 'Redirect', to: 'http://store.example.com/x' },
      depth: 'Meta',
      want: 'Unavailable',
      attempts: 1,
    },
  ];
  it.each(rows)('$when ($depth): $want', async ({ fault, at, depth, want, attempts }) => {
    const registry = await aRegistry();
    const digest = registry.push(layers);
    registry.fail(fault, at === undefined ? {} : { matches: at });
    const error = await failure(aClient().verify(repositoryOf(registry), digest, depth));
    expect(error.code).toBe(want);
    expect(error.message).toContain('sha256:');
    if (attempts !== undefined) expect(registry.requests).toHaveLength(attempts);
  });

  it.each([
    { when: 'it is a list of images', bytes: JSON.stringify({ schemaVersion: 2, manifests: [] }) },
    { when: 'it is no JSON', bytes: 'hello' },
    { when: 'it is larger than any manifest', bytes: `{"schemaVersion":2,"pad":"${'x'.repeat(4 * 1024 * 1024)}"}` },
    {
      when: 'it says two sizes of one blob',
      bytes: JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: 'a', digest: digestOf(layers[0]), size: 11 },
        layers: [{ mediaType: 'a', digest: digestOf(layers[0]), size: 12 }],
      }),
    },
  ])('the digest holds and $when: Corrupt', async ({ bytes }) => {
    const registry = await aRegistry();
    const digest = registry.pushManifest(Buffer.from(bytes));
    expect((await failure(aClient().verify(repositoryOf(registry), digest, 'Meta'))).code).toBe('Corrupt');
  });

  it('a registry that does not answer is given up, and one that is not there', async () => {
    const registry = await aRegistry();
    const digest = registry.push(layers);
    registry.fail({ kind: 'Silent' });
    const limits = { connectMs: 1_000, quietMs: 60_000, callMs: 300, blobMs: 300, attempts: 3 };
    const silent = await failure(aClient({ limits }).manifest(repositoryOf(registry), digest));
    expect([silent.code, silent.message]).toEqual(['Unavailable', expect.stringContaining('within 300 ms')]);
    await registry.close();
    const gone = await failure(aClient().manifest(repositoryOf(registry), digest));
    expect([gone.code, gone.message]).toEqual(['Unavailable', expect.stringContaining('ECONNREFUSED')]);
  });

  it('what is not wanted any more ends at once with the reason', async () => {
    const registry = await aRegistry();
    registry.fail({ kind: 'Silent' });
    const stop = new AbortController();
    const pending = aClient().manifest(repositoryOf(registry), digestOf(layers[0]), { signal: stop.signal });
    stop.abort(new Error('the term is over'));
    await expect(pending).rejects.toThrow('the term is over');
  });

  it('a repository that is not there has no tags, and what is no list of tags is told', async () => {
    const registry = await aRegistry();
    const client = aClient();
    registry.fail({ kind: 'Status', status: 404, body: '{"errors":[{"code":"NAME_UNKNOWN"}]}' }, { times: 1 });
    expect(await client.sweep(repositoryOf(registry), 'b-')).toEqual([]);
    const link = `<http://${registry.host}/v2/a/tags/list?n=1000>; rel="next"`;
    registry.fail({ kind: 'Status', status: 200, body: '{"tags":["a"]}', headers: { link } }, { times: 1 });
    const endless = await failure(client.sweep(repositoryOf(registry), 'b-'));
    expect([endless.code, endless.message]).toEqual(['Unavailable', expect.stringContaining('without end')]);
    registry.fail({ kind: 'Status', status: 200, body: '<html>' }, { times: 1 });
    const error = await failure(client.sweep(repositoryOf(registry), 'b-'));
    expect([error.code, error.message]).toEqual(['Unavailable', expect.stringContaining('no list of tags')]);
  });

  it('deletion that is turned off is told as that', async () => {
    const registry = await aRegistry();
    const digest = registry.push(layers);
    registry.fail({ kind: 'Status', status: 405, body: JSON.stringify({ errors: [{ code: 'UNSUPPORTED' }] }) });
    expect((await failure(aClient().delete(repositoryOf(registry), digest))).code).toBe('Unsupported');
  });
});

describe('credentials', () => {
  const basic = { kind: 'Basic', username: 'berth', password: 'very secret' } as const;
  const bearer = { kind: 'Bearer', username: 'berth', password: 'very secret' } as const;

  it.each([basic, bearer])('$kind: asked once, used again', async (auth) => {
    const registry = await aRegistry({ auth });
    const digest = registry.push(layers);
    const client = aClient();
    await client.verify(repositoryOf(registry), digest, 'Full', { credential });
    await client.verify(repositoryOf(registry), digest, 'Meta', { credential });
    expect(registry.requests[0]?.authorization).toBeUndefined();
    expect(registry.requests.filter(({ url }) => url.startsWith('/token'))).toHaveLength(auth.kind === 'Bearer' ? 1 : 0);
    expect(registry.requests.filter(({ authorization, url }) => authorization === undefined && url.startsWith('/v2/'))).toHaveLength(1);
    expect(await client.delete(repositoryOf(registry), digest, { credential })).toBe('Deleted');
  });

  it.each([
    { when: 'none', auth: basic, given: undefined },
    { when: 'wrong ones', auth: basic, given: { ...credential, password: 'another' } },
    { when: 'none', auth: bearer, given: undefined },
    { when: 'wrong ones', auth: bearer, given: { ...credential, password: 'another' } },
  ])('$auth.kind with $when: Unauthorized', async ({ auth, given }) => {
    const registry = await aRegistry({ auth });
    const digest = registry.push(layers);
    expect((await failure(aClient().verify(repositoryOf(registry), digest, 'Meta', { credential: given }))).code).toBe('Unauthorized');
  });

  it('a token that expired, or is not taken any more, is renewed', async () => {
    const registry = await aRegistry({ auth: { ...bearer, expiresIn: 300 } });
    const digest = registry.push(layers);
    const client = aClient();
    await client.manifest(repositoryOf(registry), digest, { credential });
    registry.tokens.clear();
    await client.manifest(repositoryOf(registry), digest, { credential });
    expect(registry.requests.filter(({ url }) => url.startsWith('/token'))).toHaveLength(2);
  });

  it('never go to where the registry redirects', async () => {
    const registry = await aRegistry({ auth: basic });
    const store = await aRegistry();
    const digest = registry.push(layers);
    const blob = digestOf(layers[1]);
    store.blobs.set(blob, layers[1]);
    registry.fail(
      { kind: 'Redirect', to: `http://${store.host}/v2/x/blobs/${blob}` },
      { matches: ({ url, authorization }) => authorization !== undefined && url.includes(blob) },
    );
    await aClient().verify(repositoryOf(registry), digest, 'Full', { credential });
    expect(store.requests.map(({ authorization }) => authorization)).toEqual([undefined]);
  });

  it('never go to a token server without TLS elsewhere', async () => {
    const registry = await aRegistry({ auth: { ...bearer, realm: 'http://tokens.example.com/token' } });
    const digest = registry.push(layers);
    const error = await failure(aClient().manifest(repositoryOf(registry), digest, { credential }));
    expect([error.code, error.message]).toEqual(['Unavailable', expect.stringContaining('tokens.example.com')]);
  });
});

describe('TLS', () => {
  it('with an authority of its own, which may be given later', async () => {
    const certificate = fakeCertificate('registry');
    const registry = await aRegistry({ tls: certificate });
    const digest = registry.push(layers);
    let ca = Buffer.from(fakeCertificate('another').cert);
    const client = aClient({ ca: () => ca });
    const error = await failure(client.manifest(repositoryOf(registry), digest));
    expect([error.code, error.mayPass, error.message]).toEqual(['Unavailable', false, expect.stringContaining('certificate')]);
    ca = Buffer.from(certificate.cert);
    await client.verify(repositoryOf(registry), digest, 'Full');
  });

  it('a registry that speaks none is not spoken to without, unless its host was named', async () => {
    const registry = await aRegistry();
    const digest = registry.push(layers);
    const ca = () => Buffer.from(fakeCertificate('some').cert);
    const error = await failure(aClient({ ca }).manifest(repositoryOf(registry), digest));
    expect([error.code, error.message]).toEqual(['Unavailable', expect.stringContaining('TLS')]);
    expect(registry.requests).toEqual([]);
    await aClient({ ca, plainHttp: [registry.host] }).verify(repositoryOf(registry), digest, 'Full');
  });
});

it('no more of a blob is taken than is read: memory stays as it is', async () => {
  const piece = Buffer.alloc(1024 * 1024);
  let taken = 0;
  const server = createServer((_, response) => {
    const send = () => {
      for (let more = true; more && !response.destroyed; taken++) more = response.write(piece);
    };
    response.on('drain', send);
    send();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUp.push(() => new Promise((resolve) => server.close(() => resolve(undefined))));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const blob = { digest: digestOf(piece), size: 1024 ** 4 };
  const bytes = aClient().blob({ host, repository: 'x' }, blob)[Symbol.asyncIterator]();
  await bytes.next();
  for (let before = -1; before !== taken;) {
    before = taken;
    await delay(200);
  }
  expect(taken).toBeLessThan(64);
  await bytes.return?.();
  server.closeAllConnections();
});
