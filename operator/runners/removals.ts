import { MAX_REMOVALS, type Removal, type Runner } from '../../crds/index.ts';
import { Wanted, type Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { copyKey, type RunnerFacts } from '../hub/facts.ts';

/** The copies of deleted Sandboxes that a Runner notes. */
export interface NotedRemovals {
  /** The same list when nothing changed. */
  readonly removals: readonly Removal[];
  /** What was noted and is no more, unremoved: there was no room. */
  readonly forgotten: readonly Removal[];
}

/** What becomes of the copies of deleted Sandboxes that are noted in a Runner. */
export interface RemovalPlan extends NotedRemovals {
  readonly orders: readonly Order[];
}

/** Of copies on disks that the runner has no more, so many are noted: such a disk may come back, and mostly does not. */
export const mostElsewhere = 256;

/** The list with this one in it, once, and within its bounds: deleting a Sandbox never waits for room. */
export function withRemoval({ removals, storeID }: Runner['status'], removal: Removal): NotedRemovals {
  const isNoted = removals.some(({ uid, epoch }) => uid === removal.uid && epoch === removal.epoch);
  return isNoted ? { removals, forgotten: [] } : bounded([...removals, removal], storeID);
}

/** Those proven absent are dropped, the others ordered Absent while their store is connected; a number that is used up there is raised. */
export function planRemovals({ status }: Runner, facts: RunnerFacts | undefined): RemovalPlan {
  const { removals, forgotten } = bounded(status.removals, status.storeID);
  if (facts?.isComplete !== true || removals.length === 0) return { removals, forgotten, orders: [] };
  const kept = removals
    .filter((removal) => removal.storeID !== facts.storeID || facts.copies.get(copyKey(removal.uid, removal.epoch))?.state !== 'Absent')
    .map((removal) => raised(removal, facts));
  const isSame = kept.length === status.removals.length && kept.every((removal, index) => removal === status.removals[index]);
  // An order follows the acknowledged record of its number.
  const orders = isSame ? kept.filter(({ storeID }) => storeID === facts.storeID).map(absentOrder) : [];
  return { removals: isSame ? status.removals : kept, forgotten, orders };
}

/** What is told of removals that were forgotten. */
export function forgottenNote(forgotten: readonly Removal[]): string {
  const some = forgotten.slice(0, 10).map(({ namespace, name, storeID }) => `${namespace}/${name} on disk ${storeID}`);
  const more = forgotten.length > some.length ? `, and ${forgotten.length - some.length} more` : '';
  return `Copies of deleted sandboxes are noted for removal no more, because the list is full: ${some.join(', ')}${more}. Should their disk come back, they belong to no sandbox.`;
}

/** Those on disks that the runner has no more give way first, and the oldest of them. */
function bounded(removals: readonly Removal[], storeID: string | undefined): NotedRemovals {
  const byAge = removals.toSorted((a, b) => Date.parse(a.startTime) - Date.parse(b.startTime));
  const elsewhere = byAge.filter((removal) => storeID !== undefined && removal.storeID !== storeID);
  const here = byAge.filter((removal) => storeID === undefined || removal.storeID === storeID);
  const excess = Math.max(0, elsewhere.length - mostElsewhere);
  const left = [...elsewhere.slice(excess), ...here];
  const forgotten = [...elsewhere.slice(0, excess), ...left.slice(0, Math.max(0, left.length - MAX_REMOVALS))];
  if (forgotten.length === 0) return { removals, forgotten };
  return { removals: removals.filter((removal) => !forgotten.includes(removal)), forgotten };
}

function raised(removal: Removal, facts: RunnerFacts): Removal {
  const refusal = facts.refusals.get(copyKey(removal.uid, removal.epoch));
  const isUsedUp = refusal?.order === removal.order && (refusal.code === 'Superseded' || refusal.code === 'ContentConflict');
  return isUsedUp ? { ...removal, order: Math.max(removal.order, refusal.highestOrder) + 1 } : removal;
}

function absentOrder({ uid, namespace, name, epoch, order, storeID, graceSeconds }: Removal): Order {
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
    graceSeconds,
    credentials: [],
    secretEnv: [],
    backup: undefined,
  };
}
