import type { SandboxStatus } from '../../crds/index.ts';
import { asksForMore, mainOrder } from './orders.ts';
import { isAccepted } from './outstanding.ts';
import type { RefusalView, SandboxSnapshot } from './snapshot.ts';

/**
 * The status with its orders numbered: raised when a runner has to do something else, or when the standing order can not be sent as it
 * was: the machine was booted anew, the spec that it was decided for is gone, or the runner knows a higher number.
 */
export function numbered(world: SandboxSnapshot, next: SandboxStatus): SandboxStatus {
  const { status } = world.sandbox;
  const isRaised = asksForMore(status, next) || refusalOfStanding(world) !== undefined || isUnsendable(world, next);
  if (!isRaised) return next;
  const highest = refusalOfStanding(world)?.highestOrder ?? 0;
  const raised = { ...next, order: Math.max(status.order, highest) + 1 };
  const { assignment, runnerName } = next;
  if (assignment === undefined || mainOrder(next) === undefined) return raised;
  const runner = world.fleet.find(({ name }) => name === runnerName);
  const bootID = runner?.storeID === assignment.storeID ? (runner.bootID ?? assignment.bootID) : assignment.bootID;
  return { ...raised, assignment: { ...assignment, bootID, configHash: world.configHash, ...runningConfig(world, next) } };
}

/** What runs goes on as it was started, whatever the spec says now. */
function runningConfig({ sandbox, configHash }: SandboxSnapshot, { state, assignment }: SandboxStatus) {
  if (state !== 'Started' || assignment === undefined || sandbox.status.state !== 'Started') return {};
  const running = assignment.runningConfigHash ?? assignment.configHash;
  return { runningConfigHash: running === configHash ? undefined : running };
}

/** The runner is there, has yet to carry the standing order out, and would not take it as it stands. */
function isUnsendable(world: SandboxSnapshot, next: SandboxStatus): boolean {
  const order = mainOrder(next);
  const agent = world.runner?.agent;
  if (order === undefined || agent?.isComplete !== true || agent.storeID !== order.storeID) return false;
  const isUnderWay = order.backup !== undefined || (next.state !== 'Started' && next.state !== 'Stopped');
  const accepted = isAccepted(world, { ...order, order: next.order });
  if (order.bootID !== agent.bootID) return isUnderWay || !accepted;
  const isToBeSent = isUnderWay && world.sentOrder < next.order;
  return order.source !== undefined && order.configHash !== world.configHash && (isToBeSent || !accepted);
}

/** The runner says that the standing number is used up there. */
function refusalOfStanding({ refusal, sandbox }: SandboxSnapshot): RefusalView | undefined {
  if (refusal?.order !== sandbox.status.order) return undefined;
  return refusal.code === 'Superseded' || refusal.code === 'ContentConflict' ? refusal : undefined;
}
