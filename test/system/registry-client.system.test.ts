import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ensureTools } from '../../hack/toolchain/toolchain.ts';
import { systemClock } from '../../process/system-clock.ts';
import { createRegistryClient, type RegistryClient } from '../../registry/registry.client.ts';
import { distinctImage, pushImage } from '../harness/images.ts';
import { Ledger, thisProcess } from '../harness/ledger.ts';
import { Authority } from '../harness/pki.ts';
import { freePort } from '../harness/ports.ts';
import { Registry, type RegistryOptions } from '../harness/registry.ts';
import { TokenServer } from '../harness/token-server.ts';
import { startTimeoutMs } from './world.ts';

const account = { username: 'berth', password: 'a secret', below: 'backups' };

describe('the client of registries, with docker-registry', () => {
  let directory: string;
  let authority: Authority;
  let tokens: TokenServer;
  let plain: Registry;
  let basic: Registry;
  let bearer: Registry;
  let trusting: RegistryClient;
  let plainly: RegistryClient;

  beforeAll(async () => {
    const tools = await ensureTools(() => undefined);
    directory = mkdtempSync(join(tmpdir(), 'berth-registries-'));
    const ledger = Ledger.open({
      instance: 'registries',
      stateDir: join(directory, 'state'),
      dataDir: join(directory, 'data'),
      owner: thisProcess(),
    });
    authority = await Authority.open(join(directory, 'pki'), tools.openssl);
    tokens = await TokenServer.start(authority, [account]);
    const start = async (options: Pick<RegistryOptions, 'name' | 'tls' | 'credentials' | 'tokens' | 'storageOf'>) => {
      const registry = await Registry.create({ ...options, ledger, program: tools['docker-registry'], port: await freePort() });
      await registry.ensure();
      return registry;
    };
    plain = await start({ name: 'plain' });
    // One storage behind three doors.
    basic = await start({ name: 'basic', tls: authority, credentials: account, storageOf: 'plain' });
    bearer = await start({ name: 'bearer', tls: authority, tokens, storageOf: 'plain' });
    const shared = { clock: systemClock(), random: Math.random, userAgent: 'berth-test' };
    trusting = createRegistryClient({ ...shared, ca: () => readFileSync(authority.caFile) });
    plainly = createRegistryClient(shared);
  }, startTimeoutMs);

  afterAll(async () => {
    await Promise.all([trusting.close(), plainly.close(), tokens.close(), ...[plain, basic, bearer].map((registry) => registry.stop())]);
    await rm(directory, { recursive: true, force: true });
  }, startTimeoutMs);

  const pushed = async (name: string) => {
    const repository = `backups/default.${name}`;
    await pushImage(plain, `${repository}:b-1`, await distinctImage(2 ** 20));
    const digest = await plainly.resolve({ host: plain.address, repository }, 'b-1');
    return { repository, digest };
  };
  /** Where a blob, and a manifest is one, lies on the disk. */
  const fileOf = (digest: string) =>
    join(directory, 'data/plain/storage/docker/registry/v2/blobs/sha256', digest.slice(7, 9), digest.slice(7), 'data');
  const failure = (pending: Promise<unknown>) =>
    pending.then(
      () => 'none',
      (error: unknown) => (error as { readonly code?: unknown }).code,
    );

  it.each([
    { door: 'plain http', of: () => ({ client: plainly, registry: plain, credential: undefined }) },
    { door: 'TLS and Basic', of: () => ({ client: trusting, registry: basic, credential: { host: basic.address, ...account } }) },
    { door: 'TLS and Bearer', of: () => ({ client: trusting, registry: bearer, credential: { host: bearer.address, ...account } }) },
  ])('verifies, reads back and deletes over $door', async ({ door, of }) => {
    const { client, registry, credential } = of();
    const { repository, digest } = await pushed(door.toLowerCase().replaceAll(' ', '-'));
    const name = { host: registry.address, repository };
    const manifest = await client.verify(name, digest, 'Meta', { credential });
    expect((await client.verify(name, digest, 'Full', { credential })).layers).toEqual(manifest.layers);
    expect(await client.delete(name, digest, { credential })).toBe('Deleted');
    expect(await client.delete(name, digest, { credential })).toBe('Gone');
    expect(await failure(client.verify(name, digest, 'Meta', { credential }))).toBe('NotFound');
  });

  it('is refused without credentials, with wrong ones, and beyond what they are for', async () => {
    const { repository, digest } = await pushed('refused');
    for (const registry of [basic, bearer]) {
      const name = { host: registry.address, repository };
      const wrong = { host: registry.address, username: account.username, password: 'another' };
      expect(await failure(trusting.manifest(name, digest))).toBe('Unauthorized');
      expect(await failure(trusting.manifest(name, digest, { credential: wrong }))).toBe('Unauthorized');
    }
    const elsewhere = { host: bearer.address, repository: 'others/web' };
    expect(await failure(trusting.manifest(elsewhere, digest, { credential: { host: bearer.address, ...account } }))).toBe('Unauthorized');
  });

  it('asks for a token once for many questions', async () => {
    const { repository, digest } = await pushed('once');
    const before = tokens.asked.length;
    const credential = { host: bearer.address, ...account, password: account.password };
    for (const depth of ['Meta', 'Full', 'Meta'] as const)
      await trusting.verify({ host: bearer.address, repository }, digest, depth, { credential });
    expect(tokens.asked.slice(before)).toEqual(['berth']);
  });

  it('an authority that nobody trusts is told as that', async () => {
    const { repository, digest } = await pushed('untrusted');
    const client = createRegistryClient({ clock: systemClock(), random: Math.random, userAgent: 'berth-test', ca: () => Buffer.from('') });
    const credential = { host: basic.address, ...account };
    await expect(client.manifest({ host: basic.address, repository }, digest, { credential })).rejects.toThrow(/certificate/);
    await client.close();
  });

  it('finds one wrong byte, and a blob that is cut short', async () => {
    const name = (repository: string) => ({ host: plain.address, repository });
    const spoilt = async (label: string, spoil: (file: string) => void, which: 'manifest' | 'layer') => {
      const { repository, digest } = await pushed(label);
      const { layers } = await plainly.manifest(name(repository), digest);
      spoil(fileOf(which === 'manifest' ? digest : (layers.at(-1)?.digest ?? '')));
      return {
        meta: await failure(plainly.verify(name(repository), digest, 'Meta')),
        full: await failure(plainly.verify(name(repository), digest, 'Full')),
      };
    };
    const flip = (file: string) => {
      const bytes = readFileSync(file);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      writeFileSync(file, bytes);
    };
    /** It stays a manifest: docker-registry fails by itself at one that is none. */
    const rename = (file: string) =>
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replace(
          /("digest":\s*"sha256:)(.)/,
          (_, before: string, digit: string) => before + (digit === '0' ? '1' : '0'),
        ),
      );
    expect((await spoilt('wrong-manifest', rename, 'manifest')).meta).toBe('Corrupt');
    expect((await spoilt('no-manifest', flip, 'manifest')).meta).toBe('Unavailable');
    expect(await spoilt('flipped-layer', flip, 'layer')).toEqual({ meta: 'none', full: 'Corrupt' });
    expect(await spoilt('cut-layer', (file) => writeFileSync(file, readFileSync(file).subarray(1)), 'layer')).toEqual({
      meta: 'Corrupt',
      full: 'Corrupt',
    });
  });
});
