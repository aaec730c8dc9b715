import { CONNECTION_CONDITION_PREFIX, type Condition, type Runner, type RunnerReason } from '../../crds/index.ts';
import { describeFencing, type Fencing } from '../assignment/fencing.ts';
import { findCondition, setCondition } from '../../kube/conditions.ts';

/** What the operator sees of a runner's agent. */
export interface RunnerSighting {
  /** Milliseconds until its Lease expires, 0 or less when it has; undefined when there is no Lease. */
  readonly leaseLeftMs: number | undefined;
  readonly isConnected: boolean;
  /** What asserts that its machine is off. */
  readonly fencing: Fencing | undefined;
  /** This operator has not led long enough to take silence for an answer. */
  readonly isPatient: boolean;
  /** Since the epoch. */
  readonly now: number;
}

type Claim = Pick<Condition, 'type' | 'status' | 'message'> & { readonly reason: RunnerReason };

/** The operator's two conditions of a Runner; the same objects as before where nothing changed. */
export function runnerConditions(runner: Runner, seen: RunnerSighting): readonly Condition[] {
  const { metadata, status } = runner;
  const ready = readyClaim(seen);
  const claims = [ready, schedulableClaim(runner, seen, ready.status === 'True')];
  const own = status.conditions.filter(({ type }) => claims.some((claim) => claim.type === type));
  const isUndecided = seen.isPatient && claims.some((claim) => claim.status !== 'True' && isTransient(claim.reason));
  if (isUndecided && own.length === claims.length) return own;
  return claims.reduce<readonly Condition[]>(
    (all, claim) => setCondition(all, { ...claim, observedGeneration: metadata.generation }, seen.now),
    own,
  );
}

/** True when the Runner's object says the same already. */
export function hasConditions({ status }: Runner, conditions: readonly Condition[]): boolean {
  return conditions.every((condition) => findCondition(status.conditions, condition.type) === condition);
}

/** Written by the operator, about the operator's conditions of a Runner. */
export interface RunnerEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: RunnerReason;
  readonly action: 'Watch';
  readonly note: string;
}

/** The Lease has just been found expired: nothing that the agent said of its connections is known any more. */
export function hasBecomeLost({ status }: Runner, conditions: readonly Condition[]): boolean {
  return isExpired(findCondition(conditions, 'Ready')) && !isExpired(findCondition(status.conditions, 'Ready'));
}

/** All conditions of a Runner that was lost: the operator's as given, those of connections Unknown, others as they are. */
export function conditionsOfLost({ status }: Runner, own: readonly Condition[], now: number): readonly Condition[] {
  const unknown = status.conditions
    .filter(({ type }) => type.startsWith(CONNECTION_CONDITION_PREFIX))
    .map(({ type }) => ({ type, status: 'Unknown', reason: 'Unknown', message: 'The agent does not report.' }) as const);
  return [...own, ...unknown].reduce((all, condition) => setCondition(all, condition, now), status.conditions);
}

/** One Event for each condition that changed its status. What is said for the first time is no change. */
export function runnerEvents({ status }: Runner, conditions: readonly Condition[]): readonly RunnerEvent[] {
  return conditions.flatMap((condition) => {
    const before = findCondition(status.conditions, condition.type);
    if (before === undefined || before.status === condition.status) return [];
    const isBad = condition.status !== 'True' && condition.reason !== 'Cordoned';
    return [{ type: isBad ? 'Warning' : 'Normal', reason: condition.reason as RunnerReason, action: 'Watch', note: condition.message }];
  });
}

function isExpired(ready: Condition | undefined): boolean {
  return ready?.status === 'Unknown' && ready.reason === 'LeaseExpired';
}

/** What silence at the beginning of a leader's time looks like. */
function isTransient(reason: RunnerReason): boolean {
  return reason === 'LeaseMissing' || reason === 'NotConnected' || reason === 'NotReady';
}

function readyClaim({ leaseLeftMs }: RunnerSighting): Claim {
  if (leaseLeftMs === undefined)
    return { type: 'Ready', status: 'False', reason: 'LeaseMissing', message: 'The agent has not taken its Lease yet.' };
  return leaseLeftMs > 0
    ? { type: 'Ready', status: 'True', reason: 'LeaseRenewed', message: 'The agent renews its Lease.' }
    : { type: 'Ready', status: 'Unknown', reason: 'LeaseExpired', message: 'The agent has not renewed its Lease in time.' };
}

function schedulableClaim({ spec }: Runner, { isConnected, fencing }: RunnerSighting, isReady: boolean): Claim {
  const no = (reason: RunnerReason, message: string): Claim => ({ type: 'Schedulable', status: 'False', reason, message });
  if (fencing !== undefined) return no('Fenced', `The machine is said to be off: ${describeFencing(fencing)}.`);
  if (spec.unschedulable) return no('Cordoned', 'spec.unschedulable is true.');
  if (!isReady) return no('NotReady', 'The runner is not ready.');
  if (!isConnected) return no('NotConnected', 'The agent is not connected to the operator.');
  return { type: 'Schedulable', status: 'True', reason: 'Schedulable', message: 'Sandboxes can be placed on the runner.' };
}
