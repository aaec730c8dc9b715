import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { request } from 'undici';
import { ContentClient, type InfoResponse, type ReadContentResponse } from '../../agent/containerd/gen/services/content/v1/content.ts';
import { DiffClient, DiffRequest, type DiffResponse } from '../../agent/containerd/gen/services/diff/v1/diff.ts';
import { type CreateResponse, LeasesClient } from '../../agent/containerd/gen/services/leases/v1/leases.ts';
import {
  type MountsResponse,
  SnapshotsClient,
  type StatSnapshotResponse,
  type ViewSnapshotResponse,
} from '../../agent/containerd/gen/services/snapshots/v1/snapshots.ts';

const layerType = 'application/vnd.oci.image.layer.v1.tar+zstd';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const snapshotter = 'overlayfs';

interface Image {
  readonly manifest: { readonly layers: readonly object[] };
  readonly config: { readonly rootfs: { readonly diff_ids: readonly string[] } };
}

/** A backup without Berth: containerd's Diff, and an upload of what it made with plain HTTP, to a repository that has the base layers. */
export class BackupByHand {
  readonly #diff: DiffClient;
  readonly #content: ContentClient;
  readonly #snapshots: SnapshotsClient;
  readonly #leases: LeasesClient;
  readonly #metadata = new Metadata();
  #count = 0;

  constructor(socket: string, namespace: string) {
    const options = { 'grpc.default_authority': 'localhost', 'grpc.use_local_subchannel_pool': 1 };
    const address = `unix://${socket}`;
    this.#diff = new DiffClient(address, credentials.createInsecure(), options);
    this.#content = new ContentClient(address, credentials.createInsecure(), options);
    this.#snapshots = new SnapshotsClient(address, credentials.createInsecure(), options);
    this.#leases = new LeasesClient(address, credentials.createInsecure(), options);
    this.#metadata.set('containerd-namespace', namespace);
  }

  /** `repository` is a URL: `http://host/v2/name`. Resolves with the digest of the manifest when the registry has it. */
  async run(key: string, base: Image, repository: string): Promise<string> {
    this.#count += 1;
    const id = `by-hand-${this.#count}`;
    const leased = this.#metadata.clone();
    leased.set('containerd-lease', id);
    await this.#call<CreateResponse>((done) => this.#leases.create({ id, labels: {} }, this.#metadata, done));
    try {
      const { info } = await this.#call<StatSnapshotResponse>((done) => this.#snapshots.stat({ snapshotter, key }, this.#metadata, done));
      const view = { snapshotter, key: id, parent: info?.parent ?? '', labels: {} };
      const left = await this.#call<ViewSnapshotResponse>((done) => this.#snapshots.view(view, leased, done));
      const right = await this.#call<MountsResponse>((done) => this.#snapshots.mounts({ snapshotter, key }, this.#metadata, done));
      const asked = DiffRequest.fromPartial({ left: left.mounts, right: right.mounts, mediaType: layerType });
      const { diff } = await this.#call<DiffResponse>((done) => this.#diff.diff(asked, leased, done));
      if (diff === undefined) throw new Error('containerd made no layer');
      const layer = { mediaType: diff.mediaType, digest: diff.digest, size: diff.size };
      const { info: blob } = await this.#call<InfoResponse>((done) => this.#content.info({ digest: layer.digest }, this.#metadata, done));
      await this.#upload(repository, layer.digest, layer.size, Readable.from(this.#read(layer.digest)));
      const diffIDs = [...base.config.rootfs.diff_ids, blob?.labels['containerd.io/uncompressed'] ?? ''];
      const config = Buffer.from(JSON.stringify({ ...base.config, rootfs: { type: 'layers', diff_ids: diffIDs } }));
      await this.#upload(repository, digestOf(config), config.length, config);
      const named = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf(config), size: config.length };
      const whole = { schemaVersion: 2, mediaType: manifestType, config: named, layers: [...base.manifest.layers, layer] };
      const manifest = Buffer.from(JSON.stringify(whole));
      await expectStatus(201, `${repository}/manifests/${id}`, {
        method: 'PUT',
        body: manifest,
        headers: { 'content-type': manifestType },
      });
      return digestOf(manifest);
    } finally {
      await this.#call((done) => this.#snapshots.remove({ snapshotter, key: id }, this.#metadata, done)).catch(() => undefined);
      await this.#call((done) => this.#leases.delete({ id, sync: true }, this.#metadata, done));
    }
  }

  close(): void {
    for (const client of [this.#diff, this.#content, this.#snapshots, this.#leases]) client.close();
  }

  async #upload(repository: string, digest: string, size: number, body: Buffer | Readable): Promise<void> {
    const { headers } = await expectStatus(202, `${repository}/blobs/uploads/`, { method: 'POST' });
    const place = new URL(String(headers.location), repository);
    place.searchParams.set('digest', digest);
    const type = { 'content-type': 'application/octet-stream', 'content-length': String(size) };
    await expectStatus(201, place.href, { method: 'PUT', body, headers: type });
  }

  async *#read(digest: string): AsyncGenerator<Buffer> {
    const parts = this.#content.read({ digest, offset: 0, size: 0 }, this.#metadata) as AsyncIterable<ReadContentResponse>;
    for await (const { data } of parts) yield data;
  }

  #call<Reply>(call: (done: (error: ServiceError | null, reply: Reply) => void) => unknown): Promise<Reply> {
    return new Promise((resolve, reject) => {
      call((error, reply) => {
        if (error === null) resolve(reply);
        else reject(error);
      });
    });
  }
}

async function expectStatus(wanted: number, url: string, options: Parameters<typeof request>[1]) {
  const answer = await request(url, { headersTimeout: 600_000, bodyTimeout: 600_000, ...options });
  await answer.body.dump();
  if (answer.statusCode !== wanted) throw new Error(`${url} answered ${answer.statusCode}`);
  return answer;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
