/** A part of a modelled fleet: many agents in one process. Ends with the process that started it. Argument: path of a JSON file of `FleetPart`. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { CopyState, type Order } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { CopyController } from '../../../agent/copies/controller.ts';
import { createLogger } from '../../../process/log.ts';
import { systemClock } from '../../../process/system-clock.ts';
import { startFleetAgent, type FleetAgent } from './agent.ts';

export interface FleetPart {
  readonly caFile: string;
  readonly agents: readonly FleetAgent[];
}

/** What the process is told: orders for its agents, by the name of the runner. It answers `done` when all are Running. */
export type FleetOrders = readonly (readonly [runnerName: string, orders: readonly Order[]])[];

const part = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as FleetPart;
process.on('disconnect', () => process.exit(0));
const log = createLogger({ name: 'fleet', level: 'error', clock: systemClock() });
const ca = readFileSync(part.caFile);
const agents = new Map(await Promise.all(part.agents.map(async (agent) => [agent.name, await startFleetAgent(agent, ca, log)] as const)));
process.on('message', (orders: FleetOrders) => void carryOut(orders));
process.send?.('done');

async function carryOut(orders: FleetOrders): Promise<void> {
  for (const [runnerName, ofRunner] of orders) {
    const copies = agents.get(runnerName);
    if (copies === undefined) throw new Error(`${runnerName} is not here`);
    for (const order of ofRunner) {
      const refusal = copies.deliver(order);
      if (refusal !== undefined) throw new Error(`${runnerName} refused an order: ${refusal.message}`);
    }
    await allRunning(copies, ofRunner.length);
  }
  process.send?.('done');
}

async function allRunning(copies: CopyController, count: number): Promise<void> {
  while (copies.inventory().copies.filter(({ state }) => state === CopyState.COPY_STATE_RUNNING).length < count) await delay(20);
}
