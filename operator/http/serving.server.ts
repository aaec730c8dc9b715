import type { Socket } from 'node:net';
import type { Address } from '../../process/address.ts';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { TlsReloader } from '../../process/tls.ts';
import { openPort, type Port } from './port.server.ts';

/** Somebody who serves connections. */
export interface Endpoint {
  inject(socket: Socket): void;
  close(): Promise<void>;
}

export interface ServingOptions {
  /** gRPC for agents and other operator pods. */
  readonly hub: Endpoint;
  /** JSON for callers. */
  readonly api: Endpoint;
  readonly listen: Address;
  /** The API has this port of its own; undefined: both share one. */
  readonly apiListen: Address | undefined;
  readonly tls: TlsReloader | undefined;
  readonly isUnsafeAllowed: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Serving {
  readonly hub: Address;
  readonly api: Address;
  close(): Promise<void>;
}

/** Listens for agents and callers, on one port or two. Rejects as `openPort`; then nothing is listened on. */
export async function startServing({ hub, api, listen, apiListen, ...shared }: ServingOptions): Promise<Serving> {
  const [http1, http2] = [(socket: Socket) => api.inject(socket), (socket: Socket) => hub.inject(socket)];
  if (apiListen === undefined) {
    const port = await openPort({ ...shared, ...listen, http1, http2 });
    return { hub: port, api: port, close: () => port.close(() => Promise.all([hub.close(), api.close()])) };
  }
  const hubPort = await openPort({ ...shared, ...listen, http1: undefined, http2 });
  const apiPort = await openPort({ ...shared, ...apiListen, http1, http2: undefined }).catch(async (error: unknown) => {
    await closed(hubPort, hub);
    throw error;
  });
  return {
    hub: hubPort,
    api: apiPort,
    close: async () => {
      await Promise.all([closed(hubPort, hub), closed(apiPort, api)]);
    },
  };
}

function closed(port: Port, endpoint: Endpoint): Promise<void> {
  return port.close(() => endpoint.close());
}
