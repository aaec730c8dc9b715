import { addressToID } from '../../agent/connections/address-id.ts';
import type { Operator } from '../harness/operator.ts';
import type { Runner } from '../harness/runner.ts';
import { eventually } from './eventually.ts';
import type { World } from './world.ts';

/** The condition of a runner's connection to one operator. */
export interface ConnectionCondition {
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

/** What is seen of the connections between runners and operators: conditions through kubectl, and lines of logs. */
export class SeenConnections {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** The condition, if the runner has one for this operator. */
  async of(runner: string, operator: Operator): Promise<ConnectionCondition | undefined> {
    const { conditions } = (await this.#world.user.runner(runner)).status;
    return conditions.find(({ type }) => type === `connection.berth.dev/${addressToID(operator.address)}`);
  }

  /** All of them by type. */
  async all(runner: string): Promise<Readonly<Record<string, ConnectionCondition>>> {
    const { conditions } = (await this.#world.user.runner(runner)).status;
    return Object.fromEntries(conditions.filter(({ type }) => type.startsWith('connection.')).map((one) => [one.type, one]));
  }

  /** The condition when it has this status and, if given, this reason and message; "None" is no condition. */
  async until(
    runner: string,
    operator: Operator,
    status: 'True' | 'False' | 'None',
    { reason, message }: { readonly reason?: string; readonly message?: RegExp } = {},
  ): Promise<ConnectionCondition | undefined> {
    const last: { seen?: unknown } = {};
    const { found } = await eventually(
      `the connection of ${runner} to ${operator.name} is ${status} ${reason ?? ''}`,
      async () => {
        const found = await this.of(runner, operator);
        last.seen = found;
        const isAsAsked = (found?.status ?? 'None') === status && (reason === undefined || found?.reason === reason);
        return isAsAsked && (message?.test(found?.message ?? '') ?? true) ? { found } : undefined;
      },
      () => last.seen,
    );
    return found;
  }

  /** Resolves when the column CONNECTIONS says so. */
  async untilSummary(runner: string, summary: string): Promise<void> {
    const last: { seen?: string | undefined } = {};
    await eventually(
      `${runner} has ${summary} connections`,
      async () => {
        const lines = (await this.#world.user.kubectl('get', 'runner', runner)).split('\n').map((line) => line.split(/\s{2,}/));
        last.seen = lines[1]?.[lines[0]?.indexOf('CONNECTIONS') ?? -1];
        return last.seen === summary ? true : undefined;
      },
      () => last.seen,
    );
  }
}

/** The messages of the lines of a part's log, the oldest first. */
export function linesOf(part: { log(): string }): readonly string[] {
  return part
    .log()
    .split('\n')
    .flatMap((line) => {
      if (!line.startsWith('{')) return [];
      const { msg } = JSON.parse(line) as { readonly msg?: string };
      return msg === undefined ? [] : [msg];
    });
}

/** The base id of the newest agent on the runner. */
export function baseOf({ agent }: Runner): string {
  return (
    linesOf(agent)
      .findLast((line) => line.startsWith('Sandbox base ID: '))
      ?.replace('Sandbox base ID: ', '') ?? ''
  );
}

/** Resolves when the log of the part has so many lines that say this. */
export async function untilLogged(part: { readonly name: string; log(): string }, line: string | RegExp, times = 1): Promise<void> {
  await eventually(`${part.name} logs ${String(line)} ${times} times`, () => Promise.resolve(count(part, line) >= times || undefined));
}

/** How many lines say this. */
export function count(part: { log(): string }, line: string | RegExp): number {
  return linesOf(part).filter((one) => (typeof line === 'string' ? one === line : line.test(one))).length;
}
