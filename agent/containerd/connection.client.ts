import { type CallOptions, type Client, type ClientReadableStream, type ClientUnaryCall, Metadata, type ServiceError, credentials } from '@grpc/grpc-js';
import { isAbsolute } from 'node:path';
import { BerthError } from '../../process/errors.ts';
import { ContainerdError, isAlreadyExists } from './containerd-error.ts';
import { ContainersClient } from './gen/services/containers/v1/containers.ts';
import { ContentClient } from './gen/services/content/v1/content.ts';
import { DiffClient } from './gen/services/diff/v1/diff.ts';
import { EventsClient } from './gen/services/events/v1/events.ts';
import { ImagesClient } from './gen/services/images/v1/images.ts';
import { IntrospectionClient } from './gen/services/introspection/v1/introspection.ts';
import { LeasesClient } from './gen/services/leases/v1/leases.ts';
import { NamespacesClient } from './gen/services/namespaces/v1/namespace.ts';
import { StoreClient } from './gen/services/sandbox/v1/sandbox.ts';
import { SnapshotsClient } from './gen/services/snapshots/v1/snapshots.ts';
import { StreamingClient } from './gen/services/streaming/v1/streaming.ts';
import { TasksClient } from './gen/services/tasks/v1/tasks.ts';
import { TransferClient } from './gen/services/transfer/v1/transfer.ts';
import { VersionClient } from './gen/services/version/v1/version.ts';

export interface ConnectionOptions {
  /** Absolute path of containerd's socket. */
  readonly address: string;
  /** containerd's namespace: ours alone. */
  readonly namespace: string;
}

export interface CallSettings {
  /** How long the call may take, waiting for a connection included. Default 30 s. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

type Unary<Req, Res> = (
  request: Req,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Res) => void,
) => ClientUnaryCall;
/** grpc-js notes on every method which call it is. */
interface Described {
  readonly path?: string;
}
type ServerStream<Req, Item> = (request: Req, metadata: Metadata, options: Partial<CallOptions>) => ClientReadableStream<Item>;

const defaultDeadlineMs = 30_000;
const channelOptions = {
  // Go's server refuses the socket's path as an authority.
  'grpc.default_authority': 'localhost',
  // containerd is back within 100 ms of its start; grpc-js would wait a second.
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.min_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.max_receive_message_length': 64 * 2 ** 20,
};

/** containerd's services over one connection, each call in our namespace and with a deadline. */
export class ContainerdConnection {
  readonly namespace: string;
  readonly containers: ContainersClient;
  readonly content: ContentClient;
  readonly diff: DiffClient;
  readonly events: EventsClient;
  readonly images: ImagesClient;
  readonly introspection: IntrospectionClient;
  readonly leases: LeasesClient;
  readonly namespaces: NamespacesClient;
  readonly sandboxes: StoreClient;
  readonly snapshots: SnapshotsClient;
  readonly streaming: StreamingClient;
  readonly tasks: TasksClient;
  readonly transfers: TransferClient;
  readonly version: VersionClient;

  constructor({ address, namespace }: ConnectionOptions) {
    if (!isAbsolute(address)) throw new BerthError('InvalidAddress', `containerd's address '${address}' is not an absolute path of a socket.`);
    this.namespace = namespace;
    const target = `unix://${address}`;
    this.containers = new ContainersClient(target, credentials.createInsecure(), channelOptions);
    const shared = [target, credentials.createInsecure(), { ...channelOptions, channelOverride: this.containers.getChannel() }] as const;
    this.content = new ContentClient(...shared);
    this.diff = new DiffClient(...shared);
    this.events = new EventsClient(...shared);
    this.images = new ImagesClient(...shared);
    this.introspection = new IntrospectionClient(...shared);
    this.leases = new LeasesClient(...shared);
    this.namespaces = new NamespacesClient(...shared);
    this.sandboxes = new StoreClient(...shared);
    this.snapshots = new SnapshotsClient(...shared);
    this.streaming = new StreamingClient(...shared);
    this.tasks = new TasksClient(...shared);
    this.transfers = new TransferClient(...shared);
    this.version = new VersionClient(...shared);
  }

  /**
   * One call: `connection.call(connection.tasks, connection.tasks.start, {…})`. Waits for a connection within its deadline.
   * Rejects with a ContainerdError, or with the signal's reason when it is aborted first.
   */
  call<Req, Res>(client: Client, method: Unary<Req, Res>, request: Req, settings: CallSettings = {}): Promise<Res> {
    const { signal } = settings;
    return new Promise<Res>((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const options = { deadline: Date.now() + (settings.deadlineMs ?? defaultDeadlineMs) };
      const call = method.call(client, request, this.metadata(), options, (error, response) => {
        signal?.removeEventListener('abort', abort);
        if (error === null) resolve(response);
        else reject(signal?.aborted === true ? (signal.reason as Error) : failure((method as Described).path, error));
      });
      const abort = () => call.cancel();
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** A call that answers with a stream, read to its end. */
  async collect<Req, Item>(client: Client, method: ServerStream<Req, Item>, request: Req, settings: CallSettings = {}): Promise<readonly Item[]> {
    const options = { deadline: Date.now() + (settings.deadlineMs ?? defaultDeadlineMs) };
    const stream = method.call(client, request, this.metadata(), options);
    const items: Item[] = [];
    try {
      for await (const item of stream) items.push(item as Item);
    } catch (error) {
      throw failure((method as Described).path, error as ServiceError);
    }
    return items;
  }

  /** Headers of a call in our namespace. */
  metadata(): Metadata {
    const metadata = new Metadata({ waitForReady: true });
    metadata.set('containerd-namespace', this.namespace);
    return metadata;
  }

  close(): void {
    // The clients share one channel: closing one closes it for all.
    this.containers.close();
  }
}

function failure(path: string | undefined, error: ServiceError): ContainerdError {
  return new ContainerdError(path ?? 'a call', error.code, error.details, error);
}

/**
 * Checks that this is a containerd that Berth can use, and that the namespace is ours: made with these labels, or made by us before.
 * @throws BerthError `ContainerdTooOld` below 2.0, `NamespaceNotOurs` when another installation or another disk owns the namespace.
 */
export async function openNamespace(connection: ContainerdConnection, labels: Readonly<Record<string, string>>): Promise<string> {
  const { version } = await connection.call(connection.version, connection.version.version, {});
  if (!(Number(/^v?(\d+)\./.exec(version)?.[1]) >= 2))
    throw new BerthError('ContainerdTooOld', `containerd ${version} is too old: Berth needs 2.0 or newer. Update containerd on this node.`);
  const { namespace } = connection;
  const wanted = { name: namespace, labels: { ...labels } };
  try {
    await connection.call(connection.namespaces, connection.namespaces.create, { namespace: wanted });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const found = await connection.call(connection.namespaces, connection.namespaces.get, { name: namespace });
    const foreign = Object.entries(labels).find(([key, value]) => (found.namespace?.labels[key] ?? value) !== value);
    if (foreign !== undefined)
      throw new BerthError(
        'NamespaceNotOurs',
        `The containerd namespace '${namespace}' has ${foreign[0]}=${found.namespace?.labels[foreign[0]] ?? ''}, not ${foreign[1]}: another installation or another state directory owns it. Choose another namespace or restore the state directory.`,
      );
    await connection.call(connection.namespaces, connection.namespaces.update, { namespace: wanted, updateMask: Object.keys(labels).map((key) => `labels.${key}`) });
  }
  return version;
}

