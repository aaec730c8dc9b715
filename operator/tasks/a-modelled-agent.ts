import type { Ticket, TaskState, TaskRejection } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { TaskPhase } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { TaskSlots } from '../hub/facts.ts';
import { ApiError } from '../http/errors.ts';
import type { AgentEvents, Answered, Asked, Outcome } from './agents.client.ts';
import { rejectionOf } from './rejections.ts';

const slotless: TaskRejection = { code: 'NoSlot', message: '', retryAfterMs: 0, taskId: '' };

interface Waiting {
  readonly ticket: Ticket;
  readonly link: ModelledLink;
}

/** An agent, as far as slots go: tickets, offers, reservations and tasks, for tests of the side that asks. */
export class ModelledAgent {
  readonly runnerName: string;
  readonly storeID: string;
  readonly reservations = new Map<string, { readonly caller: string; taskID: string }>();
  readonly tasks = new Map<string, TaskState>();
  readonly offers = new Map<string, Waiting>();
  /** Callers whose tickets were served, in their order. */
  readonly served: string[] = [];
  waiting: Waiting[] = [];
  slots: number;
  #seq = 0;
  #ids = 0;
  #last = '';
  readonly #told = new Set<() => void>();

  constructor(runnerName: string, slots: number) {
    this.runnerName = runnerName;
    this.storeID = `5-${runnerName}`;
    this.slots = slots;
  }

  get state(): TaskSlots {
    const used = [...this.tasks.values()].filter(({ phase }) => phase !== TaskPhase.TASK_PHASE_ENDED).length;
    const reserved = this.offers.size + [...this.reservations.values()].filter(({ taskID }) => taskID === '').length;
    return { slots: this.slots, used, reserved, queued: this.waiting.length, seq: this.#seq };
  }

  onChange(told: () => void): void {
    this.#told.add(told);
  }

  answer(link: ModelledLink, asked: Asked): Outcome {
    const outcome = this.#answer(link, asked);
    this.#changed();
    return outcome;
  }

  /** Its task ends. */
  end(taskID: string): void {
    const task = this.tasks.get(taskID);
    if (task !== undefined) this.tasks.set(taskID, { ...task, phase: TaskPhase.TASK_PHASE_ENDED });
    this.#changed();
  }

  /** A stream has ended. */
  forget(link: ModelledLink): void {
    this.waiting = this.waiting.filter((one) => one.link !== link);
    for (const [id, one] of this.offers) if (one.link === link) this.offers.delete(id);
    this.#changed();
  }

  #answer(link: ModelledLink, asked: Asked): Outcome {
    switch (asked.$case) {
      case 'ticket':
        return this.#ticket(link, asked.value);
      case 'take': {
        const offer = this.offers.get(asked.value.ticketId);
        this.offers.delete(asked.value.ticketId);
        return offer === undefined ? rejected('OfferExpired') : this.#reserve(offer.ticket);
      }
      case 'withdraw':
        this.offers.delete(asked.value.ticketId);
        this.waiting = this.waiting.filter(({ ticket }) => ticket.ticketId !== asked.value.ticketId);
        return { $case: 'done', value: {} };
      case 'release': {
        const { reservationId } = asked.value;
        const known = this.reservations.get(reservationId);
        this.reservations.delete(reservationId);
        return known === undefined ? rejected('ReservationGone') : this.#reservation(reservationId, known.caller);
      }
      case 'getReservation': {
        const known = this.reservations.get(asked.value.reservationId);
        return known === undefined ? rejected('ReservationGone') : this.#reservation(asked.value.reservationId, known.caller);
      }
      case 'submit':
        return this.#submit(asked.value);
      case 'watch': {
        const task = this.tasks.get(asked.value.taskId);
        return task === undefined ? rejected('TaskGone') : { $case: 'task', value: task };
      }
      default:
        return rejected('InvalidTask');
    }
  }

  #ticket(link: ModelledLink, ticket: Ticket): Outcome {
    if (ticket.sole && this.#free > 0 && this.waiting.length === 0) return this.#reserve(ticket);
    if (ticket.waitMs === 0) return { $case: 'rejected', value: slotless };
    this.waiting.push({ ticket, link });
    return { $case: 'queued', value: { queued: this.waiting.length } };
  }

  #submit({ taskId, caller, reservationId, bodyHash, keyHash }: Extract<Asked, { $case: 'submit' }>['value']): Outcome {
    const keyed = keyHash === '' ? undefined : [...this.tasks.values()].find((task) => task.reservationId === keyHash);
    const reservation = this.reservations.get(reservationId);
    const before = keyed ?? this.tasks.get(reservation?.taskID ?? '');
    if (before !== undefined)
      return before.bodyHash === bodyHash ? { $case: 'task', value: { ...before, repeated: true } } : rejected('IdempotencyConflict');
    if (reservationId !== '' && reservation === undefined) return rejected('ReservationGone');
    if (reservationId === '' && (this.#free === 0 || this.waiting.length > 0)) return { $case: 'rejected', value: slotless };
    if (reservation !== undefined) reservation.taskID = taskId;
    const task: TaskState = {
      ...{ taskId, caller, bodyHash, repeated: false, acceptedTimeMs: 1, startTimeMs: 1, end: undefined, stdoutBytes: 0, stderrBytes: 0 },
      reservationId: keyHash === '' ? reservationId : keyHash,
      phase: TaskPhase.TASK_PHASE_RUNNING,
    };
    this.tasks.set(taskId, task);
    return { $case: 'task', value: task };
  }

  get #free(): number {
    const { slots, used, reserved } = this.state;
    return slots - used - reserved;
  }

  #reserve({ caller }: Ticket): Outcome {
    this.served.push(caller);
    const id = `${++this.#ids}.${this.storeID}.${this.runnerName}`;
    this.reservations.set(id, { caller, taskID: '' });
    return this.#reservation(id, caller);
  }

  #reservation(reservationId: string, caller: string): Outcome {
    const taskId = this.reservations.get(reservationId)?.taskID ?? '';
    return { $case: 'reservation', value: { reservationId, caller, expiresInMs: 1000, taskId } };
  }

  #changed(): void {
    while (this.#free > 0 && this.waiting.length > 0) this.#offer();
    this.#seq++;
    for (const told of this.#told) told();
  }

  /** Round robin over callers, the oldest of each. */
  #offer(): void {
    const callers = [...new Set(this.waiting.map(({ ticket }) => ticket.caller))].toSorted();
    const caller = callers.find((one) => one > this.#last) ?? callers[0] ?? '';
    this.#last = caller;
    const [next] = this.waiting.filter(({ ticket }) => ticket.caller === caller).toSorted((a, b) => b.ticket.ageMs - a.ticket.ageMs);
    if (next === undefined) return;
    this.waiting = this.waiting.filter((one) => one !== next);
    this.offers.set(next.ticket.ticketId, next);
    next.link.offer(this, next.ticket.ticketId);
  }
}

function rejected(code: string): Outcome {
  return { $case: 'rejected', value: { code, message: '', retryAfterMs: 0, taskId: '' } };
}

/** The streams of modelled agents to one pod. What is said arrives a turn later. */
export class ModelledLink {
  readonly #agents: ReadonlyMap<string, ModelledAgent>;
  readonly #listeners = new Set<AgentEvents>();
  /** Runners that are not reached. */
  readonly cut = new Set<string>();
  /** Runners that are asked and whose answers are lost. */
  readonly mute = new Set<string>();

  constructor(agents: readonly ModelledAgent[]) {
    this.#agents = new Map(agents.map((agent) => [agent.runnerName, agent]));
  }

  subscribe(listener: AgentEvents): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async ask(runnerName: string, asked: Asked): Promise<Outcome> {
    const agent = this.#agents.get(runnerName);
    if (agent === undefined || this.cut.has(runnerName)) throw new ApiError('RunnerUnreachable');
    await Promise.resolve();
    const outcome = agent.answer(this, asked);
    await Promise.resolve();
    if (this.mute.has(runnerName)) throw new ApiError('OutcomeUnknown');
    return outcome;
  }

  async demand(runnerName: string, asked: Asked): Promise<Answered> {
    const outcome = await this.ask(runnerName, asked);
    if (outcome.$case === 'rejected') throw rejectionOf(outcome.value);
    return outcome;
  }

  offer({ runnerName }: ModelledAgent, ticketId: string): void {
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener.event(runnerName, { $case: 'offer', value: { ticketId, validMs: 2_000 } });
    });
  }

  /** The pod hears of the runner's slots. */
  tell(runnerName: string): void {
    for (const listener of this.#listeners) listener.slotsChanged?.(runnerName);
  }

  /** The stream of a runner ends. */
  lose(runnerName: string): void {
    this.cut.add(runnerName);
    this.#agents.get(runnerName)?.forget(this);
    for (const listener of this.#listeners) listener.lost(runnerName);
  }
}
