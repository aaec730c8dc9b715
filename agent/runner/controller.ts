import { API_GROUP, API_GROUP_VERSION, API_VERSION, parseRunner, RUNNER_KIND, type Runner } from '../../crds/index.ts';
import { createCache } from '../../kube/cache.ts';
import { createClient, type Client } from '../../kube/client.ts';
import { equalJson } from '../../kube/diff.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { Cache, Condition, KubeObject, KubeTransport, Resource } from '../../kube/types.ts';
import { isAborted } from '../../process/abort.ts';
import { backoffDelay } from '../../process/backoff.ts';
import { sleep, type Clock, type Random } from '../../process/clock.ts';
import { BerthError } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import {
  areStored,
  connectionConditions,
  connectionCounts,
  isConnection,
  isPressure,
  ownStatus,
  pressureConditions,
  type OwnStatus,
  type RunnerFacts,
} from './status.ts';

export interface RunnerPublisherOptions {
  readonly transport: KubeTransport;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** What is to be published: read anew for every write. */
  readonly facts: () => RunnerFacts;
  /** The administrator's settings, at first and whenever they change. */
  readonly specChanged: (spec: Runner['spec']) => void;
}

const resource: Resource = {
  group: API_GROUP,
  version: API_VERSION,
  plural: RUNNER_KIND.plural,
  kind: RUNNER_KIND.kind,
  namespaced: false,
};
const numbersManager = 'berth-agent';
const connectionsManager = 'berth-agent-connections';
/** Numbers are written at most this often, in milliseconds. */
const numbersMs = 2_000;
/** How long after their change they are written: what a start changes is one write, and comes after what the start itself needs. */
const lingerMs = 250;
const backoff = { initialMs: 500, maxMs: 10_000, jitter: 0.5 };

/**
 * The agent's own Runner: creates the object where it is missing and keeps the agent's part of its status, by server-side apply. Never
 * writes the spec of one that is there. Nothing is written while nothing changes.
 */
export class RunnerPublisher {
  readonly #options: RunnerPublisherOptions;
  readonly #cache: Cache<Runner> & { run(signal: AbortSignal): Promise<void> };
  readonly #client: Client<Runner>;
  /** When they changed first since they were written, by the monotonic clock; undefined: they did not. */
  #numbersChangedAt: number | undefined = -Infinity;
  #connectionsDue = true;
  #wake: (() => void) | undefined;
  #numbers: { readonly uid: string; readonly status: OwnStatus; readonly at: number } | undefined;
  #connections: { readonly uid: string; readonly conditions: readonly Condition[] } | undefined;

  constructor(options: RunnerPublisherOptions) {
    const { transport, name, clock, random, log } = options;
    this.#options = options;
    this.#cache = createCache({ transport, resource, parse, clock, random, log, fieldSelector: `metadata.name=${name}` });
    this.#client = createClient({ transport, resource, parse, cache: this.#cache });
  }

  /** Keeps the object until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const unsubscribe = this.#cache.subscribe({
      added: (runner) => this.#seen(runner, undefined),
      updated: (runner, old) => this.#seen(runner, old),
      deleted: () => this.#due('both'),
    });
    const watching = this.#cache.run(signal);
    try {
      await this.#cache.whenSynced(signal).catch(() => undefined);
      await this.#publish(signal);
    } finally {
      unsubscribe();
      await watching;
    }
  }

  /** Amounts or counts have changed: written within two seconds. */
  numbersChanged(): void {
    this.#due('numbers');
  }

  /** A connection came, went or changed its reason, or a pressure did: written at once. */
  conditionsChanged(): void {
    this.#due('both');
  }

  #seen(runner: Runner, old: Runner | undefined): void {
    if (old === undefined || !equalJson(old.spec, runner.spec)) this.#options.specChanged(runner.spec);
    const isChanged = this.#connections !== undefined && !areStored(this.#connections.conditions, runner.status.conditions);
    if (isChanged) this.#connections = undefined;
    if (old === undefined || isChanged) this.#due('both');
  }

  #due(what: 'numbers' | 'both'): void {
    this.#numbersChangedAt ??= this.#options.clock.monotonic();
    this.#connectionsDue ||= what === 'both';
    this.#wake?.();
  }

  async #publish(signal: AbortSignal): Promise<void> {
    const { clock, random, log, name } = this.#options;
    let failures = 0;
    while (!isAborted(signal)) {
      try {
        await this.#write(signal);
        failures = 0;
        await this.#untilDue(signal);
      } catch (err) {
        if (isAborted(signal)) return;
        failures++;
        this.#due('both');
        log.warn({ runner: name, err, failures }, 'Runner status not written, trying again');
        await sleep(clock, backoffDelay(backoff, failures, random), signal).catch(() => undefined);
      }
    }
  }

  async #write(signal: AbortSignal): Promise<void> {
    const runner = this.#cache.get(this.#options.name) ?? (await this.#create(signal));
    if (this.#connectionsDue) {
      this.#connectionsDue = false;
      await this.#writeConnections(runner, signal);
      await this.#writeNumbers(runner, signal);
    } else if (this.#numbersWait() === 0) {
      await this.#writeNumbers(runner, signal);
    }
  }

  async #writeConnections({ metadata: { name, uid }, status }: Runner, signal: AbortSignal): Promise<void> {
    const { connections, machine } = this.#options.facts();
    const now = this.#options.clock.now();
    const written = this.#connections?.uid === uid ? this.#connections.conditions : undefined;
    const before = written ?? status.conditions;
    const conditions = [
      ...connectionConditions(before.filter(isConnection), connections, now),
      ...pressureConditions(before.filter(isPressure), machine, now),
    ];
    if (equalJson(conditions, written)) return;
    await this.#apply(name, { connections: connectionCounts(connections), conditions }, connectionsManager, signal);
    this.#connections = { uid, conditions };
  }

  async #writeNumbers({ metadata: { name, uid }, status: { unclaimed } }: Runner, signal: AbortSignal): Promise<void> {
    this.#numbersChangedAt = undefined;
    const status = ownStatus(this.#options.facts(), this.#numbers?.status.unclaimed ?? unclaimed, this.#options.clock.now());
    if (this.#numbers?.uid === uid && equalJson(this.#numbers.status, status)) return;
    const at = this.#options.clock.monotonic();
    await this.#apply(name, status, numbersManager, signal);
    this.#numbers = { uid, status, at };
  }

  async #apply(name: string, status: object, fieldManager: string, signal: AbortSignal): Promise<void> {
    const body = { apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name }, status };
    await this.#client.apply(body, { fieldManager, subresource: 'status', signal });
  }

  async #create(signal: AbortSignal): Promise<Runner> {
    const { name, log } = this.#options;
    try {
      const created = await this.#client.create({ apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name } }, { signal });
      log.info({ runner: name }, 'Runner created');
      return created;
    } catch (error) {
      if (!isKubeError(error, 'AlreadyExists')) throw error;
      return this.#client.get({ name }, { signal });
    }
  }

  /** Milliseconds until numbers are to be written; undefined while they are as they were written. */
  #numbersWait(): number | undefined {
    if (this.#numbersChangedAt === undefined) return undefined;
    const at = Math.max(this.#numbersChangedAt + lingerMs, (this.#numbers?.at ?? -Infinity) + numbersMs);
    return Math.max(0, at - this.#options.clock.monotonic());
  }

  /** Resolves when something is to be written and may be. */
  async #untilDue(signal: AbortSignal): Promise<void> {
    for (let wait = this.#numbersWait(); !isAborted(signal) && !this.#connectionsDue && wait !== 0; wait = this.#numbersWait()) {
      const woken = Promise.withResolvers<undefined>();
      this.#wake = () => woken.resolve(undefined);
      const timer = wait === undefined ? undefined : this.#options.clock.after(wait, this.#wake);
      signal.addEventListener('abort', this.#wake, { once: true });
      await woken.promise;
      signal.removeEventListener('abort', this.#wake);
      timer?.cancel();
      this.#wake = undefined;
    }
  }
}

function parse(raw: KubeObject): Runner {
  const parsed = parseRunner(raw);
  if (parsed.ok) return parsed.value;
  throw new BerthError('Unreadable', parsed.message);
}
