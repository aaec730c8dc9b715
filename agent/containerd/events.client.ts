import { randomUUID } from 'node:crypto';
import type { ClientReadableStream } from '@grpc/grpc-js';
import { backoffDelay } from '../../process/backoff.ts';
import { type Clock, sleep } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { packAny, unpackAny } from './any.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerDelete } from './gen/events/container.ts';
import { SnapshotRemove } from './gen/events/snapshot.ts';
import { TaskExit } from './gen/events/task.ts';
import { Empty } from './gen/google/protobuf/empty.ts';
import type { Envelope } from './gen/types/event.ts';
import { EventsService } from './gen/services/events/v1/events.ts';

/** What happened in our namespace, as far as it matters here. `id` is a container's, or the key of a snapshot. */
export type ContainerdEvent =
  | { readonly kind: 'Exited'; readonly id: string; readonly exitStatus: number; readonly exitedAt: Date | undefined }
  | { readonly kind: 'ContainerDeleted' | 'SnapshotRemoved'; readonly id: string }
  /** From here on nothing is missed until the stream breaks. What happened before must be listed. */
  | { readonly kind: 'Subscribed' };

export interface EventsOptions {
  readonly connection: ContainerdConnection;
  readonly clock: Clock;
  readonly logger: Logger;
}

const topics = '^/(tasks/exit|containers/delete|snapshot/remove)$';
const marker = '/berth/subscribed';
/** One agent asks one containerd: nobody else is in step with it, so that nothing need be random. */
const retryBackoff = { initialMs: 100, maxMs: 2_000, jitter: 0 };
/** How long the marker may take before it is sent again: containerd may not have begun to listen when the first one came. */
const markerMs = 50;

/** Subscribes again and again until `signal` aborts. containerd keeps no events: what happens between two subscriptions is lost. */
export async function followEvents(options: EventsOptions, listener: (event: ContainerdEvent) => void, signal: AbortSignal): Promise<void> {
  const { clock, logger } = options;
  let failures = 0;
  const hear = (event: ContainerdEvent) => {
    if (event.kind === 'Subscribed') failures = 0;
    listener(event);
  };
  while (!signal.aborted) {
    try {
      await subscribeOnce(options, hear, signal);
    } catch (error) {
      if (wasAborted(signal)) return;
      failures += 1;
      logger.warn({ said: messageOf(error), failures }, 'The event stream of containerd ended');
      await sleep(
        clock,
        backoffDelay(retryBackoff, failures, () => 0),
        signal,
      ).catch(() => undefined);
    }
  }
}

/** A function, since the compiler believes that a signal cannot change while something is awaited. */
function wasAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Rejects when the stream ends. */
async function subscribeOnce(
  { connection, clock }: EventsOptions,
  listener: (event: ContainerdEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const nonce = `${marker}/${randomUUID()}`;
  const namespace = `namespace==${connection.namespace}`;
  const filters = [`${namespace},topic~="${topics}"`, `${namespace},topic=="${nonce}"`];
  // A subscription has no deadline of its own: it lasts until containerd or we end it.
  const stream = connection.stream(EventsService.subscribe, { filters });
  const ended = new AbortController();
  const abort = () => stream.cancel();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const done = readStream(stream, (envelope) => {
      const event = envelope.topic === nonce ? subscribed(ended) : eventOf(envelope);
      if (event !== undefined) listener(event);
    });
    // containerd does not say when it has begun to listen: our own event coming back does.
    const announced = announce({ connection, clock }, nonce, AbortSignal.any([signal, ended.signal]));
    await Promise.all([done, announced]);
  } finally {
    ended.abort();
    signal.removeEventListener('abort', abort);
    stream.cancel();
  }
}

/** The marker may come back more than once: the first one counts. */
function subscribed(ended: AbortController): ContainerdEvent | undefined {
  if (ended.signal.aborted) return undefined;
  ended.abort();
  return { kind: 'Subscribed' };
}

async function announce(
  { connection, clock }: Pick<EventsOptions, 'connection' | 'clock'>,
  nonce: string,
  heard: AbortSignal,
): Promise<void> {
  while (!heard.aborted) {
    await connection.call(EventsService.publish, {
      topic: nonce,
      event: packAny('google.protobuf.Empty', Empty, {}),
    });
    await sleep(clock, markerMs, heard).catch(() => undefined);
  }
}

function readStream(stream: ClientReadableStream<Envelope>, onEvent: (envelope: Envelope) => void): Promise<never> {
  return new Promise((_resolve, reject) => {
    stream.on('data', onEvent);
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('containerd closed the stream')));
  });
}

function eventOf({ topic, event }: Envelope): ContainerdEvent | undefined {
  switch (topic) {
    case '/tasks/exit': {
      const exit = unpackAny('containerd.events.TaskExit', TaskExit, event);
      // An exec has an id of its own.
      if (exit === undefined || exit.id !== exit.containerId) return undefined;
      return { kind: 'Exited', id: exit.containerId, exitStatus: exit.exitStatus, exitedAt: exit.exitedAt };
    }
    case '/containers/delete': {
      const deleted = unpackAny('containerd.events.ContainerDelete', ContainerDelete, event);
      return deleted === undefined ? undefined : { kind: 'ContainerDeleted', id: deleted.id };
    }
    case '/snapshot/remove': {
      const removed = unpackAny('containerd.events.SnapshotRemove', SnapshotRemove, event);
      return removed === undefined ? undefined : { kind: 'SnapshotRemoved', id: removed.key };
    }
    default:
      return undefined;
  }
}
