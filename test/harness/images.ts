import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { Agent, type Dispatcher, request } from 'undici';
import { BerthError } from '../../process/errors.ts';
import { run } from '../../hack/command.ts';
import { toStderr } from '../../hack/progress.ts';
import { ensureTools } from '../../hack/toolchain/toolchain.ts';
import type { Registry } from './registry.ts';
import { tar, type TarEntry } from './tar.ts';

/** The `config` of an OCI image: what a container runs unless told otherwise. */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
}

/** An image as its layers (lowest first) and configuration. */
export interface Image {
  readonly layers: readonly (readonly TarEntry[])[];
  readonly config: ImageConfig;
}

const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;
const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

/** A small system to work in: busybox with all its commands, users root, user (1000) and nobody. Says hello and waits; ends on SIGTERM. */
export async function demoImage(config: ImageConfig = {}): Promise<Image> {
  const { busybox } = await ensureTools(toStderr, ['busybox']);
  const commands = (await run(busybox, ['--list'])).split('\n').filter((name) => name !== 'busybox');
  const entries: readonly TarEntry[] = [
    ...['bin', 'dev', 'etc', 'home', 'proc', 'sys', 'usr', 'usr/bin', 'var'].map((path) => ({ path, type: 'directory' as const })),
    { path: 'tmp', type: 'directory', mode: 0o1777 },
    { path: 'root', type: 'directory', mode: 0o700 },
    { path: 'home/user', type: 'directory', uid: 1000, gid: 1000 },
    {
      path: 'etc/passwd',
      type: 'file',
      content: 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
    },
    { path: 'etc/group', type: 'file', content: 'root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n' },
    { path: 'bin/busybox', type: 'file', mode: 0o755, content: readFileSync(busybox) },
    ...commands.map((name) => ({ path: `bin/${name}`, type: 'symlink' as const, target: 'busybox' })),
  ];
  const wait = 'trap "exit 0" TERM INT; echo "A sandbox: $(hostname)"; while :; do sleep 3600 & wait $!; done';
  return {
    layers: [entries],
    config: { Cmd: ['/bin/sh', '-c', wait], Env: ['PATH=/bin:/usr/bin', 'HOME=/root'], WorkingDir: '/root', ...config },
  };
}

/** The image with one more layer. */
export function withLayer(image: Image, entries: readonly TarEntry[], config: ImageConfig = {}): Image {
  return { layers: [...image.layers, entries], config: { ...image.config, ...config } };
}

/** The demo image with a layer of random bytes that no runner has and that does not become smaller when it is compressed. */
export async function distinctImage(size: number): Promise<Image> {
  return withLayer(await demoImage(), [{ path: 'filler', type: 'file', content: randomBytes(size) }]);
}

/** Pushes an image; returns the digest of its manifest. `reference` is repository:tag. */
export async function pushImage(registry: Registry, reference: string, image: Image): Promise<string> {
  const [repository = '', tag = 'latest'] = reference.split(':');
  const push = new Push(registry, repository);
  try {
    const layers = image.layers
      .map((entries) => ({ archive: tar(entries) }))
      .map(({ archive }) => ({ diffID: digestOf(archive), blob: gzipSync(archive, { level: 1 }) }));
    const config = Buffer.from(
      JSON.stringify({
        architecture,
        os: 'linux',
        config: image.config,
        rootfs: { type: 'layers', diff_ids: layers.map(({ diffID }) => diffID) },
      }),
    );
    for (const blob of [...layers.map((layer) => layer.blob), config]) await push.blob(blob);
    return await push.manifest(tag, {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: descriptor(mediaTypes.config, config),
      layers: layers.map(({ blob }) => descriptor(mediaTypes.layer, blob)),
    });
  } finally {
    await push.close();
  }
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function descriptor(mediaType: string, blob: Uint8Array) {
  return { mediaType, digest: digestOf(blob), size: blob.length };
}

/** The three requests of the distribution protocol that a push needs. */
class Push {
  readonly #registry: Registry;
  readonly #base: string;
  readonly #dispatcher: Agent;

  constructor(registry: Registry, repository: string) {
    this.#registry = registry;
    this.#base = `${registry.url}/v2/${repository}`;
    this.#dispatcher = new Agent(registry.ca === undefined ? {} : { connect: { ca: registry.ca } });
  }

  async blob(blob: Uint8Array): Promise<void> {
    const digest = digestOf(blob);
    const { statusCode } = await this.#send('HEAD', `${this.#base}/blobs/${digest}`);
    if (statusCode === 200) return;
    const begun = await this.#expect(202, 'POST', `${this.#base}/blobs/uploads/`);
    const upload = new URL(String(begun.headers.location), this.#base);
    upload.searchParams.set('digest', digest);
    await this.#expect(201, 'PUT', upload.href, blob, 'application/octet-stream');
  }

  async manifest(tag: string, manifest: object): Promise<string> {
    const body = Buffer.from(JSON.stringify(manifest));
    await this.#expect(201, 'PUT', `${this.#base}/manifests/${tag}`, body, mediaTypes.manifest);
    return digestOf(body);
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  async #expect(status: number, method: Dispatcher.HttpMethod, url: string, body?: Uint8Array, contentType?: string) {
    const answer = await this.#send(method, url, body, contentType);
    if (answer.statusCode !== status) throw new BerthError('PushFailed', `${method} ${url}: ${answer.statusCode} ${answer.text}`);
    return answer;
  }

  async #send(method: Dispatcher.HttpMethod, url: string, body?: Uint8Array, contentType?: string) {
    const { credentials } = this.#registry;
    const basic = credentials === undefined ? undefined : Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64');
    const response = await request(url, {
      method,
      dispatcher: this.#dispatcher,
      headers: {
        ...(basic === undefined ? {} : { authorization: `Basic ${basic}` }),
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
      },
      ...(body === undefined ? {} : { body }),
    });
    return { statusCode: response.statusCode, headers: response.headers, text: await response.body.text() };
  }
}
