import type { SandboxStatus } from '../../crds/index.ts';
import { ordersOf, type CopyOrder } from './orders.ts';
import type { SandboxSnapshot } from './snapshot.ts';

/** An order that its runner has yet to carry out. */
export interface OutstandingOrder {
  readonly order: CopyOrder;
  /** The agent has accepted its number: it needs it only once on each stream, for the configuration that it does not keep. */
  readonly isAccepted: boolean;
}

/** The orders of a status that are not done and can reach their runner: what is sent on every new stream, and again while not accepted. */
export function outstandingOrders(world: SandboxSnapshot, status: SandboxStatus): readonly OutstandingOrder[] {
  return ordersOf({ status })
    .map((order) => ({ order, isAccepted: isAccepted(world, order) }))
    .filter(({ order, isAccepted: accepted }) => isReachable(world, order) && !isDone(world, status, order, accepted));
}

/** The newest report of the assigned copy is at or above the number. */
export function isAccepted(
  { copy, sandbox: { status } }: SandboxSnapshot,
  order: Pick<CopyOrder, 'runnerName' | 'epoch' | 'order'>,
): boolean {
  const isOfCopy = status.runnerName === order.runnerName && status.assignment?.epoch === order.epoch;
  return isOfCopy && copy !== undefined && copy.order >= order.order;
}

function isDone({ remains }: SandboxSnapshot, status: SandboxStatus, order: CopyOrder, accepted: boolean): boolean {
  if (order.wanted === 'Absent') {
    return remains.some(({ runnerName, epoch, isAbsent }) => isAbsent && runnerName === order.runnerName && epoch === order.epoch);
  }
  // An agent that was restarted knows nothing of the backup any more.
  return accepted && order.backup === undefined && (status.state === 'Started' || status.state === 'Stopped');
}

function isReachable({ fleet }: SandboxSnapshot, { runnerName, storeID }: CopyOrder): boolean {
  return fleet.some(({ name, agent }) => name === runnerName && agent?.isComplete === true && agent.storeID === storeID);
}
