import type { Runner, Sandbox } from '../../../crds/index.ts';
import { Wanted } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Order } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Violations } from './violation.ts';

/** Judges every order in the moment in which an operator sends it. */
export class OrderChecks {
  readonly #violations: Violations;
  /** By uid: what the API server acknowledged under each order number, newest last. */
  readonly #acknowledged = new Map<string, Map<number, Sandbox[]>>();
  readonly #noted = new Set<string>();
  readonly #contents = new Map<string, string>();

  constructor(violations: Violations) {
    this.#violations = violations;
  }

  acknowledged(object: Sandbox): void {
    const { uid } = object.metadata;
    const numbers = this.#acknowledged.get(uid) ?? new Map<number, Sandbox[]>();
    this.#acknowledged.set(uid, numbers);
    const { order } = object.status;
    numbers.set(order, [...(numbers.get(order) ?? []), object]);
  }

  /** Copies of deleted objects that this Runner's status names. */
  noted({ metadata, status }: Runner): void {
    for (const { uid, epoch, storeID, order } of status.removals) this.#noted.add(removalID(metadata.name, uid, epoch, storeID, order));
  }

  /** An operator puts this order on the wire to this runner. */
  sent(order: Order, runner: string): void {
    const { credentials: _, graceSeconds: __, ...content } = order;
    const id = `${order.uid} #${order.order} epoch ${order.epoch} → ${runner}`;
    const text = JSON.stringify({ ...content, backup: content.backup && { ...content.backup, priority: 0 } });
    const before = this.#contents.get(id);
    if (before === undefined) this.#contents.set(id, text);
    else if (before !== text) this.#violations.add('OneNumberOneContent', `${id}: was ${before}, is ${text}`, order.uid);
    if (order.wanted === Wanted.WANTED_ABSENT && this.#noted.has(removalID(runner, order.uid, order.epoch, order.storeId, order.order)))
      return;
    const states = this.#acknowledged.get(order.uid)?.get(order.order) ?? [];
    if (order.order === 0 || !states.some((object) => decides(object, order, runner))) {
      this.#violations.add('OrderAcknowledged', `${id} ${nameOf(order)}: no acknowledged status says so`, order.uid);
    }
  }
}

function removalID(runner: string, uid: string, epoch: number, storeID: string, order: number): string {
  return `${runner} ${uid}/${epoch} ${storeID} #${order}`;
}

export function nameOf(order: Order): string {
  const wanted = Object.entries(Wanted).find(([, value]) => value === order.wanted)?.[0] ?? String(order.wanted);
  return order.wanted === Wanted.WANTED_RUNNING ? `${wanted} ${order.contentVersion}` : wanted;
}

/** The table of docs/adr/0002, once more and written differently, so that the product's own is judged by it. */
function decides(object: Sandbox, order: Order, runner: string): boolean {
  const { assignment, runnerName, releases } = object.status;
  const isThis = (copy: { readonly epoch: number; readonly storeID: string }) =>
    copy.epoch === order.epoch && copy.storeID === order.storeId;
  if (order.wanted === Wanted.WANTED_ABSENT && order.bootId === '')
    return releases.some((release) => release.runnerName === runner && isThis(release));
  if (assignment === undefined || runnerName !== runner || !isThis(assignment)) return false;
  return order.bootId === assignment.bootID && isWanted(object, order) && isBackupWanted(object, order);
}

/** An order names the backup that runs, when it is one of its copy; nothing else, and no other order does. */
function isBackupWanted({ status: { backup } }: Sandbox, order: Order): boolean {
  const operation = backup?.operation;
  const isOfCopy = operation?.state === 'Running' && operation.storeID === order.storeId && operation.epoch === order.epoch;
  const mayRead = order.wanted === Wanted.WANTED_RUNNING || order.wanted === Wanted.WANTED_STOPPED;
  if (order.backup === undefined) return !isOfCopy || !mayRead;
  const { id, repository, contentVersion } = order.backup;
  return isOfCopy && mayRead && id === operation.id && repository === operation.repository && contentVersion === operation.contentVersion;
}

function isWanted(object: Sandbox, order: Order): boolean {
  const { state, assignment, contentVersion } = object.status;
  switch (order.wanted) {
    case Wanted.WANTED_PREPARED:
      return (state === 'Creating' || state === 'Restoring') && assignment?.phase === 'Prepared';
    case Wanted.WANTED_RUNNING:
      return isStartPermitted(object) && order.contentVersion === contentVersion && order.config?.hash === assignment?.configHash;
    case Wanted.WANTED_STOPPED:
      return isStopWanted(state, order);
    case Wanted.WANTED_ABSENT:
      return state === 'Deleting';
    default:
      return false;
  }
}

function isStopWanted(state: Sandbox['status']['state'], { backup }: Order): boolean {
  if (state === 'Pending') return backup !== undefined;
  return state === 'Stopping' || state === 'Stopped' || state === 'Archiving' || state === 'Error';
}

/** The states in which the order is Running. */
export function isStartPermitted({ status: { state, assignment } }: Sandbox): boolean {
  if (state === 'Starting' || state === 'Started') return true;
  return (state === 'Creating' || state === 'Restoring') && assignment?.phase === 'Committed';
}
