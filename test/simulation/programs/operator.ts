import { Operator } from '../../../operator/controller.ts';
import { silentLogger } from '../../../process/log.ts';
import { noMetrics } from '../../../process/metrics.ts';
import type { Process } from '../engine/process.ts';
import type { Connection } from '../models/network.ts';
import { registryClientOf } from '../models/registry-client.ts';
import type { Sabotage } from '../sabotage.ts';
import type { Scale } from '../plan.ts';
import type { Pod, World } from '../world.ts';

/** Where the operator keeps its Leases. */
export const operatorNamespace = 'berth-system';

/** Three times as slow as in production, times the pace of the plan: most of what happens in a quiet fleet is Leases being renewed. */
function electionOf({ pace }: Scale) {
  return { leaseDurationMs: 45_000 * pace, renewDeadlineMs: 30_000 * pace, retryPeriodMs: 6_000 * pace };
}

/** An operator pod as its main.ts makes it, on the ports of the simulation. */
export function startOperator(world: World, pod: Pod, process: Process, sabotage: Sabotage): void {
  const transport = world.api.clientFor(process);
  const client = registryClientOf(world.registry, pod.name, process);
  const operator = new Operator({
    transport: sabotage.transport?.(transport, world, process) ?? transport,
    clock: process,
    random: () => process.random.next(),
    log: silentLogger,
    metrics: noMetrics,
    namespace: operatorNamespace,
    podName: pod.name,
    identity: process.name,
    version: 'simulation',
    backups: {
      repository: 'registry.local/backups',
      client: sabotage.registry?.(client) ?? client,
      credentials: () => [],
    },
    election: electionOf(world.plan.scale),
    authenticator: {
      authenticate: () => Promise.resolve({ kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: undefined } }),
    },
  });
  pod.accept = (connection) => {
    accept(world, pod, operator, connection, sabotage);
  };
  void operator.run(new AbortController().signal);
}

function accept(world: World, pod: Pod, { hub }: Operator, connection: Connection, { heard, reported }: Sabotage): void {
  const receiver = hub.accept({
    token: 'token',
    send: (message) => {
      world.orderSent(pod.name, connection.runner, message);
      connection.sendToAgent(message);
    },
    end: (code, message) => connection.close('operator', `${code}: ${message}`),
  });
  connection.attachOperator({
    message: (message) => {
      receiver.received(reported?.(message, world) ?? message);
      heard?.(world, pod, connection, message);
    },
    closed: (reason) => receiver.closed(reason),
  });
}
