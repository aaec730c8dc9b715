import type { CopyInventory } from '../copies/controller.ts';
import type { Inventory } from '../proto/gen/berth/agent/v1/agent.ts';

/** Copies in one message: far below the largest message, and small enough to leave room for others. */
export const copiesPerMessage = 500;

/** A full inventory in parts of one number. The last part is marked; there is one even when nothing is here. */
export function inventoryParts(seq: number, { copies, runner, tick }: CopyInventory): readonly Inventory[] {
  const count = Math.max(1, Math.ceil(copies.length / copiesPerMessage));
  return Array.from({ length: count }, (_, part) => ({
    seq,
    copies: copies.slice(part * copiesPerMessage, (part + 1) * copiesPerMessage),
    runner: part === 0 ? runner : undefined,
    last: part === count - 1,
    tick,
  }));
}
