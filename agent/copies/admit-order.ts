import type { SandboxEntry } from '../journal/record.ts';
import { copyEntry, rejectionOf } from '../journal/reduce.ts';
import type { CopyEntry } from '../journal/record.ts';
import type { CopyOrder } from './order.ts';

export type RefusalCode = 'StoreMismatch' | 'BootMismatch' | 'Superseded' | 'ContentConflict' | 'Malformed';

export type Admission =
  /** Leaves no trace; the operator's live leader issues again under a raised order. */
  | { readonly kind: 'Refuse'; readonly code: RefusalCode; readonly message: string }
  /** This very order was answered before: what is is reported again. */
  | { readonly kind: 'Repeat' }
  /** This very order was accepted before: it goes on, with the configuration that it brings again. */
  | { readonly kind: 'Resume' }
  /** Recorded durably, then reported: the order is never carried out here. */
  | {
      readonly kind: 'Reject';
      readonly reason: 'InsufficientOnRunner' | 'OutOfDisk' | 'ContentMissing' | 'OrderRejected';
      readonly message: string;
    }
  /** Recorded durably; the copy converges to it. */
  | { readonly kind: 'Accept' };

export interface AdmissionView {
  readonly storeID: string;
  readonly bootID: string;
  /** What is recorded of the order's sandbox. */
  readonly sandbox: SandboxEntry | undefined;
  /** Why the order's copy does not fit beside all others; undefined when it does. */
  readonly misfit: string | undefined;
  /** The runner's disk is full: only what frees room is taken on. */
  readonly isDiskFull: boolean;
}

/** What an agent answers to an order: rules 1 to 6 of docs/adr/0002-orders.md, the first that applies. */
export function admitOrder(order: CopyOrder, view: AdmissionView): Admission {
  const copy = copyEntry(view.sandbox, order.key.epoch);
  return (
    ofAnotherMachine(order, view) ??
    outdated(order, view.sandbox, copy) ??
    answeredForEver(order, copy) ??
    alreadyKnown(order, copy) ??
    insufficient(order, copy, view) ?? { kind: 'Accept' }
  );
}

/** Rule 1. What is left of a deleted object is removed under every boot. */
function ofAnotherMachine(order: CopyOrder, { storeID, bootID }: AdmissionView): Admission | undefined {
  if (order.storeID !== storeID) {
    return { kind: 'Refuse', code: 'StoreMismatch', message: `The order is for store ${order.storeID}, this is ${storeID}.` };
  }
  const isForEveryBoot = order.bootID === '' && order.wish.wanted === 'Absent';
  if (order.bootID !== bootID && !isForEveryBoot) {
    return { kind: 'Refuse', code: 'BootMismatch', message: `The order is for boot ${order.bootID}, this is ${bootID}.` };
  }
  return undefined;
}

/** Rule 2. */
function outdated(order: CopyOrder, sandbox: SandboxEntry | undefined, copy: CopyEntry | undefined): Admission | undefined {
  const highest = sandbox?.order ?? 0;
  if (order.order < highest) {
    return { kind: 'Refuse', code: 'Superseded', message: `Order ${order.order} came after order ${highest}.` };
  }
  const known = copy === undefined ? undefined : contentUnder(copy, order.order);
  if (known === undefined || known === order.content) return undefined;
  const message = `Order ${order.order} is known as '${known}' and came as '${order.content}'.`;
  return { kind: 'Refuse', code: 'ContentConflict', message };
}

function contentUnder(copy: CopyEntry, order: number): string | undefined {
  return copy.accepted?.order === order ? copy.accepted.content : rejectionOf(copy, order)?.content;
}

/** Rule 3. */
function answeredForEver(order: CopyOrder, copy: CopyEntry | undefined): Admission | undefined {
  if (copy === undefined) return undefined;
  if (rejectionOf(copy, order.order) !== undefined) return { kind: 'Repeat' };
  if (copy.absentSinceMs === undefined) return undefined;
  if (order.wish.wanted === 'Absent') return copy.accepted?.order === order.order ? { kind: 'Repeat' } : { kind: 'Accept' };
  const isLocal = 'attempt' in order.wish && order.wish.attempt.source.kind === 'Local';
  const message = `Epoch ${copy.epoch} was removed from this runner and does not come back.`;
  return { kind: 'Reject', reason: isLocal ? 'ContentMissing' : 'OrderRejected', message };
}

/** Rule 4, and what was accepted under this number before. */
function alreadyKnown({ order, wish }: CopyOrder, copy: CopyEntry | undefined): Admission | undefined {
  if (copy?.accepted?.order === order) return { kind: 'Resume' };
  if (wish.wanted === 'Running' && copy !== undefined && wish.contentVersion <= copy.started) return { kind: 'Accept' };
  return undefined;
}

/** Rule 5. */
function insufficient({ wish }: CopyOrder, copy: CopyEntry | undefined, { misfit, isDiskFull }: AdmissionView): Admission | undefined {
  if (!('attempt' in wish) || copy?.absentSinceMs !== undefined) return undefined;
  if (isDiskFull) return { kind: 'Reject', reason: 'OutOfDisk', message: diskFull };
  return misfit === undefined ? undefined : { kind: 'Reject', reason: 'InsufficientOnRunner', message: misfit };
}

/** Why nothing is made or started on a runner whose disk is full. */
export const diskFull = 'The disk of the runner is full: it only stops and removes sandboxes until there is room again.';
