import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Random } from '../../simulation/engine/random.ts';

/** What the API answered that is no refusal to try again. */
export interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly body: unknown;
}

export interface Ask {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly key?: string;
  /** Codes that are an answer here, besides success. */
  readonly or?: readonly string[];
}

type Heard = ({ readonly kind: 'Answer' } & Answer) | { readonly kind: 'Again'; readonly code: string; readonly pauseMs: number };

/** Nobody is asked longer: then there is no answer. */
const patienceMs = 150_000;
const longestPauseMs = 2_000;

/** What was counted about the answers of all callers. */
export class Counts {
  /** Refusals that say when to come again, by their code; and requests to which no answer came. */
  readonly refusals = new Map<string, number>();
  /** The longest that somebody asked until there was an answer, in ms. */
  longestMs = 0;
  /** Sentences about answers that there must not be. */
  readonly wrong: string[] = [];

  answered(ms: number): void {
    this.longestMs = Math.max(this.longestMs, Math.round(ms));
  }

  refused(code: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }
}

/** Somebody who asks any of several pods, and again, as the API says. */
export class PatientCaller {
  readonly #urls: readonly string[];
  readonly #dispatcher: Agent;
  readonly #token: string;
  readonly #random: Random;
  readonly #counts: Counts;

  constructor(options: {
    readonly urls: readonly string[];
    readonly ca: string;
    readonly token: string;
    readonly random: Random;
    readonly counts: Counts;
  }) {
    this.#urls = options.urls;
    this.#dispatcher = new Agent({ connect: { ca: options.ca, timeout: 5_000 }, headersTimeout: 90_000, bodyTimeout: 90_000 });
    this.#token = options.token;
    this.#random = options.random;
    this.#counts = options.counts;
  }

  /** Asks until there is an answer. Rejects when there is one that must not be, and when there is none for long. */
  async ask(asked: Ask): Promise<Answer> {
    const begin = performance.now();
    for (const tried: string[] = []; ;) {
      const answer = await this.#send(asked);
      if (answer.kind === 'Answer') {
        this.#counts.answered(performance.now() - begin);
        return answer;
      }
      tried.push(answer.code);
      this.#counts.refused(answer.code);
      if (performance.now() > begin + patienceMs)
        throw this.#wrong(asked, `there was no other answer than ${[...new Set(tried)].join(', ')}`);
      await delay(Math.min(longestPauseMs, answer.pauseMs) * (0.5 + this.#random.next() / 2));
    }
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #send(asked: Ask): Promise<Heard> {
    const { or = [] } = asked;
    const sent = await this.#request(asked);
    if (sent === undefined) return { kind: 'Again', code: 'no answer', pauseMs: 300 };
    const { status, retryAfter, text } = sent;
    const body = JSON.parse(text) as { readonly error?: { readonly code?: string } };
    const code = body.error?.code;
    if (status < 300 || (code !== undefined && or.includes(code))) return { kind: 'Answer', status, code, body };
    const isRefusal = (status === 429 || status === 503) && typeof retryAfter === 'string' && /^\d+$/.test(retryAfter);
    if (!isRefusal) throw this.#wrong(asked, `${status} ${text}${retryAfter === undefined ? '' : ` Retry-After ${String(retryAfter)}`}`);
    return { kind: 'Again', code: code ?? String(status), pauseMs: Number(retryAfter) * 1000 };
  }

  /** Undefined: nobody answered. */
  async #request({ method, path, body, key }: Ask) {
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(key !== undefined && { 'idempotency-key': key }),
    };
    const content = body === undefined ? {} : { body: JSON.stringify(body) };
    try {
      const answer = await request(`${this.#random.pick(this.#urls)}${path}`, {
        method,
        dispatcher: this.#dispatcher,
        headers,
        ...content,
      });
      return { status: answer.statusCode, retryAfter: answer.headers['retry-after'], text: await answer.body.text() };
    } catch {
      return undefined;
    }
  }

  #wrong({ method, path }: Ask, what: string): Error {
    const sentence = `${method} ${path}: ${what}`;
    this.#counts.wrong.push(sentence);
    return new Error(sentence);
  }
}
