import type { Clock, Timer } from '../../process/clock.ts';
import type { CopyController, ReportSink } from '../copies/controller.ts';
import type {
  AgentMessage,
  CopyReport,
  Inventory,
  OperatorMessage,
  Refusal,
  RunnerReport,
  Unclaimed,
  Welcome,
} from '../proto/gen/berth/agent/v1/agent.ts';
import { capabilitiesOf, helloOf, refuseWelcome, tasksCapability } from './handshake.ts';
import type { AgentIdentity } from './handshake.ts';
import { copiesPerMessage, inventoryParts } from './inventory-parts.ts';
import type { TaskLink, TaskService } from '../tasks/peer.ts';
import type { Dialer, OperatorStream, StreamEnd } from './stream.ts';

export interface SessionOptions {
  readonly address: string;
  readonly identity: AgentIdentity;
  readonly dialer: Dialer;
  readonly copies: Pick<CopyController, 'attach' | 'deliver' | 'inventory' | 'prepareAhead'>;
  /** Undefined: this agent runs no tasks, and does not say that it does. */
  readonly tasks: TaskService | undefined;
  readonly clock: Clock;
  readonly token: string | undefined;
  readonly owner: SessionOwner;
  /** How long the operator may take to say Welcome. Default 10,000 ms. */
  readonly handshakeMs?: number;
}

/** Who opened the session. `ended` is called once, never before the constructor has returned. */
export interface SessionOwner {
  welcomed(welcome: Welcome): void;
  peers(addresses: readonly string[]): void;
  /** The leader says which copies nobody claims. */
  unclaimed(said: Unclaimed): void;
  ended(end: StreamEnd): void;
}

/**
 * One stream to one operator pod from dialling to its end: Hello and Welcome, the inventory, then every change under rising numbers.
 * A pod that reads slowly gets fewer and newer reports: one for each copy that changed, as it is when there is room.
 */
export class Session implements ReportSink {
  readonly #options: SessionOptions;
  readonly #stream: OperatorStream;
  #state: 'Greeting' | 'Connected' | 'Ended' = 'Greeting';
  #handshake: Timer | undefined;
  #detach: (() => void) | undefined;
  #seq = 0;
  #hasRoom = true;
  #isFlushing = false;
  #renewed: string | undefined;
  #parts: readonly Inventory[] = [];
  readonly #refusals = new Map<string, Refusal>();
  #link: TaskLink | undefined;
  #aboutTasks: NonNullable<AgentMessage['message']>[] = [];
  readonly #copies = new Map<string, CopyReport>();
  #runner: RunnerReport | undefined;
  /** Of the last change that is sent or waits to be. */
  #tick = 0;

  constructor(options: SessionOptions) {
    const { address, identity, dialer, clock, token, handshakeMs = 10_000 } = options;
    this.#options = options;
    this.#handshake = clock.after(handshakeMs, () => {
      this.#finish({ kind: 'Lost', message: `The operator did not answer within ${handshakeMs / 1000} s.` });
    });
    this.#stream = dialer.dial(address, token, {
      received: (message) => this.#received(message),
      drained: () => {
        this.#hasRoom = true;
        this.#flush();
      },
      closed: (end) => this.#finish(end),
    });
    this.#send({ message: { $case: 'hello', value: helloOf(identity, address, capabilitiesOf(options.tasks)) } });
  }

  /** Shows a newer token, before the one of this stream expires. */
  renew(token: string): void {
    this.#renewed = token;
    this.#flushSoon();
  }

  /** Ends the stream. The owner is not told. */
  close(): void {
    if (this.#state === 'Ended') return;
    this.#end();
    this.#stream.close();
  }

  copyChanged(report: CopyReport, tick: number): void {
    this.#copies.set(keyOf(report), report);
    this.#tick = tick;
    this.#flushSoon();
  }

  runnerChanged(report: RunnerReport, tick: number): void {
    this.#runner = report;
    this.#tick = tick;
    this.#flushSoon();
  }

  relisted(): void {
    this.#takeInventory();
  }

  #received({ message }: OperatorMessage): void {
    if (this.#state === 'Ended' || message === undefined) return;
    if (message.$case === 'welcome') this.#welcomed(message.value);
    else if (this.#state !== 'Connected') this.#abandon('The operator sent orders before it said Welcome.');
    else this.#obey(message);
  }

  #obey(message: Exclude<NonNullable<OperatorMessage['message']>, { readonly $case: 'welcome' }>): void {
    const { copies, owner } = this.#options;
    switch (message.$case) {
      case 'order': {
        const refusal = copies.deliver(message.value);
        if (refusal === undefined) return;
        this.#refusals.set(keyOf(refusal), refusal);
        this.#flushSoon();
        return;
      }
      case 'preparation':
        copies.prepareAhead(message.value);
        return;
      case 'peers':
        owner.peers(message.value.addresses);
        return;
      case 'unclaimed':
        owner.unclaimed(message.value);
        return;
      case 'taskRequest':
        this.#link?.request(message.value);
    }
  }

  #welcomed(welcome: Welcome): void {
    if (this.#state === 'Connected') return;
    const refused = refuseWelcome(welcome);
    if (refused !== undefined) {
      this.#abandon(refused);
      return;
    }
    this.#handshake?.cancel();
    this.#state = 'Connected';
    this.#detach = this.#options.copies.attach(this);
    this.#takeInventory();
    if (welcome.capabilities.includes(tasksCapability)) this.#openTasks();
    this.#options.owner.welcomed(welcome);
  }

  #openTasks(): void {
    const say = (message: NonNullable<AgentMessage['message']>) => {
      if (this.#state === 'Ended') return;
      this.#aboutTasks.push(message);
      this.#flushSoon();
    };
    this.#link = this.#options.tasks?.connect({
      reply: (value) => say({ $case: 'taskReply', value }),
      event: (value) => say({ $case: 'taskEvent', value }),
      dial: (hello, events) => this.#stream.transfer(hello, events),
    });
  }

  /** What changes from here on is told after it. Parts of an inventory that was under way are sent to their end first. */
  #takeInventory(): void {
    if (this.#state !== 'Connected') return;
    const inventory = this.#options.copies.inventory();
    this.#tick = inventory.tick;
    this.#parts = [...this.#parts, ...inventoryParts(++this.#seq, inventory)];
    this.#flushSoon();
  }

  /** Once for all that changes in this turn. */
  #flushSoon(): void {
    if (this.#isFlushing || this.#state !== 'Connected') return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#state === 'Connected' && this.#hasRoom) {
      const next = this.#next();
      if (next === undefined) return;
      this.#send({ message: next });
    }
  }

  /** The inventory before changes, and whatever was seen in the order of its numbers. */
  #next(): AgentMessage['message'] {
    if (this.#renewed !== undefined) {
      const token = this.#renewed;
      this.#renewed = undefined;
      return { $case: 'tokenRenewal', value: { token } };
    }
    const [part, ...parts] = this.#parts;
    if (part !== undefined) {
      this.#parts = parts;
      return { $case: 'inventory', value: part };
    }
    const aboutTask = this.#aboutTasks.shift();
    if (aboutTask !== undefined) return aboutTask;
    for (const [key, refusal] of this.#refusals) {
      this.#refusals.delete(key);
      return { $case: 'refusal', value: refusal };
    }
    return this.#nextReport();
  }

  #nextReport(): AgentMessage['message'] {
    if (this.#copies.size === 0 && this.#runner === undefined) return undefined;
    const copies = [...this.#copies.values()].slice(0, copiesPerMessage);
    for (const report of copies) this.#copies.delete(keyOf(report));
    const runner = this.#runner;
    this.#runner = undefined;
    const tick = this.#copies.size === 0 ? this.#tick : 0;
    return { $case: 'report', value: { seq: ++this.#seq, copies, runner, tick } };
  }

  #send(message: AgentMessage): void {
    this.#hasRoom = this.#stream.send(message);
  }

  #abandon(message: string): void {
    this.#finish({ kind: 'Refused', message });
  }

  #finish(end: StreamEnd): void {
    if (this.#state === 'Ended') return;
    this.#end();
    this.#stream.close();
    this.#options.owner.ended(end);
  }

  #end(): void {
    this.#state = 'Ended';
    this.#handshake?.cancel();
    this.#handshake = undefined;
    this.#detach?.();
    this.#link?.close();
    this.#link = undefined;
    this.#aboutTasks = [];
  }
}

function keyOf({ uid, epoch }: { readonly uid: string; readonly epoch: number }): string {
  return `${uid}/${epoch}`;
}
