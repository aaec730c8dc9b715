/** The HTTP API of operator pods, for benchmarks. */
import { readFileSync } from 'node:fs';
import type { Cluster } from '../harness/cluster.ts';
import type { Operator } from '../harness/operator.ts';
import { eventually } from '../system/eventually.ts';
import { PlainClient } from './plain-client.ts';

const merge = 'application/merge-patch+json';
/** Slots are many here and take next to nothing, so that they leave room for sandboxes. */
const taskSlotResources = { cpu: '10m', memory: '4Mi' };
const connections = 64;

export interface FleetAnswer {
  readonly fleet: {
    readonly slots: number;
    readonly reserved: number;
    readonly used: number;
    readonly runners: readonly { readonly runnerName: string; readonly slots: number; readonly used: number; readonly reserved: number }[];
  };
  readonly complete: boolean;
}

/** Somebody with a token and connections to one pod that are kept open. */
export function callerOf(cluster: Cluster, operator: Operator | undefined, token: string): PlainClient {
  if (operator === undefined) throw new Error('there is no operator');
  return new PlainClient({ server: operator.url, ca: readFileSync(cluster.authority.caFile, 'utf8'), token, connections });
}

export async function fleetOf(api: PlainClient): Promise<FleetAnswer> {
  return (await api.ask('GET', '/sandbox/status', 200)).body as FleetAnswer;
}

/** Gives every runner so many slots; resolves when the pod knows it. */
export async function withSlots(cluster: Cluster, api: PlainClient, runners: readonly string[], slots: number): Promise<void> {
  const patch = { spec: { taskSlots: slots, taskSlotResources } };
  await eventually('every agent has made its Runner', async () => {
    const { items } = await cluster.api.ok('GET', '/apis/berth.dev/v1alpha1/runners');
    return (items as readonly unknown[]).length >= runners.length ? true : undefined;
  });
  for (const name of runners) await cluster.api.ok('PATCH', `/apis/berth.dev/v1alpha1/runners/${name}`, patch, merge);
  await eventually('every slot is known', async () => {
    const { fleet } = await fleetOf(api);
    return fleet.slots === slots * runners.length ? true : undefined;
  });
}
