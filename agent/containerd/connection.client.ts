import { isAbsolute } from 'node:path';
import { Client, type ClientDuplexStream, type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { BerthError } from '../../process/errors.ts';
import { ContainerdError, isAlreadyExists, status } from './containerd-error.ts';
import { IntrospectionService } from './gen/services/introspection/v1/introspection.ts';
import { NamespacesService } from './gen/services/namespaces/v1/namespace.ts';
import { VersionService } from './gen/services/version/v1/version.ts';

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
  /** What is made belongs to this lease, and is kept for as long as that is there. */
  readonly lease?: string;
}

/** A method of a generated service: `TasksService.start`. */
export interface Method<Req, Res> {
  readonly path: string;
  readonly requestSerialize: (request: Req) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Res;
}

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

/** containerd over one connection, each call in our namespace and with a deadline. */
export class ContainerdConnection {
  readonly namespace: string;
  readonly address: string;
  readonly #client: Client;

  constructor({ address, namespace }: ConnectionOptions) {
    if (!isAbsolute(address))
      throw new BerthError('InvalidAddress', `containerd's address '${address}' is not an absolute path of a socket.`);
    this.namespace = namespace;
    this.address = address;
    this.#client = new Client(`unix://${address}`, credentials.createInsecure(), channelOptions);
  }

  /**
   * One call: `connection.call(TasksService.start, {…})`. Waits for a connection within its deadline.
   * Rejects with a ContainerdError, or with the signal's reason when it is aborted first.
   */
  call<Req, Res>(method: Method<Req, Res>, request: Req, settings: CallSettings = {}): Promise<Res> {
    const { signal, deadlineMs = defaultDeadlineMs, lease } = settings;
    return new Promise<Res>((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(lease),
        { deadline: deadlineIn(deadlineMs) },
        (error, response) => {
          signal?.removeEventListener('abort', abort);
          if (error === null && response !== undefined) resolve(response);
          else reject(signal?.aborted === true ? (signal.reason as Error) : failure(method.path, error));
        },
      );
      const abort = () => call.cancel();
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** A call that answers with a stream, read to its end. */
  async collect<Req, Item>(
    method: Method<Req, Item>,
    request: Req,
    settings: Pick<CallSettings, 'deadlineMs'> = {},
  ): Promise<readonly Item[]> {
    const items: Item[] = [];
    try {
      for await (const item of this.stream(method, request, settings.deadlineMs ?? defaultDeadlineMs)) items.push(item as Item);
    } catch (error) {
      throw failure(method.path, error as ServiceError);
    }
    return items;
  }

  /** A call that answers with a stream. Without a deadline it lasts until one side ends it. */
  stream<Req, Item>(method: Method<Req, Item>, request: Req, deadlineMs?: number): ClientReadableStream<Item> {
    const options = deadlineMs === undefined ? {} : { deadline: deadlineIn(deadlineMs) };
    const { path, requestSerialize, responseDeserialize } = method;
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.#metadata(), options);
  }

  /** A call in which both sides stream. */
  duplex<Req, Item>(method: Method<Req, Item>, deadlineMs: number, lease?: string): ClientDuplexStream<Req, Item> {
    const { path, requestSerialize, responseDeserialize } = method;
    return this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata(lease), {
      deadline: deadlineIn(deadlineMs),
    });
  }

  close(): void {
    this.#client.close();
  }

  #metadata(lease?: string): Metadata {
    const metadata = new Metadata({ waitForReady: true });
    metadata.set('containerd-namespace', this.namespace);
    if (lease !== undefined) metadata.set('containerd-lease', lease);
    return metadata;
  }
}

/** gRPC wants a time of the wall clock and turns it into a duration at once. */
function deadlineIn(ms: number): number {
  return Date.now() + ms;
}

/** What containerd answered, as an error of ours. */
export function failure(path: string, error: ServiceError | null): ContainerdError {
  return new ContainerdError(path, error?.code ?? status.unknown, error?.details ?? 'nothing');
}

/**
 * Checks that this is a containerd that Berth can use, and that the namespace is ours: made with these labels, or made by us before.
 * @throws BerthError `ContainerdTooOld` below 2.0, `NamespaceNotOurs` when another installation or another disk owns the namespace.
 */
export async function openNamespace(connection: ContainerdConnection, labels: Readonly<Record<string, string>>): Promise<string> {
  const { version } = await connection.call(VersionService.version, {});
  if (!(Number(/^v?(\d+)\./.exec(version)?.[1]) >= 2))
    throw new BerthError('ContainerdTooOld', `containerd ${version} is too old: Berth needs 2.0 or newer. Update containerd on this node.`);
  const { namespace } = connection;
  const wanted = { name: namespace, labels: { ...labels } };
  try {
    await connection.call(NamespacesService.create, { namespace: wanted });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const found = await connection.call(NamespacesService.get, { name: namespace });
    const foreign = Object.entries(labels).find(([key, value]) => (found.namespace?.labels[key] ?? value) !== value);
    if (foreign !== undefined)
      throw new BerthError(
        'NamespaceNotOurs',
        `The containerd namespace '${namespace}' has ${foreign[0]}=${found.namespace?.labels[foreign[0]] ?? ''}, not ${foreign[1]}: another installation or another state directory owns it. Choose another namespace or restore the state directory.`,
      );
    await connection.call(NamespacesService.update, {
      namespace: wanted,
      updateMask: Object.keys(labels).map((key) => `labels.${key}`),
    });
  }
  return version;
}

/**
 * Checks that containerd has what the agent uses.
 * @throws BerthError `ContainerdIncomplete` naming the plugin and why containerd did not load it.
 */
export async function requirePlugins(connection: ContainerdConnection, snapshotter: string): Promise<void> {
  const { plugins } = await connection.call(IntrospectionService.plugins, { filters: [] });
  const needed = [
    { type: 'io.containerd.snapshotter.v1', id: snapshotter },
    { type: 'io.containerd.grpc.v1', id: 'transfer' },
    { type: 'io.containerd.grpc.v1', id: 'streaming' },
    { type: 'io.containerd.grpc.v1', id: 'sandboxes' },
  ];
  for (const { type, id } of needed) {
    const plugin = plugins.find((candidate) => candidate.type === type && candidate.id === id);
    if (plugin !== undefined && plugin.initErr === undefined) continue;
    const why = plugin?.initErr?.message ?? 'it is not built in or is disabled in its configuration';
    throw new BerthError('ContainerdIncomplete', `containerd has no plugin ${type}.${id}: ${why}.`);
  }
}
