/** The little of Berth's HTTP API that a judge needs. */
import { setTimeout as delay } from 'node:timers/promises';
import type { TaskResult } from './verdict.ts';

/** As the API has it: see /openapi.json of an operator pod. */
export interface TaskRequest {
  readonly image: string;
  readonly command: readonly string[];
  readonly workingDir?: string;
  readonly stdin?: { readonly base64: string };
  readonly inputFiles: readonly { readonly path: string; readonly base64: string; readonly mode?: number }[];
  readonly outputFiles: readonly string[];
  readonly limits: Limits;
}

export interface Limits {
  readonly cpuSeconds?: number;
  readonly wallSeconds?: number;
  readonly memoryBytes?: number;
  readonly processes?: number;
  readonly outputBytes?: number;
  readonly outputFileBytes?: number;
}

/** A task that has ended. */
export interface EndedTask {
  readonly id: string;
  readonly result: TaskResult & {
    readonly usage: { readonly cpuSeconds: number; readonly wallSeconds: number; readonly memoryPeakBytes?: number };
  };
}

/** Requests are answered after so long at the latest, and asked again. */
const waitSeconds = 30;
/** An operator pod that can not be reached, or a fleet without a free slot, is asked for so long. */
const patienceMs = 300_000;

/** Asks operator pods, whichever is there: each request may be sent to any of them, and again to another. */
export class Berth {
  readonly #urls: readonly string[];
  readonly #token: string;
  #next = 0;

  constructor(urls: readonly string[], token: string) {
    this.#urls = urls;
    this.#token = token;
  }

  /** Runs a command in a container of its own. `key` names this run: however often it is asked for, it runs once. */
  async run(key: string, task: TaskRequest): Promise<EndedTask> {
    const body = JSON.stringify({ ...task, queueSeconds: waitSeconds, waitSeconds });
    const headers = { 'content-type': 'application/json', 'idempotency-key': key };
    let answer = await this.#json('/sandbox/tasks', { method: 'POST', headers, body });
    while (answer.result === undefined) answer = await this.#json(`/sandbox/tasks/${answer.id}?waitSeconds=${waitSeconds}`, {});
    return { id: answer.id, result: answer.result };
  }

  async output({ id }: EndedTask, stream: 'stdout' | 'stderr'): Promise<string> {
    return (await this.#ask(`/sandbox/tasks/${id}/output?stream=${stream}`, {})).text();
  }

  /** One of the task's outputFiles. */
  async file({ id }: EndedTask, path: string): Promise<Buffer> {
    return Buffer.from(await (await this.#ask(`/sandbox/tasks/${id}/file?path=${encodeURIComponent(path)}`, {})).arrayBuffer());
  }

  async #json(path: string, init: RequestInit): Promise<{ readonly id: string; readonly result?: EndedTask['result'] }> {
    return (await (await this.#ask(path, init)).json()) as { readonly id: string; readonly result?: EndedTask['result'] };
  }

  /** Where the answer says when to come again, or there is none, the next pod is asked. */
  async #ask(path: string, { headers = {}, ...init }: RequestInit): Promise<Response> {
    const end = Date.now() + patienceMs;
    for (;;) {
      const url = this.#urls[this.#next++ % this.#urls.length] ?? '';
      const sent = { ...init, headers: { ...(headers as Record<string, string>), authorization: `Bearer ${this.#token}` } };
      const answer = await fetch(`${url}${path}`, sent).catch((error: unknown) => messageOf(error));
      if (typeof answer !== 'string' && answer.ok) return answer;
      const again = typeof answer === 'string' ? '1' : answer.headers.get('retry-after');
      if (again === null || Date.now() > end) throw new Error(`${path}: ${typeof answer === 'string' ? answer : await answer.text()}`);
      await delay(Number(again) * 1000);
    }
  }
}

/** fetch says why in the cause. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
