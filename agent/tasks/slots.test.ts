import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { aTicket, bookAfter, free, look, occupy, resize, take, ticket } from './a-book.ts';
import { countsOf, emptyBook, freeSlots, mostTickets, nextLook, slotStep, type SlotChange } from './slots.ts';

const sole = { isSole: true };

describe('slots', () => {
  it.each([
    { when: 'a slot is free: a ticket is offered it at once', slots: 1, changes: [ticket('a1')], told: ['offer a1'] },
    { when: 'a slot is free: a sole ticket has it at once', slots: 1, changes: [ticket('a1', sole)], told: ['reserved a1'] },
    { when: 'none is free: a ticket that would not wait is refused', slots: 0, changes: [ticket('a1', { until: 0 })], told: ['NoSlot'] },
    {
      when: 'one is free: a ticket that would not wait has it',
      slots: 1,
      changes: [ticket('a1', { until: 0, isSole: true })],
      told: ['reserved a1'],
    },
    { when: 'a ticket comes twice: it is one', slots: 1, changes: [ticket('a1'), ticket('a1')], told: ['offer a1'] },
    {
      when: 'the answer to a take is lost: it may be taken again',
      slots: 1,
      changes: [ticket('a1'), take('a1'), take('a1')],
      told: ['offer a1', 'reserved a1'],
    },
    { when: 'nothing was offered', slots: 0, changes: [ticket('a1'), take('a1')], told: ['OfferExpired'] },
    {
      when: 'an offer is not taken: the next has it, and it can not be taken any more',
      slots: 1,
      changes: [ticket('a1'), ticket('a2'), 2_000, take('a1')],
      told: ['offer a1', 'offer a2', 'OfferExpired'],
    },
    {
      when: 'an offer is withdrawn: the next has it',
      slots: 1,
      changes: [ticket('a1'), ticket('a2'), { kind: 'Withdraw', ticketID: 'a1' } as const],
      told: ['offer a1', 'offer a2'],
    },
    {
      when: 'a ticket is withdrawn whose reservation the pod has not heard of: it is freed',
      slots: 1,
      changes: [ticket('a1', sole), ticket('a2'), { kind: 'Withdraw', ticketID: 'a1' } as const],
      told: ['reserved a1', 'ended r-a1', 'offer a2'],
    },
    {
      when: 'the stream ends: its tickets and offers go, not its reservations',
      slots: 2,
      changes: [
        ticket('a1', sole),
        ticket('a2'),
        ticket('a3'),
        ticket('b4', { link: 'pod-2' }),
        { kind: 'LinkEnded', link: 'pod-1' } as const,
      ],
      told: ['reserved a1', 'offer a2', 'offer b4'],
    },
    {
      when: 'callers wait: each has its turn, the oldest ticket first',
      slots: 1,
      changes: [
        ...['a2', 'a1', 'a3', 'b4', 'b5', 'c6'].map((id) => ticket(id)),
        ...['a2', 'b4', 'c6', 'a1', 'b5'].flatMap((id) => [take(id), occupy(id, `r-${id}`), free(id)]),
      ],
      told: [...['a2', 'b4', 'c6', 'a1', 'b5'].flatMap((id) => [`offer ${id}`, `reserved ${id}`]), 'offer a3'],
    },
    {
      when: 'one caller asks again as soon as it was served: others have their turn all the same',
      slots: 1,
      changes: [
        ...[ticket('a1', sole), ticket('b2', sole), ticket('b3')],
        ...[occupy('a1', 'r-a1'), ticket('a4'), free('a1')],
        ...[take('b2'), occupy('b2', 'r-b2'), free('b2'), take('a4'), occupy('a4', 'r-a4'), ticket('a5'), free('a4')],
      ],
      told: ['reserved a1', 'offer b2', 'reserved b2', 'offer a4', 'reserved a4', 'offer b3'],
    },
    {
      when: 'a task would go before those who wait',
      slots: 1,
      changes: [ticket('a1', sole), ticket('b2'), occupy('t')],
      told: ['reserved a1', 'NoSlot'],
    },
    {
      when: 'a reservation is used twice: only one task has it',
      slots: 1,
      changes: [ticket('a1', sole), occupy('t', 'r-a1'), occupy('u', 'r-a1')],
      told: ['reserved a1', 'ReservationGone'],
    },
    {
      when: 'a task begins twice: it has one slot',
      slots: 2,
      changes: [occupy('t'), occupy('t'), occupy('u'), occupy('v')],
      told: ['NoSlot'],
    },
    {
      when: 'a reservation is over',
      slots: 1,
      changes: [ticket('a1', sole), ticket('b2'), 30_000, occupy('t', 'r-a1')],
      told: ['reserved a1', 'ended r-a1', 'offer b2', 'ReservationGone'],
    },
    {
      when: 'a reservation was extended: it is not over',
      slots: 1,
      changes: [ticket('a1', sole), { kind: 'Extend', reservationID: 'r-a1', until: 50_000 } as const, 30_000, occupy('t', 'r-a1')],
      told: ['reserved a1'],
    },
    {
      when: 'a reservation is released: the next has it',
      slots: 1,
      changes: [ticket('a1', sole), ticket('b2', sole), { kind: 'Release', reservationID: 'r-a1' } as const],
      told: ['reserved a1', 'ended r-a1', 'offer b2'],
    },
    { when: 'a ticket has waited as long as it would', slots: 0, changes: [ticket('a1', { until: 10 }), 20], told: ['expired a1'] },
    { when: 'there are more slots: who waits has them', slots: 0, changes: [ticket('a1'), ticket('a2'), resize(1)], told: ['offer a1'] },
    {
      when: 'there are fewer slots than are held: nothing is given until enough are free',
      slots: 2,
      changes: [occupy('t'), occupy('u'), ticket('a1'), resize(1), free('t'), free('u')],
      told: ['offer a1'],
    },
    {
      when: 'an agent before this one had given more than there is now',
      slots: 1,
      changes: [
        {
          kind: 'Restore',
          tasks: ['t', 'u'],
          reservations: [
            { id: 'r', caller: 'a', until: 90_000, ticketID: 'x' },
            { id: 'over', caller: 'a', until: 1, ticketID: 'y' },
          ],
        } as const,
        ticket('a1'),
        free('t'),
        free('u'),
        occupy('v', 'over'),
        { kind: 'Release', reservationID: 'r' } as const,
      ],
      told: ['ReservationGone', 'ended r', 'offer a1'],
    },
  ])('when $when', ({ slots, changes, told }) => expect(bookAfter(slots, changes).told).toEqual(told));

  it('has a bound for those who wait', () => {
    const full = { ...emptyBook, tickets: Array.from({ length: mostTickets }, (_, n) => aTicket(`a${n}`)) };
    expect(slotStep(full, ticket('b1'), 1).refused).toBe('QueueFull');
    expect(slotStep({ ...full, slots: mostTickets + 1 }, ticket('b1'), 1).refused).toBeUndefined();
  });

  it('says when to look again', () => {
    expect(nextLook(emptyBook)).toBeUndefined();
    expect(nextLook(bookAfter(1, [ticket('a1'), ticket('a2', { until: 7_000 })]).book)).toBe(2_001);
  });
});

const ids = fc.constantFrom(...['a1', 'a2', 'a3', 'b4', 'b5', 'c6']);
const anyChange = fc.oneof<fc.Arbitrary<SlotChange | number>[]>(
  fc
    .record({ id: ids, isSole: fc.boolean(), until: fc.constantFrom(0, 500, 60_000), link: fc.constantFrom('pod-1', 'pod-2') })
    .map(({ id, ...of }) => ticket(id, of)),
  ids.map(take),
  ids.map((ticketID) => ({ kind: 'Withdraw', ticketID })),
  fc.constantFrom('pod-1', 'pod-2').map((link) => ({ kind: 'LinkEnded', link })),
  ids.map((id) => ({ kind: 'Release', reservationID: `r-${id}` })),
  ids.map((id) => ({ kind: 'Extend', reservationID: `r-${id}`, until: 40_000 })),
  ids.map((id) => occupy(`t-${id}`, `r-${id}`)),
  fc.nat(9).map((n) => free(`t-${n}`)),
  ids.map((id) => free(`t-${id}`)),
  fc.nat(4).map(resize),
  fc.constantFrom(1, 600, 2_500, 35_000),
);

describe('slots, whatever happens in whatever sequence', () => {
  it('no slot is given twice, none is free beside a queue, and none is lost', () => {
    fc.assert(
      fc.property(fc.nat(4), fc.array(anyChange, { maxLength: 60 }), (slots, changes) => {
        const { book, now } = bookAfter(slots, changes);
        const { slots: all, used, reserved, queued } = countsOf(book);
        expect(freeSlots(book) === 0 || queued === 0).toBe(true);
        const holders = [
          ...book.tasks,
          ...book.offers.map(({ ticket: { id } }) => id),
          ...book.reservations.map(({ ticketID }) => ticketID),
        ];
        expect(new Set(holders).size).toBe(used + reserved);
        // Once everything is over and every task has ended, every slot is free.
        const ended = [...new Set(book.tasks)].reduce((left, id) => slotStep(left, free(id), now).book, book);
        const later = slotStep(slotStep(ended, look, now + 200_000).book, look, now + 400_000).book;
        expect(freeSlots(later)).toBe(all);
      }),
    );
  });

  it('no more than there are slots is held, unless there are fewer than before', () => {
    const steady = anyChange.filter((change) => typeof change === 'number' || change.kind !== 'Resize');
    fc.assert(
      fc.property(fc.nat(4), fc.array(steady, { maxLength: 60 }), (slots, changes) => {
        const { used, reserved } = countsOf(bookAfter(slots, changes).book);
        expect(used + reserved).toBeLessThanOrEqual(slots);
      }),
    );
  });

  it('callers who all wait are served equally often, give or take one', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 8, maxLength: 40 }),
        fc.integer({ min: 1, max: 3 }),
        (callers, slots) => {
          const tickets = callers.map((caller, n) => ticket(`${caller}${n}`));
          const served: string[] = [];
          let { book } = bookAfter(0, tickets);
          book = slotStep(book, resize(slots), 100).book;
          for (let offer = book.offers.at(0); offer !== undefined; offer = book.offers.at(0)) {
            const { id, caller } = offer.ticket;
            book = slotStep(book, take(id), 100).book;
            served.push(caller);
            const waiting = new Set(book.tickets.map((one) => one.caller));
            const counts = [...waiting].map((one) => served.filter((other) => other === one).length);
            expect(Math.max(0, ...counts) - Math.min(Infinity, ...counts)).toBeLessThanOrEqual(counts.length === 0 ? 0 : 1);
            book = slotStep(slotStep(book, occupy('t', `r-${id}`), 100).book, free('t'), 100).book;
          }
          expect(served).toHaveLength(callers.length);
        },
      ),
    );
  });
});
