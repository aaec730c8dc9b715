import type { AcceptedRecord, PreparingRecord, RejectedRecord } from '../journal/record.ts';
import type { Refusal } from '../proto/gen/berth/agent/v1/agent.ts';
import type { Admission } from './admit-order.ts';
import type { CopyOrder, CopyPreparation } from './order.ts';
import type { AttemptError } from './attempt-error.ts';
import { goalOf, sourceOf } from './view.ts';
import type { CopyView, SandboxView } from './view.ts';

/** What is written and answered about an order. */

export function acceptedRecord(order: CopyOrder, timeMs: number): AcceptedRecord {
  const { key, namespace, name, wish } = order;
  const attempt = 'attempt' in wish ? wish.attempt : undefined;
  return {
    kind: 'Accepted',
    uid: key.uid,
    epoch: key.epoch,
    namespace,
    name,
    order: order.order,
    content: order.content,
    wanted: wish.wanted,
    contentVersion: wish.wanted === 'Running' ? wish.contentVersion : 0,
    source: attempt && sourceOf(attempt.source),
    configHash: attempt?.config.hash ?? '',
    graceSeconds: 'graceSeconds' in wish ? wish.graceSeconds : 0,
    bootID: order.bootID,
    timeMs,
  };
}

export function rejectedRecord(
  order: CopyOrder,
  { reason, message }: Admission & { readonly kind: 'Reject' },
  timeMs: number,
): RejectedRecord {
  const { key, namespace, name, content } = order;
  return {
    kind: 'Rejected',
    uid: key.uid,
    epoch: key.epoch,
    namespace,
    name,
    order: order.order,
    content,
    reason,
    message,
    takenBack: 0,
    timeMs,
  };
}

export function preparingRecord({ key, namespace, name, attempt }: CopyPreparation, timeMs: number): PreparingRecord {
  return {
    kind: 'Preparing',
    uid: key.uid,
    epoch: key.epoch,
    namespace,
    name,
    source: sourceOf(attempt.source),
    configHash: attempt.config.hash,
    timeMs,
  };
}

export function refusalOf(order: CopyOrder, { code, message }: Admission & { readonly kind: 'Refuse' }, highestOrder: number): Refusal {
  return { uid: order.key.uid, epoch: order.key.epoch, order: order.order, code, message, highestOrder };
}

/** The rejection of the order that the copy is being made for; undefined when it is not made for an order, or not any more. */
export function rejectionFor(sandbox: SandboxView, copy: CopyView, error: AttemptError, timeMs: number): RejectedRecord | undefined {
  const goal = goalOf(sandbox, copy);
  if (goal.kind !== 'Running' && goal.kind !== 'Prepared') return undefined;
  const { order, content, wanted, contentVersion } = goal.accepted;
  const isRecorded = wanted === 'Running' && copy.entry?.started === contentVersion;
  return {
    kind: 'Rejected',
    uid: sandbox.uid,
    epoch: copy.epoch,
    namespace: sandbox.entry?.namespace ?? '',
    name: sandbox.entry?.name ?? '',
    order,
    content,
    reason: error.code,
    message: error.message,
    takenBack: isRecorded ? contentVersion : 0,
    timeMs,
  };
}
