import { emptyBook, slotStep, type SlotBook, type SlotChange, type SlotNews, type Ticket } from './slots.ts';

/** A ticket that waits for a minute, `caller` by the letter in front of its number: a1 is the first of a. */
export function aTicket(id: string, of: Partial<Ticket> = {}): Ticket {
  const since = Number(id.slice(1));
  return {
    ...{ id, caller: id.slice(0, 1), link: 'pod-1', since, until: 60_000, isSole: false, reservationID: `r-${id}`, ttlMs: 30_000 },
    ...of,
  };
}

export const ticket = (id: string, of: Partial<Ticket> = {}): SlotChange => ({ kind: 'Ticket', ticket: aTicket(id, of) });
export const take = (ticketID: string): SlotChange => ({ kind: 'Take', ticketID });
export const occupy = (taskID: string, reservationID?: string): SlotChange => ({ kind: 'Occupy', taskID, reservationID });
export const free = (taskID: string): SlotChange => ({ kind: 'Free', taskID });
export const resize = (slots: number): SlotChange => ({ kind: 'Resize', slots });
export const look: SlotChange = { kind: 'Look' };

/** A book with so many slots after these changes, each a millisecond after the one before, and all that was told on the way, in short. */
export function bookAfter(slots: number, changes: readonly (SlotChange | number)[]) {
  const told: string[] = [];
  let book: SlotBook = { ...emptyBook, slots };
  let now = 0;
  for (const change of changes) {
    if (typeof change === 'number') now += change;
    const step = slotStep(book, typeof change === 'number' ? look : change, ++now);
    book = step.book;
    told.push(...step.news.map(inShort), ...(step.refused === undefined ? [] : [step.refused]));
  }
  return { book, told, now };
}

export function inShort(news: SlotNews): string {
  switch (news.kind) {
    case 'Offered':
      return `offer ${news.offer.ticket.id}`;
    case 'Reserved':
      return `reserved ${news.reservation.ticketID}`;
    case 'TicketExpired':
      return `expired ${news.ticket.id}`;
    case 'ReservationEnded':
      return `ended ${news.reservation.id}`;
  }
}
