import { timestamp } from './time.ts';
import type { Condition } from './types.ts';

/** A condition as it is now, without the time of its last transition. */
export type ConditionState = Omit<Condition, 'lastTransitionTime'>;

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * The conditions with this one set, in their order; a new one comes last. `lastTransitionTime` becomes `nowMs` only when the status
 * changes. Returns the argument itself when nothing changes.
 */
export function setCondition(conditions: readonly Condition[], state: ConditionState, nowMs: number): readonly Condition[] {
  const old = findCondition(conditions, state.type);
  if (old === undefined) return [...conditions, { ...state, lastTransitionTime: timestamp(nowMs) }];
  const next = { ...state, lastTransitionTime: old.status === state.status ? old.lastTransitionTime : timestamp(nowMs) };
  return sameCondition(old, next) ? conditions : conditions.map((condition) => (condition === old ? next : condition));
}

function sameCondition(a: Condition, b: Condition | undefined): boolean {
  return (
    a.type === b?.type &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.observedGeneration === b.observedGeneration &&
    a.lastTransitionTime === b.lastTransitionTime
  );
}
