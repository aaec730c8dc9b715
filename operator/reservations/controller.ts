import { v4 as uuid } from 'uuid';
import type { Offer, Reservation, TaskEvent, Ticket } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import { noMetrics, type Counter, type Gauge, type Histogram, type Metrics } from '../../process/metrics.ts';
import { ApiError } from '../http/errors.ts';
import type { TaskSlots } from '../hub/facts.ts';
import type { AgentEvents, Agents } from '../tasks/agents.client.ts';
import { rankFree, rankQueues, tieBreaker, type SlotView } from '../tasks/choose-agents.ts';
import { countAssumed, stillAssumed, type Assumption } from './assumed.ts';

/** A runner that may be asked for a slot, as its agent told last. */
export interface OpenRunner {
  readonly runnerName: string;
  readonly slots: TaskSlots;
}

export interface ReservationsOptions {
  readonly agents: Pick<Agents, 'ask' | 'subscribe'>;
  /** The runners whose agents are connected to this pod, know of tasks, and may be given work. */
  readonly openRunners: () => readonly OpenRunner[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** Callers that may wait in this pod at once. Default 1,000. */
  readonly mostWaiting?: number;
}

export interface ReserveRequest {
  /** Whom slots are shared between: opaque. */
  readonly caller: string;
  /** How long the reservation is to last. */
  readonly ttlMs: number;
  /** How long to wait for a slot; 0: not at all. */
  readonly waitMs: number;
  /** No other runner will do. */
  readonly only?: string | undefined;
  /** Aborted when nobody wants it any more. */
  readonly signal: AbortSignal;
}

/** A slot that is held. */
export interface Reserved {
  readonly reservationID: string;
  readonly runnerName: string;
  readonly expiresInMs: number;
}

/** Callers that may wait in one pod at once, unless the options say otherwise. */
export const mostWaiting = 1_000;
const ticketsPerWaiter = 3;
/** How often a slot that seems free is asked for before a request queues. */
const fastTries = 3;
/** An assumption is given up when the runner told nothing new for so long. */
const assumedMs = 2_000;
/** A waiter that has no ticket anywhere tries again so much later. */
const retryMs = 250;
/** So often those that wait are brought to runners that have room and do not say so: to one that is not cordoned any more, for instance. */
const lookMs = 500;

/**
 * Slots of the whole fleet. Whether there is one an agent decides; this chooses whom to ask, and keeps the callers that wait. A caller has tickets at up to
 * three agents; the first that offers a slot has it, and the other tickets are withdrawn.
 */
export class Reservations implements AgentEvents {
  readonly #options: ReservationsOptions;
  readonly #waiters = new Set<Waiter>();
  readonly #byTicket = new Map<string, Waiter>();
  readonly #waiting: Gauge;
  readonly #waited: Histogram;
  readonly #outcomes: Counter;
  #assumptions: readonly Assumption[] = [];
  #look: Timer | undefined;

  constructor(options: ReservationsOptions) {
    this.#options = options;
    const metrics = options.metrics ?? noMetrics;
    this.#waiting = metrics.gauge({ name: 'berth_reservations_waiting', help: 'Requests that wait for a slot in this operator pod.' });
    this.#waited = metrics.histogram({
      name: 'berth_reservation_wait_seconds',
      help: 'How long requests waited for the slot that they got.',
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60],
    });
    this.#outcomes = metrics.counter({
      name: 'berth_reservations_total',
      help: 'Requests for a slot, by what became of them: Reserved, or the code of the answer.',
      labels: ['outcome'],
    });
    options.agents.subscribe(this);
  }

  /** Callers that wait now. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** A slot, as soon as there is one. @throws ApiError `NoRunner`, `RunnerUnreachable`, `NoSlot`, `TooManyWaiting`, or the reason of the signal. */
  async reserve(request: ReserveRequest): Promise<Reserved> {
    const { clock } = this.#options;
    const start = clock.monotonic();
    try {
      const reserved = (await this.#reserveAtOnce(request)) ?? (await this.#queue(request, start));
      this.#waited.observe((clock.monotonic() - start) / 1000);
      this.#outcomes.inc({ outcome: 'Reserved' });
      return reserved;
    } catch (error) {
      this.#outcomes.inc({ outcome: error instanceof ApiError ? error.code : 'Gone' });
      throw error;
    }
  }

  /** Where a slot seems free now, the best first: for who needs no reservation. */
  freeRunners(): readonly string[] {
    return this.#waiters.size > 0 ? [] : rankFree(this.#views(), tieBreaker(uuid())).slice(0, fastTries);
  }

  /** Counts a slot at the runner until its own numbers show it, or `gotIt(false)`. */
  assume(runnerName: string): (gotIt: boolean) => void {
    const assumption: Assumption = { runnerName, givenAt: undefined, until: this.#options.clock.monotonic() + assumedMs };
    this.#assumptions = [...this.#assumptions, assumption];
    return (gotIt) => {
      const seq = this.#slotsOf(runnerName)?.seq;
      this.#assumptions = this.#assumptions.flatMap((one) => {
        if (one !== assumption) return [one];
        return gotIt && seq !== undefined ? [{ ...one, givenAt: seq }] : [];
      });
    };
  }

  /** Gives a slot back that nobody wants any more. Lost: it expires by itself. */
  release({ reservationID, runnerName }: Pick<Reserved, 'reservationID' | 'runnerName'>): void {
    const released = this.#options.agents.ask(runnerName, { $case: 'release', value: { reservationId: reservationID } });
    released.catch((err: unknown) => this.#options.log.debug({ err, runner: runnerName }, 'Reservation that nobody wants left to expire'));
  }

  event(runnerName: string, event: NonNullable<TaskEvent['event']>): void {
    if (event.$case === 'offer') void this.#offered(runnerName, event.value);
    else if (event.$case === 'ticketExpired') this.#dropTicket(event.value.ticketId);
  }

  lost(runnerName: string): void {
    for (const waiter of this.#waiters) {
      for (const [ticketID, where] of waiter.tickets) if (where === runnerName) this.#dropTicket(ticketID);
      this.#queueUp(waiter);
    }
  }

  /** A runner with a free slot that nobody waits for there does not idle beside those that wait here. */
  slotsChanged(runnerName: string): void {
    if (this.#waiters.size > 0) for (const view of this.#views(runnerName)) this.#bring(view);
  }

  /** Those that wait, to a runner that has more room than there are tickets. */
  #bring({ runnerName, slots: { slots, used, reserved, queued } }: SlotView): void {
    const idle = slots - used - reserved - queued;
    const candidates = inTurn([...this.#waiters].filter((waiter) => waiter.only === undefined || waiter.only === runnerName));
    for (const waiter of candidates.filter((one) => ![...one.tickets.values()].includes(runnerName)).slice(0, Math.max(0, idle)))
      void this.#send(waiter, runnerName, false);
  }

  async #reserveAtOnce({ caller, ttlMs, only, waitMs, signal }: ReserveRequest): Promise<Reserved | undefined> {
    const views = this.#views(only);
    if (views.length === 0 && waitMs === 0) throw noRunner(only);
    if (this.#waiters.size > 0 && only === undefined) return undefined;
    const ticketId = uuid();
    for (const runnerName of rankFree(views, tieBreaker(ticketId)).slice(0, fastTries)) {
      signal.throwIfAborted();
      const settle = this.assume(runnerName);
      const ticket: Ticket = { ticketId, caller, ageMs: 0, waitMs: 0, sole: true, ttlMs };
      const reserved = await this.#ask(runnerName, ticket);
      settle(typeof reserved === 'object');
      if (typeof reserved !== 'object') continue;
      if (!signal.aborted) return reserved;
      this.release(reserved);
      signal.throwIfAborted();
    }
    return undefined;
  }

  async #queue(request: ReserveRequest, start: number): Promise<Reserved> {
    const { clock, mostWaiting: most = mostWaiting } = this.#options;
    const { caller, ttlMs, waitMs, only, signal } = request;
    signal.throwIfAborted();
    if (waitMs === 0) throw new ApiError('NoSlot', 'No slot is free.');
    if (this.#waiters.size >= most) throw new ApiError('TooManyWaiting', `${most} requests wait in this operator pod already.`);
    return new Promise((resolve, reject) => {
      const end = (error: Error) => {
        if (this.#forget(waiter)) reject(error);
      };
      const abort = () => end(signal.reason as Error);
      const timer = clock.after(waitMs, () => end(this.#views(only).length === 0 ? noRunner(only) : new ApiError('NoSlot')));
      signal.addEventListener('abort', abort, { once: true });
      const waiter: Waiter = {
        ...{ caller, ttlMs, only, since: start, until: start + waitMs, tickets: new Map(), isTaking: false, retry: undefined },
        finish: () => {
          timer.cancel();
          signal.removeEventListener('abort', abort);
        },
        resolve,
      };
      this.#waiters.add(waiter);
      this.#waiting.set(this.#waiters.size);
      this.#queueUp(waiter);
      this.#lookLater();
    });
  }

  #lookLater(): void {
    this.#look ??= this.#options.clock.after(lookMs, () => {
      this.#look = undefined;
      if (this.#waiters.size === 0) return;
      for (const view of this.#views()) this.#bring(view);
      this.#lookLater();
    });
  }

  /** Sees to it that the waiter has its tickets. */
  #queueUp(waiter: Waiter): void {
    if (!this.#waiters.has(waiter)) return;
    const views = this.#views(waiter.only);
    const held = new Set(waiter.tickets.values());
    const elsewhere = views.filter(({ runnerName }) => !held.has(runnerName));
    const tie = tieBreaker(uuid());
    const best = [...new Set([...rankFree(elsewhere, tie), ...rankQueues(elsewhere, ticketsPerWaiter, tie)])];
    for (const runnerName of best.slice(0, Math.max(0, ticketsPerWaiter - held.size)))
      void this.#send(waiter, runnerName, views.length === 1);
    if (waiter.tickets.size === 0) this.#retryLater(waiter);
  }

  #retryLater(waiter: Waiter): void {
    waiter.retry ??= this.#options.clock.after(retryMs, () => {
      waiter.retry = undefined;
      this.#queueUp(waiter);
    });
  }

  async #send(waiter: Waiter, runnerName: string, sole: boolean): Promise<void> {
    const now = this.#options.clock.monotonic();
    const { caller, ttlMs, since, until } = waiter;
    if (until <= now) return;
    const ticketId = uuid();
    waiter.tickets.set(ticketId, runnerName);
    this.#byTicket.set(ticketId, waiter);
    const settle = this.assume(runnerName);
    const ageMs = Math.round(now - since);
    const answer = await this.#ask(runnerName, { ticketId, caller, ageMs, waitMs: Math.ceil(until - now), sole, ttlMs });
    settle(typeof answer === 'object');
    if (typeof answer === 'object') {
      this.#dropTicket(ticketId);
      this.#give(waiter, answer);
    } else if (answer !== 'Queued') {
      this.#dropTicket(ticketId);
      if (this.#waiters.has(waiter) && waiter.tickets.size === 0) this.#retryLater(waiter);
    }
  }

  async #ask(runnerName: string, ticket: Ticket): Promise<Reserved | 'Queued' | 'Refused'> {
    try {
      const answer = await this.#options.agents.ask(runnerName, { $case: 'ticket', value: ticket });
      if (answer.$case === 'reservation') return reservedOf(runnerName, answer.value);
      return answer.$case === 'queued' ? 'Queued' : 'Refused';
    } catch (err) {
      this.#options.log.debug({ err, runner: runnerName }, 'Runner not asked for a slot');
      return 'Refused';
    }
  }

  async #offered(runnerName: string, { ticketId }: Offer): Promise<void> {
    const waiter = this.#byTicket.get(ticketId);
    if (waiter === undefined) {
      this.#withdraw(ticketId, runnerName);
      return;
    }
    // One that comes while another is taken lapses if that one fails.
    if (waiter.isTaking) return;
    waiter.isTaking = true;
    try {
      const answer = await this.#options.agents.ask(runnerName, { $case: 'take', value: { ticketId } });
      this.#dropTicket(ticketId);
      if (answer.$case === 'reservation') this.#give(waiter, reservedOf(runnerName, answer.value));
    } catch (err) {
      this.#options.log.debug({ err, runner: runnerName }, 'Offered slot not taken');
      this.#dropTicket(ticketId);
    }
    waiter.isTaking = false;
    this.#queueUp(waiter);
  }

  #give(waiter: Waiter, reserved: Reserved): void {
    if (this.#forget(waiter)) waiter.resolve(reserved);
    else this.release(reserved);
  }

  /** Takes a waiter out of the queue, and its tickets back. False: it was not in it any more. */
  #forget(waiter: Waiter): boolean {
    if (!this.#waiters.delete(waiter)) return false;
    this.#waiting.set(this.#waiters.size);
    waiter.finish();
    waiter.retry?.cancel();
    for (const [ticketID, runnerName] of waiter.tickets) {
      this.#byTicket.delete(ticketID);
      this.#withdraw(ticketID, runnerName);
    }
    waiter.tickets.clear();
    return true;
  }

  #dropTicket(ticketID: string): void {
    this.#byTicket.get(ticketID)?.tickets.delete(ticketID);
    this.#byTicket.delete(ticketID);
  }

  /** Lost when the runner is not reached: then its tickets are withdrawn with the stream. */
  #withdraw(ticketId: string, runnerName: string): void {
    this.#options.agents.ask(runnerName, { $case: 'withdraw', value: { ticketId } }).catch(() => undefined);
  }

  #slotsOf(runnerName: string): TaskSlots | undefined {
    return this.#options.openRunners().find((one) => one.runnerName === runnerName)?.slots;
  }

  #views(only?: string): readonly SlotView[] {
    const runners = this.#options.openRunners();
    const seqs = new Map(runners.map(({ runnerName, slots }) => [runnerName, slots.seq]));
    this.#assumptions = stillAssumed(this.#assumptions, (name) => seqs.get(name), this.#options.clock.monotonic());
    const assumed = countAssumed(this.#assumptions);
    return runners
      .filter(({ runnerName }) => only === undefined || runnerName === only)
      .map(({ runnerName, slots }) => ({ runnerName, slots, assumed: assumed.get(runnerName) ?? 0 }));
  }
}

interface Waiter {
  readonly caller: string;
  readonly ttlMs: number;
  readonly only: string | undefined;
  readonly since: number;
  readonly until: number;
  /** Ticket → runner. */
  readonly tickets: Map<string, string>;
  isTaking: boolean;
  retry: Timer | undefined;
  readonly finish: () => void;
  readonly resolve: (reserved: Reserved) => void;
}

/** The oldest of each caller, then the second of each. */
function inTurn(waiters: readonly Waiter[]): readonly Waiter[] {
  const seen = new Map<string, number>();
  const rounds = waiters.map((waiter) => {
    const round = seen.get(waiter.caller) ?? 0;
    seen.set(waiter.caller, round + 1);
    return { waiter, round };
  });
  return rounds.toSorted((one, other) => one.round - other.round || one.waiter.since - other.waiter.since).map(({ waiter }) => waiter);
}

function reservedOf(runnerName: string, { reservationId: reservationID, expiresInMs }: Reservation): Reserved {
  return { reservationID, runnerName, expiresInMs };
}

function noRunner(only: string | undefined): ApiError {
  if (only === undefined) return new ApiError('NoRunner');
  return new ApiError('RunnerUnreachable', `The runner ${only} is not connected to this operator pod, or gives no slots.`);
}
