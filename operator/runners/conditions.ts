import type { Condition, Runner, RunnerReason } from '../../crds/index.ts';
import { findCondition, setCondition } from '../../kube/conditions.ts';

/** What the operator sees of a runner's agent. */
export interface RunnerSighting {
  /** Milliseconds until its Lease expires, 0 or less when it has; undefined when there is no Lease. */
  readonly leaseLeftMs: number | undefined;
  readonly isConnected: boolean;
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

function schedulableClaim({ spec }: Runner, { isConnected }: RunnerSighting, isReady: boolean): Claim {
  const no = (reason: RunnerReason, message: string): Claim => ({ type: 'Schedulable', status: 'False', reason, message });
  if (spec.unschedulable) return no('Cordoned', 'spec.unschedulable is true.');
  if (!isReady) return no('NotReady', 'The runner is not ready.');
  if (!isConnected) return no('NotConnected', 'The agent is not connected to the operator.');
  return { type: 'Schedulable', status: 'True', reason: 'Schedulable', message: 'Sandboxes can be placed on the runner.' };
}
