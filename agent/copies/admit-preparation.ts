import type { SandboxEntry } from '../journal/record.ts';
import { copyEntry } from '../journal/reduce.ts';
import type { CopyPreparation } from './order.ts';

export interface PreparationView {
  readonly storeID: string;
  readonly bootID: string;
  readonly sandbox: SandboxEntry | undefined;
  /** Why it does not fit beside everything else; undefined when it does. */
  readonly misfit: string | undefined;
}

/**
 * Why a preparation is left out, in a sentence; undefined when it is made. It is no order and gets no answer: what matters comes again as
 * one. It never touches what an order made, but for a stopped copy whose task may be created ahead.
 */
export function refusePreparation({ key, attempt, ...preparation }: CopyPreparation, view: PreparationView): string | undefined {
  if (preparation.storeID !== view.storeID || preparation.bootID !== view.bootID) return 'It is for another store or boot.';
  const { sandbox } = view;
  if (sandbox?.copies.some((copy) => copy.epoch > key.epoch && copy.accepted !== undefined) === true) return 'A newer epoch is known.';
  const copy = copyEntry(sandbox, key.epoch);
  if (copy?.absentSinceMs !== undefined) return 'The epoch was removed.';
  if (copy?.accepted !== undefined && !(copy.accepted.wanted === 'Stopped' && attempt.source.kind === 'Local')) {
    return 'An order has been accepted for the epoch.';
  }
  if (copy?.accepted === undefined && attempt.source.kind === 'Local') return 'There is no copy to start.';
  return view.misfit;
}
