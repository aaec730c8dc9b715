import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { toStderr } from '../../hack/progress.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { Random } from '../simulation/engine/random.ts';
import { aSandbox } from './a-sandbox.ts';
import { everything, permittedToken } from './caller.ts';
import { Counts, PatientCaller } from './chaos/caller.ts';
import { ChaosClient, Ledger } from './chaos/clients.ts';
import { Faults } from './chaos/faults.ts';
import { planChaos } from './chaos/plan.ts';
import { RunWitness } from './chaos/witness.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

/** Any text; `make chaos SEED=…` repeats the faults and what clients ask for. */
const seed = process.env.BERTH_CHAOS_SEED ?? String(Math.floor(Math.random() * 1_000_000));
const seconds = Number(process.env.BERTH_CHAOS_SECONDS ?? 60);
const runners = ['runner-1', 'runner-2', 'runner-3', 'runner-4'];
const slots = 16;
/** Twice as many as can be served at once. */
const clientCount = 2 * slots;

interface Slots {
  readonly slots: number;
  readonly used: number;
  readonly reserved: number;
  readonly queued: number;
}

interface Fleet {
  readonly fleet: Slots & { readonly runners: readonly (Slots & { readonly runnerName: string })[] };
  readonly complete: boolean;
  readonly waiting: number;
}

describe(`three operators, four runners and twice as many clients as slots, for ${seconds} s (repeat it with: make chaos SEED=${seed})`, () => {
  let world: World;
  let token: string;
  let callers: readonly PatientCaller[];
  const counts = new Counts();
  const ledger = new Ledger();
  const sandboxes = ['box-1', 'box-2', 'box-3', 'box-4'];
  const callerAt = (urls: readonly string[], label: string) =>
    new PatientCaller({
      urls,
      ca: readFileSync(world.cluster.authority.caFile, 'utf8'),
      token,
      random: new Random(seed).fork(label),
      counts,
    });

  beforeAll(async () => {
    world = await World.start({ operators: 3, runners });
    token = await permittedToken(world.cluster, 'chaos', everything);
    callers = world.cluster.operators.map(({ name, url }) => callerAt([url], name));
    for (const name of sandboxes) await world.user.apply(aSandbox(name, { image: world.image }));
    for (const name of sandboxes) await world.user.until({ name }, 'is Started', ({ status }) => status.state === 'Started');
  }, startTimeoutMs);
  afterAll(async () => {
    await Promise.all(callers.map((caller) => caller.close()));
    await world.stop();
  }, startTimeoutMs);

  const fleets = () =>
    Promise.all(callers.map(async (caller) => (await caller.ask({ method: 'GET', path: '/sandbox/status' })).body as Fleet));
  /** What the agents themselves say of their slots, in the status of their Runners. */
  const own = async () =>
    Promise.all(
      runners.map(async (name) => {
        const { slots: all = 0, used = 0, queued = 0 } = (await world.user.runner(name)).status.tasks ?? {};
        return { name, slots: all, taken: used, queued };
      }),
    );
  /** Every pod says the same as the agents, and so many are taken. */
  const agree = async (taken: number) => {
    const last: { said: unknown } = { said: undefined };
    await eventually(
      `${taken} slots are taken, by every pod and by the agents themselves`,
      async () => {
        const [all, agents] = await Promise.all([fleets(), own()]);
        last.said = { pods: all.map(({ fleet, complete, waiting }) => ({ ...fleet, complete, waiting })), agents };
        const expected = JSON.stringify(agents);
        const isSame = ({ fleet, complete, waiting }: Fleet) =>
          complete &&
          waiting === 0 &&
          fleet.slots === slots &&
          fleet.used + fleet.reserved === taken &&
          JSON.stringify(
            fleet.runners.map(({ runnerName, used, reserved, queued, slots: of }) => ({
              name: runnerName,
              slots: of,
              taken: used + reserved,
              queued,
            })),
          ) === expected;
        return all.every(isSame) ? true : undefined;
      },
      () => last.said,
    );
  };
  const living = async (name: string) =>
    (await livingOn(world.cluster.runner(name)))
      .filter((line) => !line.includes('/agent/tasks') && !line.includes('/agent/journal'))
      .map((line) => line.replace(/^process \d+/, 'process'));

  it(`loses no task that was acknowledged, runs none twice, leaks no slot, and refuses with Retry-After (seed ${seed})`, async () => {
    const before = await Promise.all(runners.map(living));
    const faults = new Faults(world.cluster);
    const mark = `chaos-${seed}`;
    const witness = new RunWitness(new RegExp(`^${mark}-\\d+-\\d+$`));
    const over = new AbortController();
    const [anywhere, random] = [
      callerAt(
        world.cluster.operators.map(({ url }) => url),
        'clients',
      ),
      new Random(seed),
    ];
    const clients = Array.from({ length: clientCount }, (_, index) => {
      const shared = { caller: anywhere, counts, faults, ledger, sandboxes, image: world.image };
      return new ChaosClient({ ...shared, name: `${mark}-${index}`, random: random.fork(`client ${index}`) }).run(over.signal);
    });
    try {
      await Promise.all([faults.run(planChaos(seed, seconds * 1_000)), delay(seconds * 1_000)]);
      over.abort();
      await Promise.all(clients);
    } finally {
      over.abort();
      await anywhere.close();
      await witness.stop();
    }
    toStderr(
      `chaos: ${JSON.stringify({
        ...{ seed, ended: faults.counts, tasks: ledger.acknowledged.size, refusals: Object.fromEntries(counts.refusals) },
        ...{ longestMs: counts.longestMs, wrong: counts.wrong },
      })}`,
    );
    expect(counts.wrong).toEqual([]);
    expect(faults.endedAlone).toEqual([]);
    expect(witness.twice).toEqual([]);
    expect([...ledger.acknowledged.keys()].filter((one) => !ledger.ended.has(one))).toEqual([]);
    expect(new Set(ledger.acknowledged.values()).size).toBe(ledger.acknowledged.size);
    // What was never acknowledged never ran.
    expect([...witness.seen.keys()].filter((one) => !ledger.acknowledged.has(one))).toEqual([]);
    expect(ledger.acknowledged.size).toBeGreaterThan(slots);

    await agree(0);
    const [caller] = callers;
    if (caller === undefined) throw new Error('there is no caller');
    const held: string[] = [];
    for (let number = 0; number < 5; number += 1) {
      const { body } = await caller.ask({ method: 'POST', path: '/sandbox/reserve', body: { ttlSeconds: 600 } });
      held.push((body as { readonly id: string }).id);
    }
    await agree(held.length);
    for (const id of held) await caller.ask({ method: 'DELETE', path: `/sandbox/reservations/${id}` });
    await agree(0);

    for (const name of sandboxes) {
      const { status } = await world.user.sandbox({ name });
      expect({ name, state: status.state, contentVersion: status.contentVersion, restarts: status.restartCount }).toEqual({
        ...{ name, state: 'Started', contentVersion: 1, restarts: 0 },
      });
    }
    for (const [index, name] of runners.entries()) {
      const last: { left: readonly string[] } = { left: [] };
      const look = async () => {
        last.left = added(before[index] ?? [], await living(name));
        return last.left.length === 0 ? true : undefined;
      };
      await eventually(`nothing is left on ${name}`, look, () => last.left);
    }
  });
});
