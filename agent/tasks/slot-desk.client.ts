import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../../process/clock.ts';
import type { Reservation as ReservationMessage, TaskCapacity, TaskReply, Ticket } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskPeer } from './peer.ts';
import type { TaskFacts, TaskJournalState, TaskRecord } from './record.ts';
import { rejected } from './replies.ts';
import {
  countsOf,
  emptyBook,
  nextLook,
  slotStep,
  type Reservation,
  type SlotBook,
  type SlotChange,
  type SlotNews,
  type SlotStep,
} from './slots.ts';

export interface SlotDeskOptions {
  readonly clock: Clock;
  readonly identity: { readonly runnerName: string; readonly storeID: string };
  /** Told of every change of what there is of slots, before anybody is told of what it comes from. */
  readonly onCapacity: (capacity: TaskCapacity) => void;
  /** Writes down what nobody waits for: what a crash forgets of it is safe to forget. */
  readonly record: (record: TaskRecord) => void;
  /** The stream of this name, while it lasts. */
  readonly peerOf: (link: string) => TaskPeer | undefined;
  /** The task that has become of a reservation. */
  readonly taskUnder: (reservationID: string) => TaskFacts | undefined;
}

const longestTtlMs = 600_000;
const longestWaitMs = 600_000;

/** The slots of a runner: gives them, takes them back, and tells everybody how many there are. */
export class SlotDesk {
  readonly #options: SlotDeskOptions;
  #book: SlotBook = emptyBook;
  #capacity: TaskCapacity = { slots: 0, used: 0, reserved: 0, queued: 0, seq: 0 };
  #look: Timer | undefined;
  #hasEnded = false;

  constructor(options: SlotDeskOptions) {
    this.#options = options;
  }

  get capacity(): TaskCapacity {
    return this.#capacity;
  }

  get slots(): number {
    return this.#book.slots;
  }

  /** What an agent before this one had given. */
  restore(open: readonly string[], reservations: TaskJournalState['reservations']): void {
    const { clock } = this.#options;
    const now = clock.monotonic();
    const held = [...reservations.values()].map(({ id, caller, ticketID, untilMs }) => ({
      ...{ id, caller, ticketID },
      until: now + untilMs - clock.now(),
    }));
    this.change({ kind: 'Restore', tasks: open, reservations: held });
  }

  stop(): void {
    this.#hasEnded = true;
    this.#look?.cancel();
  }

  ticket(link: string, { ticketId, caller, ageMs, waitMs, sole, ttlMs }: Ticket): TaskReply['reply'] {
    if (ticketId === '' || caller === '') return rejected('InvalidTask');
    const { clock, identity } = this.#options;
    const now = clock.monotonic();
    const { refused } = this.change({
      kind: 'Ticket',
      ticket: {
        ...{ id: ticketId, caller, link, isSole: sole },
        since: now - Math.max(0, ageMs),
        until: now + between(0, waitMs, longestWaitMs),
        reservationID: `${randomUUID()}.${identity.storeID}.${identity.runnerName}`,
        ttlMs: between(1_000, ttlMs, longestTtlMs),
      },
    });
    if (refused !== undefined) return rejected(refused);
    const given = this.#book.reservations.find((one) => one.ticketID === ticketId);
    if (given !== undefined) return { $case: 'reservation', value: this.#message(given) };
    return { $case: 'queued', value: { queued: this.#book.tickets.length } };
  }

  take(ticketID: string): TaskReply['reply'] {
    const { refused } = this.change({ kind: 'Take', ticketID });
    const given = this.#book.reservations.find((one) => one.ticketID === ticketID);
    if (refused !== undefined || given === undefined) return rejected(refused ?? 'OfferExpired');
    return { $case: 'reservation', value: this.#message(given) };
  }

  extend(reservationID: string, ttlMs: number): TaskReply['reply'] {
    const { clock, record } = this.#options;
    const until = clock.monotonic() + between(0, ttlMs, longestTtlMs);
    const { refused } = this.change({ kind: 'Extend', reservationID, until });
    const extended = this.#book.reservations.find(({ id }) => id === reservationID);
    if (extended !== undefined) record(reservedRecord(extended, clock));
    return refused === undefined ? this.reservation(reservationID) : (this.#used(reservationID) ?? rejected(refused));
  }

  release(reservationID: string): TaskReply['reply'] {
    const before = this.reservation(reservationID);
    this.change({ kind: 'Release', reservationID });
    return before;
  }

  reservation(reservationID: string): TaskReply['reply'] {
    this.change({ kind: 'Look' });
    const held = this.#book.reservations.find(({ id }) => id === reservationID);
    if (held !== undefined) return { $case: 'reservation', value: this.#message(held) };
    return this.#used(reservationID) ?? rejected('ReservationGone');
  }

  /** One change of the book, recorded and told. */
  change(change: SlotChange): SlotStep {
    const { clock } = this.#options;
    const step = slotStep(this.#book, change, clock.monotonic());
    this.#book = step.book;
    this.#tellCapacity();
    for (const news of step.news) this.#deliver(news);
    this.#look?.cancel();
    const next = nextLook(this.#book);
    this.#look =
      next === undefined || this.#hasEnded ? undefined : clock.after(next - clock.monotonic(), () => this.change({ kind: 'Look' }));
    return step;
  }

  /** One that has become a task's. */
  #used(reservationId: string): TaskReply['reply'] {
    const task = this.#options.taskUnder(reservationId);
    if (task === undefined) return undefined;
    return { $case: 'reservation', value: { reservationId, caller: task.caller, expiresInMs: 0, taskId: task.id } };
  }

  #message({ id, caller, until }: Reservation): ReservationMessage {
    const expiresInMs = Math.max(1, Math.round(until - this.#options.clock.monotonic()));
    return { reservationId: id, caller, expiresInMs, taskId: '' };
  }

  #tellCapacity(): void {
    const counts = countsOf(this.#book);
    const { seq, ...before } = this.#capacity;
    const isSame = (Object.keys(counts) as (keyof typeof counts)[]).every((key) => counts[key] === before[key]);
    if (isSame) return;
    this.#capacity = { ...counts, seq: seq + 1 };
    this.#options.onCapacity(this.#capacity);
  }

  #deliver(news: SlotNews): void {
    const { clock, record, peerOf } = this.#options;
    switch (news.kind) {
      case 'Offered': {
        const { ticket, until } = news.offer;
        const offer = { ticketId: ticket.id, validMs: Math.round(until - clock.monotonic()) };
        peerOf(ticket.link)?.event({ event: { $case: 'offer', value: offer } });
        return;
      }
      case 'Reserved':
        record(reservedRecord(news.reservation, clock));
        return;
      case 'TicketExpired':
        peerOf(news.ticket.link)?.event({ event: { $case: 'ticketExpired', value: { ticketId: news.ticket.id } } });
        return;
      case 'ReservationEnded':
        record({ kind: 'Unreserved', id: news.reservation.id });
    }
  }
}

function reservedRecord({ id, caller, ticketID, until }: Reservation, clock: Clock): TaskRecord {
  const untilMs = Math.round(clock.now() + until - clock.monotonic());
  return { kind: 'Reserved', reservation: { id, caller, ticketID, untilMs } };
}

function between(least: number, value: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
