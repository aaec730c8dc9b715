import type { KubeTransport } from '../../kube/types.ts';
import type { Clock } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Metrics } from '../../process/metrics.ts';
import type { Serving } from '../http/controller.ts';
import { ApiError } from '../http/errors.ts';
import { Reservations } from '../reservations/controller.ts';
import { PullSecrets } from '../sandboxes/secrets.client.ts';
import { Agents } from './agents.client.ts';
import { taskServing } from './api.server.ts';
import { Tasks, type TasksOptions } from './controller.ts';
import { fleetOf, openRunners, reachesAll, runningSandbox, type SandboxRef, storeOf, type TaskWorld } from './gather.ts';
import { KeyClaims } from './key-claims.client.ts';
import { SandboxReads } from './sandbox-reads.client.ts';
import { statusOf } from './status.ts';
import { Transfers } from './transfers.server.ts';

export interface TaskServiceOptions {
  readonly world: TaskWorld;
  readonly transport: KubeTransport;
  /** Namespace of the operator. */
  readonly namespace: string;
  readonly podName: string;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface TaskService {
  readonly serving: Serving;
  readonly transfers: Transfers;
  /** Removes what has expired until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** Slots and tasks of the whole fleet, as one pod serves them. */
export function createTaskService(options: TaskServiceOptions): TaskService {
  const { world, transport, namespace, podName, version, clock, log, metrics } = options;
  const agents = new Agents(world.hub, clock);
  const transfers = new Transfers(agents, clock);
  const reservations = new Reservations({ agents, openRunners: () => openRunners(world), clock, log, metrics });
  const keys = new KeyClaims({ transport, namespace, clock, log });
  const secrets = new PullSecrets(transport, clock);
  const credentialsIn: TasksOptions['credentialsIn'] = async (of, named) => {
    const read = await secrets.credentialsIn(of, named, 'imagePullSecrets').catch((cause: unknown) => {
      throw new ApiError('SecretUnavailable', undefined, { cause });
    });
    if (read.kind !== 'Ready') throw new ApiError('ImagePullSecretInvalid', read.message);
    return read.credentials;
  };
  const sandboxes = new SandboxReads(transport);
  const sandboxOf = (ref: SandboxRef) =>
    runningSandbox(world.sandboxes.get(`${ref.namespace}/${ref.name}`), ref, (asked) => sandboxes.read(asked));
  const tasks = new Tasks({
    agents,
    reservations,
    keys,
    transfers,
    storeOf: (name) => storeOf(world, name),
    sandboxOf,
    credentialsIn,
    clock,
  });
  const status = () => statusOf({ ...fleetOf(world), operator: { name: podName, version }, waiting: reservations.waiting });
  return {
    serving: taskServing({ tasks, reservations, agents, sandboxOf, status, reachesAll: () => reachesAll(world), clock }),
    transfers,
    run: (signal) => tasks.run(signal),
  };
}
