import type { ObjectRef, Patch, Resource } from '../../../kube/types.ts';
import type { Process } from '../engine/process.ts';
import type { Timer } from '../../../process/clock.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import { keyOf } from './api-store.ts';
import type { ApiStore } from './api-store.ts';
import type { JsonObject } from './json.ts';
import { sandboxes } from './objects.ts';

/** A status of a Sandbox that is under way and has not reached the store. */
export interface Write {
  readonly process: Process;
  readonly ref: ObjectRef;
  /** The `status.order` that it writes. */
  readonly order: number;
}

/** How the next status that raises an order is to be held. */
export interface Hold {
  /** It goes on at the latest after so many milliseconds. */
  readonly mostMs: number;
  readonly began: (write: Write) => void;
  readonly ended: (write: Write) => void;
}

interface Held {
  readonly write: Write;
  readonly timer: Timer;
  readonly go: () => void;
}

/**
 * Statuses that lie in a switch or in the API server's queue until others have gone beyond them: what compare-and-swap is for. The sender hears
 * nothing and has to think that it timed out.
 */
export class HeldWrites {
  readonly #scheduler: Scheduler;
  readonly #armed: Hold[] = [];
  readonly #held = new Set<Held>();

  constructor(store: ApiStore, scheduler: Scheduler) {
    this.#scheduler = scheduler;
    store.onChange((resource, { type, object }) => {
      if (this.#held.size === 0 || resource.plural !== sandboxes.plural) return;
      this.#written(keyOf(object.metadata), type === 'DELETED' ? Infinity : orderOf(object.status));
    });
  }

  /** The next status that raises an order is held, whoever sends it. */
  arm(hold: Hold): void {
    this.#armed.push(hold);
  }

  /** Takes hold of the patch when one is armed for it: `carryOut` is called when it goes on. */
  take(process: Process, resource: Resource, ref: ObjectRef, patch: Patch, carryOut: () => void): boolean {
    if (this.#armed.length === 0 || resource.plural !== sandboxes.plural || patch.type !== 'merge') return false;
    const order = orderOf((patch.body as { readonly status?: JsonObject }).status);
    const hold = order === 0 ? undefined : this.#armed.shift();
    if (hold === undefined) return false;
    const write = { process, ref, order };
    const held: Held = {
      write,
      timer: this.#scheduler.after(hold.mostMs, () => this.#release(held)),
      go: () => {
        hold.ended(write);
        carryOut();
      },
    };
    this.#held.add(held);
    hold.began(write);
    return true;
  }

  /** Nothing more is held; what is held goes on. */
  releaseAll(): void {
    this.#armed.length = 0;
    for (const held of [...this.#held]) this.#release(held);
  }

  #written(key: string, order: number): void {
    for (const held of this.#held) {
      if (keyOf(held.write.ref) === key && order > held.write.order) this.#scheduler.after(0, () => this.#release(held));
    }
  }

  #release(held: Held): void {
    if (!this.#held.delete(held)) return;
    held.timer.cancel();
    held.go();
  }
}

function orderOf(status: JsonObject | undefined): number {
  return typeof status?.order === 'number' ? status.order : 0;
}
