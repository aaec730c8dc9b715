import type { TaskRejectionCode } from './codes.ts';

/** Who holds a slot, and who waits for one. Times are milliseconds of a clock that never jumps. Rules: docs/adr/0010-tasks.md. */
export interface SlotBook {
  readonly slots: number;
  readonly tickets: readonly Ticket[];
  readonly offers: readonly Offer[];
  readonly reservations: readonly Reservation[];
  /** Tasks that hold a slot. */
  readonly tasks: readonly string[];
  /** Callers in the sequence in which they were given a slot last, the newest at the end. */
  readonly served: readonly string[];
}

/** Somebody waits for a slot. */
export interface Ticket {
  readonly id: string;
  readonly caller: string;
  /** The stream that it came on. */
  readonly link: string;
  /** When the caller began to wait, at whichever pod. */
  readonly since: number;
  /** When it stops waiting. */
  readonly until: number;
  /** A slot that is free when it comes becomes a reservation at once. One that it waits for is offered, as to any other. */
  readonly isSole: boolean;
  /** The id and the length of the reservation that comes of it. */
  readonly reservationID: string;
  readonly ttlMs: number;
}

/** A slot that waits for a pod to take it. */
export interface Offer {
  readonly ticket: Ticket;
  readonly until: number;
}

export interface Reservation {
  readonly id: string;
  readonly caller: string;
  readonly until: number;
  /** The ticket that it came of: a pod whose answer was lost asks again. */
  readonly ticketID: string;
}

export type SlotChange =
  | { readonly kind: 'Resize'; readonly slots: number }
  | { readonly kind: 'Ticket'; readonly ticket: Ticket }
  | { readonly kind: 'Take'; readonly ticketID: string }
  | { readonly kind: 'Withdraw'; readonly ticketID: string }
  | { readonly kind: 'LinkEnded'; readonly link: string }
  | { readonly kind: 'Extend'; readonly reservationID: string; readonly until: number }
  | { readonly kind: 'Release'; readonly reservationID: string }
  /** A task begins, under a reservation or in a slot that is free and that nobody waits for. */
  | { readonly kind: 'Occupy'; readonly taskID: string; readonly reservationID: string | undefined }
  /** What an agent before this one had given: held, whether it fits or not. */
  | { readonly kind: 'Restore'; readonly tasks: readonly string[]; readonly reservations: readonly Reservation[] }
  | { readonly kind: 'Free'; readonly taskID: string }
  /** Time has passed. */
  | { readonly kind: 'Look' };

/** What has to be told of. */
export type SlotNews =
  | { readonly kind: 'Offered'; readonly offer: Offer }
  | { readonly kind: 'Reserved'; readonly reservation: Reservation }
  /** It waited as long as it would. */
  | { readonly kind: 'TicketExpired'; readonly ticket: Ticket }
  | { readonly kind: 'ReservationEnded'; readonly reservation: Reservation };

export interface SlotStep {
  readonly book: SlotBook;
  readonly news: readonly SlotNews[];
  /** The change was refused, and nothing of it was done. */
  readonly refused: TaskRejectionCode | undefined;
}

export const mostTickets = 1_000;
const mostServed = 1_000;
const offerMs = 2_000;

export const emptyBook: SlotBook = { slots: 0, tickets: [], offers: [], reservations: [], tasks: [], served: [] };

/**
 * One change, after everything that is over at `now` is: and every slot that is free then goes to who waits. So a slot is never free while a
 * ticket waits.
 */
export function slotStep(before: SlotBook, change: SlotChange, now: number): SlotStep {
  const expired = expire(before, now);
  const changed = apply(expired.book, change, now);
  const given = give(changed.book, now);
  return { book: given.book, news: [...expired.news, ...changed.news, ...given.news], refused: changed.refused };
}

/** When something is over by itself next. */
export function nextLook({ tickets, offers, reservations }: SlotBook): number | undefined {
  const times = [...tickets, ...offers, ...reservations].map(({ until }) => until);
  return times.length === 0 ? undefined : times.reduce((a, b) => Math.min(a, b));
}

export function freeSlots({ slots, offers, reservations, tasks }: SlotBook): number {
  return Math.max(0, slots - offers.length - reservations.length - tasks.length);
}

/** What is told of it: TaskCapacity without its number. */
export function countsOf({ slots, tickets, offers, reservations, tasks }: SlotBook) {
  return { slots, used: tasks.length, reserved: offers.length + reservations.length, queued: tickets.length };
}

type Change = Omit<SlotStep, 'refused'> & { readonly refused?: TaskRejectionCode };

function expire(book: SlotBook, now: number): Change {
  const isOver = ({ until }: { readonly until: number }) => until <= now;
  if (![...book.tickets, ...book.offers, ...book.reservations].some(isOver)) return { book, news: [] };
  const news: readonly SlotNews[] = [
    ...book.tickets.filter(isOver).map((ticket) => ({ kind: 'TicketExpired' as const, ticket })),
    ...book.reservations.filter(isOver).map((reservation) => ({ kind: 'ReservationEnded' as const, reservation })),
  ];
  const isThere = (one: { readonly until: number }) => !isOver(one);
  const { tickets, offers, reservations } = book;
  return {
    book: { ...book, tickets: tickets.filter(isThere), offers: offers.filter(isThere), reservations: reservations.filter(isThere) },
    news,
  };
}

function apply(book: SlotBook, change: SlotChange, now: number): Change {
  switch (change.kind) {
    case 'Look':
      return quiet(book);
    case 'Resize':
      return quiet({ ...book, slots: change.slots });
    case 'Restore':
      return quiet({
        ...book,
        tasks: [...book.tasks, ...change.tasks],
        reservations: [...book.reservations, ...change.reservations.filter(({ until }) => until > now)],
      });
    case 'Ticket':
      return enqueue(book, change.ticket, now);
    case 'Take':
      return take(book, change.ticketID, now);
    case 'Withdraw':
      return withdraw(book, change.ticketID);
    case 'LinkEnded':
      return quiet({
        ...book,
        tickets: book.tickets.filter(({ link }) => link !== change.link),
        offers: book.offers.filter(({ ticket }) => ticket.link !== change.link),
      });
    case 'Extend':
      return extend(book, change);
    case 'Release':
      return release(book, change.reservationID);
    case 'Occupy':
      return occupy(book, change);
    case 'Free':
      return quiet({ ...book, tasks: book.tasks.filter((id) => id !== change.taskID) });
  }
}

function quiet(book: SlotBook): Change {
  return { book, news: [] };
}

function refuse(book: SlotBook, refused: TaskRejectionCode): Change {
  return { book, news: [], refused };
}

/** Said again, a ticket stays what and where it is. */
function enqueue(book: SlotBook, ticket: Ticket, now: number): Change {
  if (isKnown(book, ticket.id)) return quiet(book);
  const canHave = freeSlots(book) > 0;
  if (!canHave && ticket.until <= now) return refuse(book, 'NoSlot');
  if (!canHave && book.tickets.length >= mostTickets) return refuse(book, 'QueueFull');
  if (canHave && ticket.isSole) return reserve(book, ticket, now);
  return quiet({ ...book, tickets: [...book.tickets, ticket] });
}

function reserve(book: SlotBook, ticket: Ticket, now: number): Change {
  const reservation = reservationOf(ticket, now);
  const reservations = [...book.reservations, reservation];
  return { book: { ...book, reservations, served: serve(book, ticket) }, news: [{ kind: 'Reserved', reservation }] };
}

function serve({ served }: SlotBook, { caller }: Ticket): readonly string[] {
  return [...served.filter((one) => one !== caller), caller].slice(-mostServed);
}

function isKnown({ tickets, offers, reservations }: SlotBook, ticketID: string): boolean {
  return (
    tickets.some(({ id }) => id === ticketID) ||
    offers.some(({ ticket }) => ticket.id === ticketID) ||
    reservations.some((one) => one.ticketID === ticketID)
  );
}

function take(book: SlotBook, ticketID: string, now: number): Change {
  const known = book.reservations.find((one) => one.ticketID === ticketID);
  const offer = book.offers.find(({ ticket }) => ticket.id === ticketID);
  if (known !== undefined) return quiet(book);
  if (offer === undefined) return refuse(book, 'OfferExpired');
  const reservation = reservationOf(offer.ticket, now);
  return {
    book: { ...book, offers: book.offers.filter((one) => one !== offer), reservations: [...book.reservations, reservation] },
    news: [{ kind: 'Reserved', reservation }],
  };
}

/** Also of what was given for it already: the pod has another one. */
function withdraw(book: SlotBook, ticketID: string): Change {
  const ended = book.reservations.filter((one) => one.ticketID === ticketID);
  return {
    book: {
      ...book,
      tickets: book.tickets.filter(({ id }) => id !== ticketID),
      offers: book.offers.filter(({ ticket }) => ticket.id !== ticketID),
      reservations: book.reservations.filter((one) => one.ticketID !== ticketID),
    },
    news: ended.map((reservation) => ({ kind: 'ReservationEnded', reservation })),
  };
}

function extend(book: SlotBook, { reservationID, until }: Extract<SlotChange, { kind: 'Extend' }>): Change {
  if (!book.reservations.some(({ id }) => id === reservationID)) return refuse(book, 'ReservationGone');
  const longer = (one: Reservation) => (one.id === reservationID ? { ...one, until: Math.max(one.until, until) } : one);
  return quiet({ ...book, reservations: book.reservations.map(longer) });
}

function release(book: SlotBook, reservationID: string): Change {
  const reservation = book.reservations.find(({ id }) => id === reservationID);
  if (reservation === undefined) return refuse(book, 'ReservationGone');
  return {
    book: { ...book, reservations: book.reservations.filter((one) => one !== reservation) },
    news: [{ kind: 'ReservationEnded', reservation }],
  };
}

function occupy(book: SlotBook, { taskID, reservationID }: Extract<SlotChange, { kind: 'Occupy' }>): Change {
  if (book.tasks.includes(taskID)) return quiet(book);
  const tasks = [...book.tasks, taskID];
  if (reservationID === undefined) {
    return freeSlots(book) > 0 && book.tickets.length === 0 ? quiet({ ...book, tasks }) : refuse(book, 'NoSlot');
  }
  const reservations = book.reservations.filter(({ id }) => id !== reservationID);
  return reservations.length === book.reservations.length ? refuse(book, 'ReservationGone') : quiet({ ...book, tasks, reservations });
}

/** Every free slot to the oldest ticket of the caller who was served longest ago. */
function give(before: SlotBook, now: number): Change {
  return Array.from({ length: Math.min(freeSlots(before), before.tickets.length) }).reduce<Change>(({ book, news }) => {
    const one = giveOne(book, now);
    return { book: one.book, news: [...news, ...one.news] };
  }, quiet(before));
}

function giveOne(book: SlotBook, now: number): Change {
  const ticket = nextTicket(book);
  if (ticket === undefined) return quiet(book);
  const tickets = book.tickets.filter((one) => one !== ticket);
  const offer = { ticket, until: now + offerMs };
  const offers = [...book.offers, offer];
  return { book: { ...book, tickets, offers, served: serve(book, ticket) }, news: [{ kind: 'Offered', offer }] };
}

/** The ticket that a free slot would go to. */
export function nextTicket({ tickets, served }: SlotBook): Ticket | undefined {
  const turn = ({ caller }: Ticket) => served.indexOf(caller);
  return tickets.reduce<Ticket | undefined>((best, one) => {
    if (best === undefined) return one;
    const byTurn = turn(one) - turn(best);
    return byTurn < 0 || (byTurn === 0 && one.since < best.since) ? one : best;
  }, undefined);
}

function reservationOf({ id, caller, reservationID, ttlMs }: Ticket, now: number): Reservation {
  return { id: reservationID, caller, until: now + ttlMs, ticketID: id };
}
