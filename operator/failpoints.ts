import { failpoints } from '../process/failpoints.ts';

/** The places between two effects of the operator at which the crash tests end it, in the sequence of a reconcile. */
export const operatorFailpoints = [
  /** It leads and has done nothing. */
  'term.begun',
  /** A decision is made and nothing of it has happened. */
  'decision.made',
  /** The runner was asked to make ready what is not assigned yet. */
  'preparation.sent',
  /** The status is acknowledged; its Events are not recorded. */
  'status.acknowledged',
  /** The Events are on their way; the orders are not. */
  'events.recorded',
  'orders.sent',
  'finalizer.added',
  /** The copies that a deleted Sandbox leaves behind are noted, and its finalizer is there. */
  'removals.noted',
  'finalizer.removed',
  /** The copies that a runner was to remove are gone and no longer noted. */
  'removals.dropped',
  /** A runner that is back was told which copies to remove. */
  'removals.ordered',
] as const;

export type OperatorFailpoint = (typeof operatorFailpoints)[number];

/** Reaches one of them. Always labelled `FAILPOINT:`, so that it is dropped from what is shipped. */
export const failpoint = /* @__PURE__ */ failpoints(operatorFailpoints);
