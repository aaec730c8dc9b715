import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { everything, permittedToken } from '../system/caller.ts';
import { eventually } from '../system/eventually.ts';
import { coefficientOfVariation } from '../simulation/placement.ts';
import { callerOf, fleetOf, withSlots } from './api.ts';
import { Fleet } from './fleet/fleet.ts';
import type { PlainClient } from './plain-client.ts';

export interface SlotsBedOptions {
  readonly pods: number;
  readonly runners: number;
  /** Of each runner. */
  readonly slots: number;
  readonly etcdFsync: boolean;
}

/** How slots that were reserved are spread. */
export interface Spread {
  readonly variation: number;
  /** Slots that are reserved, of each runner. */
  readonly perRunner: readonly number[];
  /** Milliseconds of each reservation. */
  readonly times: readonly number[];
}

/** Operator pods over a modelled fleet of equal runners, and a caller at each pod. */
export class SlotsBed implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #fleet: Fleet;
  readonly #callers: readonly PlainClient[];
  readonly #options: SlotsBedOptions;

  private constructor(cluster: Cluster, fleet: Fleet, callers: readonly PlainClient[], options: SlotsBedOptions) {
    this.#cluster = cluster;
    this.#fleet = fleet;
    this.#callers = callers;
    this.#options = options;
  }

  static async make(options: SlotsBedOptions): Promise<SlotsBed> {
    const { pods: operators, runners, slots, etcdFsync } = options;
    await using made = new AsyncDisposableStack();
    const cluster = made.use(await Cluster.start({ runners: [], agents: false, operators, etcdFsync, log: toStderr }));
    const token = await permittedToken(cluster, 'bench', everything);
    const callers = cluster.operators.map((operator) => callerOf(cluster, operator, token));
    const bed = new SlotsBed(cluster, made.use(await Fleet.start(cluster, runners)), callers, options);
    const names = await bed.#connected();
    for (const caller of callers) await withSlots(cluster, caller, names, slots);
    made.move();
    return bed;
  }

  /** Milliseconds of so many questions for the status of the fleet, one after another, and the bytes of an answer. */
  async status(count: number): Promise<{ readonly times: readonly number[]; readonly bytes: number }> {
    const times: number[] = [];
    let bytes = 0;
    for (let number = 0; number < count; number += 1) {
      const begin = performance.now();
      const { at, text } = await this.#caller(0).text('GET', '/sandbox/status', 200);
      times.push(at - begin);
      bytes = text.length;
    }
    return { times, bytes };
  }

  /** Reserves slots through the first `pods` pods in turn, so many at the same time; how they are spread, and gives them back. */
  async spread(pods: number, count: number, atOnce: number): Promise<Spread> {
    const ids: string[] = [];
    const times: number[] = [];
    let next = 0;
    const reserve = async () => {
      for (let number = next++; number < count; number = next++) {
        const begin = performance.now();
        const { at, body } = await this.#caller(number % pods).ask('POST', '/sandbox/reserve', 201, { ttlSeconds: 600 });
        times.push(at - begin);
        ids.push((body as { readonly id: string }).id);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, reserve));
    const perRunner = await this.#reserved(count);
    const shares = perRunner.map((reserved) => reserved / this.#options.slots);
    for (const id of ids) await this.#caller(0).ask('DELETE', `/sandbox/reservations/${id}`, 200);
    await this.#reserved(0);
    return { variation: coefficientOfVariation(shares), perRunner, times };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#callers.map((caller) => caller.close()));
    await this.#fleet[Symbol.asyncDispose]();
    await this.#cluster.stop();
  }

  /** What each runner has reserved, once every pod says that it is so many in all. */
  async #reserved(count: number): Promise<readonly number[]> {
    return eventually(`${count} slots are reserved`, async () => {
      const seen = await Promise.all(this.#callers.map(fleetOf));
      if (seen.some(({ fleet }) => fleet.reserved !== count)) return undefined;
      return seen[0]?.fleet.runners.map(({ reserved }) => reserved);
    });
  }

  async #connected(): Promise<readonly string[]> {
    const { runners } = this.#options;
    const last: { connected: readonly number[] } = { connected: [] };
    return eventually(
      `${runners} runners are connected to every pod`,
      async () => {
        const seen = await Promise.all(this.#callers.map(fleetOf));
        last.connected = seen.map(({ fleet }) => fleet.runners.length);
        return last.connected.every((connected) => connected === runners)
          ? seen[0]?.fleet.runners.map(({ runnerName }) => runnerName)
          : undefined;
      },
      () => last.connected,
    );
  }

  #caller(pod: number): PlainClient {
    const caller = this.#callers[pod];
    if (caller === undefined) throw new Error(`there is no pod ${pod}`);
    return caller;
  }
}
