import type { Removal, Runner } from '../../crds/index.ts';
import { Wanted, type Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { copyKey, type RunnerFacts } from '../hub/facts.ts';

/** What becomes of the copies of deleted Sandboxes that are noted in a Runner. */
export interface RemovalPlan {
  /** Those that are still to be removed; the same list when nothing changed. */
  readonly removals: readonly Removal[];
  readonly orders: readonly Order[];
}

/** The list with this one in it, once. */
export function withRemoval(removals: readonly Removal[], removal: Removal): readonly Removal[] {
  const others = removals.filter(({ uid, epoch }) => uid !== removal.uid || epoch !== removal.epoch);
  return others.length === removals.length ? [...removals, removal] : removals;
}

/** Those proven absent are dropped, the others ordered Absent while their store is connected; a number that is used up there is raised. */
export function planRemovals({ status }: Runner, facts: RunnerFacts | undefined): RemovalPlan {
  if (facts?.isComplete !== true || status.removals.length === 0) return { removals: status.removals, orders: [] };
  const kept = status.removals
    .filter((removal) => removal.storeID !== facts.storeID || facts.copies.get(copyKey(removal.uid, removal.epoch))?.state !== 'Absent')
    .map((removal) => raised(removal, facts));
  const isSame = kept.length === status.removals.length && kept.every((removal, index) => removal === status.removals[index]);
  // An order follows the acknowledged record of its number.
  const orders = isSame ? kept.filter(({ storeID }) => storeID === facts.storeID).map(absentOrder) : [];
  return { removals: isSame ? status.removals : kept, orders };
}

function raised(removal: Removal, facts: RunnerFacts): Removal {
  const refusal = facts.refusals.get(copyKey(removal.uid, removal.epoch));
  const isUsedUp = refusal?.order === removal.order && (refusal.code === 'Superseded' || refusal.code === 'ContentConflict');
  return isUsedUp ? { ...removal, order: Math.max(removal.order, refusal.highestOrder) + 1 } : removal;
}

function absentOrder({ uid, namespace, name, epoch, order, storeID }: Removal): Order {
  return {
    uid,
    namespace,
    name,
    epoch,
    order,
    storeId: storeID,
    bootId: '',
    wanted: Wanted.WANTED_ABSENT,
    contentVersion: 0,
    source: undefined,
    config: undefined,
    graceSeconds: 0,
    credentials: [],
    secretEnv: [],
  };
}
