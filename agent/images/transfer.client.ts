import { randomUUID } from 'node:crypto';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { canonicalHost, credentialFor } from '../../process/registry-credential.ts';
import { packAny, unpackAny } from '../containerd/any.ts';
import type { ContainerdConnection } from '../containerd/connection.client.ts';
import type { Any } from '../containerd/gen/google/protobuf/any.ts';
import { StreamInit, StreamingService } from '../containerd/gen/services/streaming/v1/streaming.ts';
import { ImageStore } from '../containerd/gen/types/transfer/imagestore.ts';
import { Progress } from '../containerd/gen/types/transfer/progress.ts';
import { AuthRequest, AuthResponse, AuthType, OCIRegistry } from '../containerd/gen/types/transfer/registry.ts';
import type { ImageCredential } from '../copies/runtime.ts';
import { type ImageReference, storeName } from './reference.ts';
import type { ProgressEvent } from './pull-progress.ts';
import { type TransferOptions, type TransferRequest, TransferService } from '../containerd/gen/services/transfer/v1/transfer.ts';

export interface TransferSettings {
  readonly snapshotter: string;
  /** As OCI names it: `amd64`. */
  readonly architecture: string;
  /** Registries that speak plain http, as `host:port`. Loopback addresses need not be named. */
  readonly plainHttpHosts: readonly string[];
  /** Directory of `<host:port>/hosts.toml` files for containerd; empty: none. */
  readonly registryConfigDir: string;
}

export interface Transfer {
  readonly reference: ImageReference;
  readonly credentials: readonly ImageCredential[];
  readonly onProgress: (event: ProgressEvent) => void;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

export interface Pull extends Transfer {
  readonly labels: Readonly<Record<string, string>>;
}

/** Pulls and unpacks an image through containerd's Transfer service. The image's name in containerd is `storeName(reference)`. */
export async function transferImage(connection: ContainerdConnection, settings: TransferSettings, pull: Pull): Promise<void> {
  const name = storeName(pull.reference);
  const platform = { os: 'linux', architecture: settings.architecture, variant: '', osVersion: '', osFeatures: [] };
  const destination = ImageStore.fromPartial({
    name,
    labels: { ...pull.labels },
    platforms: [platform],
    unpacks: [{ platform, snapshotter: settings.snapshotter }],
  });
  await withStreams(connection, settings, pull, (registry, options) => ({
    source: registry,
    destination: packAny('containerd.types.transfer.ImageStore', ImageStore, destination),
    options,
  }));
}

/** Pushes the image that containerd has under `name` to the reference, with all that it names and that the registry does not have. */
export async function pushImage(connection: ContainerdConnection, settings: TransferSettings, name: string, push: Transfer): Promise<void> {
  await withStreams(connection, settings, push, (registry, options) => ({
    source: packAny('containerd.types.transfer.ImageStore', ImageStore, ImageStore.fromPartial({ name })),
    destination: registry,
    options,
  }));
}

/** One transfer, with the streams on which containerd tells how far it is and asks who we are. */
async function withStreams(
  connection: ContainerdConnection,
  settings: TransferSettings,
  transfer: Transfer,
  request: (registry: Any, options: TransferOptions) => TransferRequest,
): Promise<void> {
  const { reference, credentials, onProgress, deadlineMs, signal } = transfer;
  const credential = credentialFor(reference, credentials);
  const streams = await Promise.all([
    openStream(connection, transfer, (message) => {
      const event = unpackAny('containerd.types.transfer.Progress', Progress, message);
      if (event !== undefined) onProgress(event);
    }),
    ...(credential === undefined
      ? []
      : [openStream(connection, transfer, (message, answer) => answer(authResponse(message, reference, credential)))]),
  ]);
  const [progress, auth] = streams;
  const registry = OCIRegistry.fromPartial({
    reference: storeName(reference),
    resolver: {
      authStream: auth?.id ?? '',
      hostDir: settings.registryConfigDir,
      defaultScheme: settings.plainHttpHosts.includes(reference.host) ? 'http' : '',
    },
  });
  try {
    const options = { progressStream: progress.id };
    await connection.call(
      TransferService.transfer,
      request(packAny('containerd.types.transfer.OCIRegistry', OCIRegistry, registry), options),
      { deadlineMs, signal },
    );
  } finally {
    for (const stream of streams) stream.close();
  }
}

/** containerd asks again for each host on the way, and more than once: a password goes to the image's own registry only. */
function authResponse(message: Any, reference: ImageReference, credential: ImageCredential): Any {
  const request = unpackAny('containerd.types.transfer.AuthRequest', AuthRequest, message);
  const own = request !== undefined && canonicalHost(request.host) === reference.host;
  const response = own
    ? { authType: AuthType.CREDENTIALS, username: credential.username, secret: credential.password }
    : { authType: AuthType.NONE };
  return packAny('containerd.types.transfer.AuthResponse', AuthResponse, AuthResponse.fromPartial(response));
}

interface OpenStream {
  /** Named in the request that uses the stream. */
  readonly id: string;
  close(): void;
}

/** Opens a stream that containerd writes to during a transfer; resolves when containerd knows it. */
function openStream(
  connection: ContainerdConnection,
  { signal, deadlineMs }: Pick<Transfer, 'signal' | 'deadlineMs'>,
  onMessage: (message: Any, answer: (message: Any) => void) => void,
): Promise<OpenStream> {
  const id = randomUUID();
  return new Promise((resolve, reject) => {
    const stream: ClientDuplexStream<Any, Any> = connection.duplex(StreamingService.stream, deadlineMs);
    const abort = () => stream.cancel();
    signal.addEventListener('abort', abort, { once: true });
    let known = false;
    stream.on('data', (message: Any) => {
      if (known) onMessage(message, (answer) => stream.write(answer));
      known = true;
      resolve({ id, close: () => stream.end() });
    });
    stream.on('error', (error) => {
      signal.removeEventListener('abort', abort);
      // After it was opened, the transfer that uses the stream says what went wrong.
      reject(signal.aborted ? (signal.reason as Error) : error);
    });
    stream.on('end', () => signal.removeEventListener('abort', abort));
    stream.write(packAny('containerd.services.streaming.v1.StreamInit', StreamInit, { id }));
  });
}
