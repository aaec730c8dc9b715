import type { Random } from '../../simulation/engine/random.ts';
import type { Answer, Counts, PatientCaller } from './caller.ts';
import type { Faults } from './faults.ts';

export interface ClientOptions {
  /** No two clients have the same. */
  readonly name: string;
  readonly caller: PatientCaller;
  readonly random: Random;
  readonly counts: Counts;
  readonly faults: Pick<Faults, 'hasAgentEnded'>;
  readonly image: string;
  readonly sandboxes: readonly string[];
  readonly ledger: Ledger;
}

/** What clients were told of their tasks. */
export class Ledger {
  /** Ids of tasks that were acknowledged, by mark. */
  readonly acknowledged = new Map<string, string>();
  /** Marks of those that were seen to end as they should. */
  readonly ended = new Set<string>();
  /** Marks of those that were told to have never run. */
  readonly neverRan = new Set<string>();
}

interface Task {
  readonly id: string;
  readonly phase: string;
  readonly result?: { readonly outcome: string; readonly exitCode: number; readonly message?: string };
  readonly stdout: { readonly text?: string };
}

const reservedSeconds = 60;
const slack = 5;
const kinds = { alone: 4, inSandbox: 4, reserved: 3, released: 2, cancelled: 1 };

/** One caller that asks for one thing after the other, and judges what it is told. */
export class ChaosClient {
  readonly #options: ClientOptions;
  #count = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Begins with nothing more when the signal is aborted, and ends what it has begun. */
  async run(signal: AbortSignal): Promise<void> {
    const { random } = this.#options;
    while (!signal.aborted) {
      const mark = `${this.#options.name}-${++this.#count}`;
      const kind = random.weighted(kinds);
      try {
        await this[kind](mark);
      } catch (error) {
        this.#wrong(mark, error instanceof Error ? error.message : String(error));
      }
    }
  }

  async alone(mark: string): Promise<void> {
    const answer = await this.#ask({ method: 'POST', path: '/sandbox/tasks', body: this.#oneShot(mark), key: mark });
    await this.#follow(mark, answer, 'ran\n');
  }

  async inSandbox(mark: string): Promise<void> {
    const { random, sandboxes } = this.#options;
    const script = `echo ${mark} >> /tmp/ran; sleep ${this.#sleep()}; grep -c -x ${mark} /tmp/ran`;
    const body = { sandbox: { name: random.pick(sandboxes) }, command: ['sh', '-c', script, mark], queueSeconds: 20 };
    const answer = await this.#ask({ method: 'POST', path: '/sandbox/tasks', body, key: mark });
    await this.#follow(mark, answer, '1\n');
  }

  /** A slot first, and then a task under it. */
  async reserved(mark: string): Promise<void> {
    const { ledger } = this.#options;
    const { id: reservationID, since } = await this.#reserve(mark);
    const body = { ...this.#oneShot(mark), reservationID };
    const answer = await this.#ask({ method: 'POST', path: '/sandbox/tasks', body, or: ['ReservationGone'] });
    if (answer.code === undefined) return this.#follow(mark, answer, 'ran\n');
    this.#mayBeGone(mark, reservationID, since);
    ledger.neverRan.add(mark);
  }

  async released(mark: string): Promise<void> {
    const { id, since } = await this.#reserve(mark);
    const path = `/sandbox/reservations/${id}`;
    const extended = await this.#ask({
      ...{ method: 'POST', path: `${path}/extend`, body: { ttlSeconds: reservedSeconds }, or: ['ReservationGone'] },
    } as const);
    if (extended.code !== undefined) this.#mayBeGone(mark, id, since);
    await this.#ask({ method: 'DELETE', path, or: ['ReservationGone'] });
  }

  async cancelled(mark: string): Promise<void> {
    const { image, ledger } = this.#options;
    const body = { image, command: ['sh', '-c', 'sleep 600; :', mark], graceSeconds: 1, queueSeconds: 20 };
    const { id } = (await this.#ask({ method: 'POST', path: '/sandbox/tasks', body, key: mark })).body as Task;
    ledger.acknowledged.set(mark, id);
    await this.#ask({ method: 'POST', path: `/sandbox/tasks/${id}/cancel` });
    const { result } = await this.#untilEnd(id);
    if (result?.outcome === 'Cancelled') ledger.ended.add(mark);
    else this.#wrong(mark, `was cancelled and ended as ${JSON.stringify(result)}`);
  }

  #oneShot(mark: string): object {
    const script = `echo ran >> /work/ran; sleep ${this.#sleep()}; cat /work/ran`;
    const { image } = this.#options;
    return { image, command: ['sh', '-c', script, mark], inputFiles: [{ path: '/work/ran', text: '' }], queueSeconds: 20 };
  }

  #sleep(): string {
    return (this.#options.random.between(500, 4_000) / 1_000).toFixed(1);
  }

  async #reserve(mark: string): Promise<{ readonly id: string; readonly since: number }> {
    const since = performance.now();
    const body = { ttlSeconds: reservedSeconds, waitSeconds: 20 };
    // The slot may have been given to an earlier request with this key, and be gone by now: then another key gets another.
    for (let tries = 1; ; tries += 1) {
      const answer = await this.#ask({ method: 'POST', path: '/sandbox/reserve', body, key: `${mark}-${tries}`, or: ['ReservationGone'] });
      if (answer.code === undefined) return { id: (answer.body as { readonly id: string }).id, since };
    }
  }

  /** A reservation is gone when its time is over, or when its agent was ended: those are not waited for. */
  #mayBeGone(mark: string, reservationID: string, since: number): void {
    const isExpired = performance.now() - since > (reservedSeconds - slack) * 1_000;
    const runnerName = reservationID.split('.').at(-1) ?? '';
    if (!isExpired && !this.#options.faults.hasAgentEnded(runnerName, since)) this.#wrong(mark, `its reservation ${reservationID} is gone`);
  }

  async #follow(mark: string, { body }: Answer, output: string): Promise<void> {
    const { ledger } = this.#options;
    const { id } = body as Task;
    ledger.acknowledged.set(mark, id);
    const { result, stdout } = await this.#untilEnd(id);
    const isRight = result?.outcome === 'Exited' && result.exitCode === 0 && stdout.text === output;
    if (isRight) ledger.ended.add(mark);
    else this.#wrong(mark, `task ${id} ended as ${JSON.stringify({ result, stdout })}`);
  }

  async #untilEnd(id: string): Promise<Task> {
    for (;;) {
      const task = (await this.#ask({ method: 'GET', path: `/sandbox/tasks/${id}?waitSeconds=10` })).body as Task;
      if (task.phase === 'Ended') return task;
    }
  }

  #ask(...asked: Parameters<PatientCaller['ask']>): Promise<Answer> {
    return this.#options.caller.ask(...asked);
  }

  #wrong(mark: string, what: string): void {
    this.#options.counts.wrong.push(`${mark}: ${what}`);
  }
}
