import { beforeEach, describe, expect, it } from '@jest/globals';
import { CopyState, Wanted, type Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { RelayMessage } from '../../agent/proto/gen/berth/agent/v1/relay.ts';
import { runnerSchema, type Runner } from '../../crds/index.ts';
import type { CacheHandlers } from '../../kube/types.ts';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { ScriptedAgent, aReport } from '../../test/builders/scripted-agent.ts';
import { Hub } from '../hub/controller.ts';
import type { Authentication } from '../hub/stream.ts';
import { noAuthentication } from '../hub/token-review.client.ts';
import { Relays } from './controller.ts';
import { RelayServing } from './serving.server.ts';
import type { LeaderReceiver, PeerDialer, PeerEvents } from './stream.ts';

const order: Order = {
  ...{ uid: 'a', namespace: 'default', name: 'a', epoch: 1, order: 4, storeId: 'store-r1', bootId: 'boot-r1', contentVersion: 1 },
  ...{
    wanted: Wanted.WANTED_STOPPED,
    source: undefined,
    config: undefined,
    graceSeconds: 1,
    credentials: [],
    secretEnv: [],
    backup: undefined,
  },
};
const running = (number = 3) => aReport('a', 1, { order: number, contentVersion: 1, state: CopyState.COPY_STATE_RUNNING });
const stopped = (number = 4) => aReport('a', 1, { order: number, contentVersion: 1 });

function runner(name: string, storeID = `store-${name}`): Runner {
  const metadata = { name, uid: `u-${name}`, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
  return runnerSchema.parse({ metadata, status: { storeID } });
}

/** Two or three operator pods in one process: the first leads, the others are its peers, at the addresses `pod-2:1` and `pod-3:1`. */
class Pods {
  readonly clock = new FakeClock();
  readonly hubs = ['pod-1', 'pod-2', 'pod-3'].map(
    (operatorName) =>
      new Hub({ clock: this.clock, log: silentLogger, operatorName, operatorVersion: '1', authenticator: noAuthentication }),
  );
  readonly told: unknown[] = [];
  changePeers: (addresses: readonly string[]) => void = () => undefined;
  /** What the peers sent, in short. */
  readonly relayed: string[] = [];
  readonly runners = new Map([['r1', runner('r1')]]);
  answer: (token: string | undefined) => Promise<Authentication> = (token) => noAuthentication.authenticate(token);
  readonly #serving = this.hubs.slice(1).map(
    (hub, index) =>
      new RelayServing({
        ...{ hub, clock: this.clock, log: silentLogger, operatorVersion: '1', operatorName: `pod-${index + 2}` },
        authenticator: { authenticate: (token) => this.answer(token) },
      }),
  );
  readonly #streams = new Map<string, { receiver: LeaderReceiver; events: PeerEvents }>();
  readonly #handlers = new Set<CacheHandlers<Runner>>();
  readonly stop = new AbortController();

  get leader(): Hub {
    return this.#hub(0);
  }

  get peer(): Hub {
    return this.#hub(1);
  }

  get other(): Hub {
    return this.#hub(2);
  }

  async lead(peers: readonly string[] = ['pod-2:1']): Promise<void> {
    this.leader.subscribe({
      copiesChanged: (runnerName, uids) => void this.told.push([runnerName, ...uids]),
      runnerChanged: (runnerName, what) => void this.told.push([runnerName, what]),
    });
    const relays = new Relays({
      ...{ dialer: this.#dialer(), hub: this.leader, clock: this.clock, random: () => 0, log: silentLogger },
      operatorName: 'pod-1',
      operatorVersion: '1',
      peers: {
        subscribe: (listener) => {
          this.changePeers = listener;
          listener(peers);
          return () => undefined;
        },
      },
      runners: {
        get: (key) => this.runners.get(key),
        list: () => [...this.runners.values()],
        subscribe: (handlers) => {
          this.#handlers.add(handlers);
          return () => this.#handlers.delete(handlers);
        },
      },
    });
    void relays.run(this.stop.signal);
    await this.clock.run(100);
  }

  /** The network between the leader and a peer breaks. */
  cut(address: string): void {
    const stream = this.#streams.get(address);
    this.#streams.delete(address);
    stream?.receiver.closed('the connection was lost');
    stream?.events.closed('the connection was lost');
  }

  isOpen(address: string): boolean {
    return this.#streams.has(address);
  }

  #hub(index: number): Hub {
    const hub = this.hubs[index];
    if (hub === undefined) throw new Error(`there is no pod ${index + 1}`);
    return hub;
  }

  #dialer(): PeerDialer {
    return {
      dial: (address, events) => {
        const serving = this.#serving[address === 'pod-2:1' ? 0 : 1];
        if (serving === undefined) throw new Error(`nobody listens on ${address}`);
        const receiver = serving.accept({
          token: 'token',
          send: (message) => {
            this.relayed.push(nameOf(message));
            if (this.isOpen(address)) events.received(message);
          },
          end: (code, message) => {
            this.#streams.delete(address);
            events.closed(`${code}: ${message}`);
          },
        });
        this.#streams.set(address, { receiver, events });
        return {
          send: (message) => receiver.received(message),
          close: () => {
            if (this.#streams.delete(address)) receiver.closed('the leader closed it');
          },
        };
      },
    };
  }
}

function nameOf({ message }: RelayMessage): string {
  if (message?.$case !== 'fromAgent') return message?.$case ?? '';
  return message.value.message?.message?.$case ?? '';
}

describe('an agent that is connected to another pod than the leader', () => {
  let pods: Pods;
  beforeEach(() => {
    pods = new Pods();
  });

  async function agentAt(hub: Hub, tick = 5): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent('r1').dial(hub);
    await pods.clock.run(1);
    agent.tick = tick;
    agent.inventory(running());
    await pods.clock.run(100);
    return agent;
  }

  it('is known to the leader, with all it has told and tells, and gets its orders through the other pod', async () => {
    const agent = await agentAt(pods.peer);
    await pods.lead();
    expect(pods.leader.reach('r1')).toBe('Relayed');
    expect(pods.leader.instances()).toEqual([]);
    expect(pods.leader.facts('r1')).toMatchObject({ isConnected: true, isComplete: true, storeID: 'store-r1', tick: 5 });
    expect(pods.leader.facts('r1')?.copies).toEqual(pods.peer.facts('r1')?.copies);
    expect(pods.told).toContainEqual(['r1', 'Connected']);

    expect(pods.leader.send('r1', order, { isAccepted: false })).toBe(true);
    expect(pods.leader.send('r1', order, { isAccepted: false })).toBe(true);
    expect(agent.orders).toEqual([order]);
    expect(pods.leader.sentOrder('r1', 'a', 1)).toBe(4);
    pods.told.length = 0;
    agent.report(stopped());
    expect(pods.leader.facts('r1')?.copies.get('a/1')).toMatchObject({ state: 'Stopped', order: 4 });
    agent.say({ $case: 'refusal', value: { uid: 'b', epoch: 1, order: 9, code: 'BootMismatch', message: '', highestOrder: 2 } });
    expect(pods.leader.facts('r1')?.refusals.get('b/1')).toMatchObject({ order: 9 });
    expect(pods.told).toEqual([
      ['r1', 'a'],
      ['r1', 'b'],
    ]);
  });

  it('is asked for by nobody while it is connected to the leader, and at once when that stream breaks', async () => {
    const direct = await agentAt(pods.leader);
    const agent = await agentAt(pods.peer);
    await pods.lead();
    expect([pods.leader.reach('r1'), pods.relayed]).toEqual(['Connected', ['welcome']]);
    direct.drop();
    await pods.clock.run(100);
    expect(pods.leader.reach('r1')).toBe('Relayed');
    pods.leader.send('r1', order, { isAccepted: false });
    expect([agent.orders, direct.orders]).toEqual([[order], []]);
  });

  it('is reached as soon as the pod that has it is known, and not any more when that is gone', async () => {
    await agentAt(pods.peer);
    await pods.lead([]);
    expect(pods.leader.reach('r1')).toBe('None');
    pods.changePeers(['pod-3:1', 'pod-2:1']);
    await pods.clock.run(100);
    expect(pods.leader.reach('r1')).toBe('Relayed');
    pods.changePeers(['pod-3:1']);
    await pods.clock.run(100);
    expect(pods.leader.reach('r1')).toBe('None');
  });

  it('is heard on its own stream again as soon as there is one', async () => {
    const relayed = await agentAt(pods.peer);
    await pods.lead();
    const direct = await agentAt(pods.leader, 6);
    expect(pods.leader.reach('r1')).toBe('Connected');
    pods.leader.send('r1', order, { isAccepted: false });
    expect([direct.orders, relayed.orders]).toEqual([[order], []]);
    const before = pods.relayed.length;
    relayed.report(stopped());
    expect(pods.relayed).toHaveLength(before);
  });

  it('is believed through a relay only when that is as new as what the agent itself has told the leader', async () => {
    const direct = await agentAt(pods.leader, 7);
    direct.report(stopped());
    const relayed = await agentAt(pods.peer, 7);
    await pods.lead();
    direct.drop();
    await pods.clock.run(100);
    expect(pods.leader.facts('r1')).toMatchObject({ isConnected: true, isComplete: false, tick: 8 });
    expect(pods.leader.facts('r1')?.copies.get('a/1')).toMatchObject({ state: 'Stopped', order: 4 });
    relayed.report(stopped());
    expect(pods.leader.facts('r1')).toMatchObject({ isComplete: true, tick: 8 });
    expect(pods.leader.facts('r1')?.copies.get('a/1')).toMatchObject({ state: 'Stopped', order: 4 });
  });

  it.each([
    { when: 'an older start of the agent', hello: { incarnation: 0 } },
    { when: 'another disk than the Runner names', hello: { storeId: 'store-of-before' } },
  ])('is not believed when the other pod still holds a stream of $when', async ({ hello }) => {
    const direct = await agentAt(pods.leader);
    const old = new ScriptedAgent('r1', { hello }).dial(pods.peer);
    await pods.clock.run(1);
    old.inventory();
    await pods.lead();
    direct.drop();
    await pods.clock.run(60_000);
    expect(pods.leader.facts('r1')).toMatchObject({ isConnected: false, storeID: 'store-r1', incarnation: 1 });
    expect(pods.relayed.length).toBeLessThan(60);
  });

  it('is reached through one of several pods, and through another when that one loses it', async () => {
    const [first, second] = [await agentAt(pods.peer), await agentAt(pods.other)];
    await pods.lead(['pod-2:1', 'pod-3:1']);
    pods.leader.send('r1', order, { isAccepted: false });
    expect([...first.orders, ...second.orders]).toEqual([order]);
    const [used, spare] = first.orders.length === 1 ? [first, second] : [second, first];
    used.drop();
    await pods.clock.run(6_000);
    expect(pods.leader.reach('r1')).toBe('Relayed');
    pods.leader.send('r1', order, { isAccepted: false });
    expect(spare.orders).toEqual([order]);
  });

  it('is not connected when the other pod is not reached, and is again when it is', async () => {
    await agentAt(pods.peer);
    await pods.lead();
    pods.cut('pod-2:1');
    expect(pods.leader.reach('r1')).toBe('None');
    expect(pods.told.at(-1)).toEqual(['r1', 'Disconnected']);
    await pods.clock.run(1_000);
    expect(pods.leader.reach('r1')).toBe('Relayed');
  });

  it('is left when this pod leads no longer', async () => {
    await agentAt(pods.peer);
    await pods.lead();
    pods.stop.abort();
    await pods.clock.run(60_000);
    expect([pods.leader.reach('r1'), pods.isOpen('pod-2:1')]).toEqual(['None', false]);
  });

  it('a pod that is not who it says it is gets nothing, and is told why', async () => {
    pods.answer = () => Promise.resolve({ kind: 'Refused', code: 'PermissionDenied', message: 'No.' });
    await agentAt(pods.peer);
    await pods.lead();
    expect([pods.leader.reach('r1'), pods.relayed, pods.isOpen('pod-2:1')]).toEqual(['None', [], false]);
    pods.answer = (token) => noAuthentication.authenticate(token);
    await pods.clock.run(20_000);
    expect(pods.leader.reach('r1')).toBe('Relayed');
  });
});
