import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { AnAgent } from '../copies/an-agent.ts';
import { anOrder, toStop } from '../copies/an-order.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, OperatorMessage } from '../proto/gen/berth/agent/v1/agent.ts';
import { Connections } from './controller.ts';
import { copiesPerMessage } from './inventory-parts.ts';
import type { Dialer, StreamEvents } from './stream.ts';
import type { TokenSource } from './token.client.ts';

/** An operator pod in a test: what it was sent, and what it says. */
class FakeStream {
  readonly address: string;
  readonly token: string | undefined;
  readonly events: StreamEvents;
  readonly sent: NonNullable<AgentMessage['message']>[] = [];
  isClosed = false;
  hasRoom = true;

  constructor(address: string, token: string | undefined, events: StreamEvents) {
    this.address = address;
    this.token = token;
    this.events = events;
  }

  say(message: OperatorMessage['message']): void {
    this.events.received({ message });
  }

  welcome(version = 1): void {
    this.say({ $case: 'welcome', value: { version, capabilities: [], operatorName: 'operator-1', operatorVersion: '1' } });
  }

  /** What came, in short. */
  get heard(): string[] {
    return this.sent.map((message) => {
      if (message.$case === 'inventory') return `inventory ${message.value.seq}${message.value.last ? '' : '…'}`;
      if (message.$case === 'report') {
        const copies = message.value.copies.map(({ uid, state }) => `${uid} ${stateNames.get(state) ?? ''}`);
        return ['report', message.value.seq, ...copies, ...(message.value.runner === undefined ? [] : ['runner'])].join(' ');
      }
      return message.$case === 'refusal' ? `refusal ${message.value.code}` : message.$case;
    });
  }
}

const stateNames = new Map(Object.entries(CopyState).map(([name, value]) => [value, name.replace('COPY_STATE_', '')]));

const identity = {
  ...{ runnerName: 'node-1', storeID: 'store-1', incarnation: 3, agentID: 'base', bootID: 'boot-1', installID: 'berth', version: '0.1.0' },
};

async function setUp(addresses: readonly string[] = ['10.0.0.1:3001'], agent?: AnAgent) {
  const copies = agent ?? (await AnAgent.started());
  const streams: FakeStream[] = [];
  const lines: string[] = [];
  const tokens: { value: string; listener?: (token: string) => void } = { value: 'token-1' };
  const dialer: Dialer = {
    dial: (address, token, events) => {
      const stream = new FakeStream(address, token, events);
      streams.push(stream);
      return {
        send: ({ message }) => {
          if (message !== undefined) stream.sent.push(message);
          return stream.hasRoom;
        },
        close: () => {
          stream.isClosed = true;
        },
        transfer: () => {
          throw new Error('nothing is transferred here');
        },
      };
    },
  };
  const token: TokenSource = {
    current: () => tokens.value,
    onChange: (listener) => {
      tokens.listener = listener;
    },
  };
  const log = { ...silentLogger, info: (_: object, line: string) => void lines.push(line) };
  const clock: FakeClock = copies.clock;
  const connections = new Connections({ addresses, identity, dialer, token, copies: copies.controller, clock, random: () => 0, log });
  connections.start();
  const latest = (address = '10.0.0.1:3001') => {
    const stream = streams.findLast((one) => one.address === address);
    if (stream === undefined) throw new Error(`nobody dialled ${address}`);
    return stream;
  };
  return { agent: copies, connections, streams, latest, lines, tokens, clock };
}

describe('connections', () => {
  it('greets with its identity and its instance id at this address, and waits for Welcome', async () => {
    const { agent, latest } = await setUp();
    await agent.rest();
    expect(latest().token).toBe('token-1');
    expect(latest().heard).toEqual(['hello']);
    expect(latest().sent[0]?.value).toMatchObject({
      minVersion: 1,
      maxVersion: 1,
      runnerName: 'node-1',
      storeId: 'store-1',
      incarnation: 3,
      agentId: 'base',
      bootId: 'boot-1',
      instanceId: 'base-10-0-0-1-3001',
    });
  });

  it('tells everything first, then every change under numbers without a gap', async () => {
    const { agent, latest } = await setUp();
    latest().welcome();
    await agent.rest();
    latest().say({ $case: 'order', value: anOrder() });
    await agent.rest();
    latest().say({ $case: 'order', value: toStop(2) });
    await agent.rest();
    expect(latest().heard[1]).toBe('inventory 1');
    expect(latest().heard.at(-1)).toMatch(/^report \d+ u1 STOPPED runner$/);
    const numbers = latest().sent.flatMap((message) =>
      message.$case === 'inventory' || message.$case === 'report' ? [message.value.seq] : [],
    );
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });

  it('answers a refused order on the stream that it came from only', async () => {
    const { agent, latest } = await setUp(['10.0.0.1:3001', '10.0.0.2:3001']);
    latest('10.0.0.1:3001').welcome();
    latest('10.0.0.2:3001').welcome();
    latest('10.0.0.1:3001').say({ $case: 'order', value: anOrder({ storeId: 'other' }) });
    await agent.rest();
    expect(latest('10.0.0.1:3001').heard).toContain('refusal StoreMismatch');
    expect(latest('10.0.0.2:3001').heard).not.toContain('refusal StoreMismatch');
  });

  it('takes orders from any stream and tells all of them', async () => {
    const { agent, latest } = await setUp(['10.0.0.1:3001', '10.0.0.2:3001']);
    latest('10.0.0.1:3001').welcome();
    latest('10.0.0.2:3001').welcome();
    latest('10.0.0.1:3001').say({ $case: 'order', value: anOrder() });
    await agent.rest();
    latest('10.0.0.2:3001').say({ $case: 'order', value: toStop(2) });
    await agent.rest();
    for (const address of ['10.0.0.1:3001', '10.0.0.2:3001']) expect(latest(address).heard.at(-1)).toMatch(/STOPPED/);
  });

  it('says on every stream how much it has told on any: streams that have told everything say the same, and one that is behind says less', async () => {
    const { agent, latest } = await setUp(['10.0.0.1:3001', '10.0.0.2:3001']);
    latest('10.0.0.1:3001').welcome();
    await agent.rest();
    agent.controller.deliver(anOrder());
    await agent.rest();
    latest('10.0.0.2:3001').welcome();
    await agent.rest();
    const ticks = (address: string) =>
      latest(address).sent.flatMap((message) => (message.$case === 'inventory' || message.$case === 'report' ? [message.value.tick] : []));
    expect(ticks('10.0.0.2:3001')).toEqual([ticks('10.0.0.1:3001').at(-1)]);
    expect(ticks('10.0.0.1:3001')).toEqual(ticks('10.0.0.1:3001').toSorted((a, b) => a - b));
    latest('10.0.0.2:3001').hasRoom = false;
    agent.controller.deliver(toStop(2));
    await agent.rest();
    agent.controller.deliver(anOrder({ uid: 'u2' }));
    await agent.rest();
    expect(ticks('10.0.0.1:3001').at(-1)).toBeGreaterThan(ticks('10.0.0.2:3001').at(-1) ?? Infinity);
  });

  it('sends one newest report for each copy when a pod reads slowly', async () => {
    const { agent, latest } = await setUp();
    latest().welcome();
    await agent.rest();
    latest().hasRoom = false;
    agent.controller.deliver(anOrder());
    await agent.rest();
    agent.controller.deliver(anOrder({ uid: 'u2' }));
    await agent.rest();
    const before = latest().heard.length;
    agent.controller.deliver(toStop(2));
    await agent.rest();
    agent.controller.deliver(toStop(3));
    await agent.rest();
    expect(latest().heard).toHaveLength(before);
    latest().hasRoom = true;
    latest().events.drained();
    await agent.rest();
    expect(latest().heard.slice(before)).toEqual([
      expect.stringMatching(/^report \d+ (u1 STOPPED u2 RUNNING|u2 RUNNING u1 STOPPED) runner$/),
    ]);
  });

  it('sends a large inventory in parts of one number', async () => {
    const agent = await AnAgent.started({ capacity: { cpuMillis: 1e9, memoryBytes: 1e9, diskBytes: 1e9 } });
    for (let n = 0; n < copiesPerMessage + 1; n++) agent.controller.deliver(toStop(1, { uid: `u${n}` }));
    await agent.rest();
    const { latest } = await setUp(['10.0.0.1:3001'], agent);
    latest().welcome();
    await agent.rest();
    expect(latest().heard).toEqual(['hello', 'inventory 1…', 'inventory 1']);
    const counts = latest().sent.map((message) => (message.$case === 'inventory' ? message.value.copies.length : 0));
    expect(counts).toEqual([0, copiesPerMessage, 1]);
  });

  it('tells everything again when the runtime was listed anew', async () => {
    const { agent, latest } = await setUp();
    latest().welcome();
    await agent.rest();
    agent.machine.emit({ kind: 'Resubscribed' });
    await agent.rest();
    expect(latest().heard).toEqual(['hello', 'inventory 1', 'inventory 2']);
  });

  it('shows a new token on the stream that is up, and opens the next one with it', async () => {
    const { agent, latest, tokens } = await setUp();
    latest().welcome();
    await agent.rest();
    tokens.value = 'token-2';
    tokens.listener?.('token-2');
    await agent.rest();
    expect(latest().sent.at(-1)).toEqual({ $case: 'tokenRenewal', value: { token: 'token-2' } });
    latest().events.closed({ kind: 'Lost', message: 'gone' });
    await agent.rest(1000);
    expect(latest().token).toBe('token-2');
  });

  it.each([
    { what: 'a version that it does not speak', act: (stream: FakeStream) => stream.welcome(9) },
    { what: 'orders before Welcome', act: (stream: FakeStream) => stream.say({ $case: 'order', value: anOrder() }) },
  ])('leaves an operator that sends $what, and says why', async ({ act }) => {
    const { agent, connections, latest } = await setUp();
    const stream = latest();
    act(stream);
    await agent.rest(10);
    expect(stream.isClosed).toBe(true);
    expect(connections.states()).toMatchObject([{ status: 'Refused' }]);
    expect(agent.machine.done).toEqual([]);
  });

  it('leaves an operator that does not answer, and dials again', async () => {
    const { agent, connections, streams } = await setUp();
    await agent.rest(10_001);
    expect(streams[0]?.isClosed).toBe(true);
    expect(connections.states()).toMatchObject([{ status: 'Lost' }]);
    await agent.rest(1000);
    expect(streams).toHaveLength(2);
  });

  it('dials again with a growing wait, alone; the others do not notice', async () => {
    const { agent, streams, latest, connections } = await setUp(['10.0.0.1:3001', '10.0.0.2:3001']);
    latest('10.0.0.2:3001').welcome();
    const waits: number[] = [];
    for (let n = 1; n <= 9; n++) {
      const [count, from] = [streams.length, agent.clock.monotonic()];
      latest('10.0.0.1:3001').events.closed({ kind: 'Lost', message: 'refused' });
      while (streams.length === count) await agent.rest(10);
      waits.push(agent.clock.monotonic() - from);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    expect(streams.filter(({ address }) => address === '10.0.0.2:3001')).toHaveLength(1);
    expect(connections.states().map(({ status }) => status)).toEqual(['Lost', 'Connected']);
  });

  it('dials soon again after a connection that lasted', async () => {
    const { agent, streams, latest } = await setUp();
    for (let n = 0; n < 5; n++) {
      latest().welcome();
      await agent.rest(20_000);
      latest().events.closed({ kind: 'Lost', message: 'gone' });
      const count = streams.length;
      await agent.rest(260);
      expect(streams).toHaveLength(count + 1);
    }
  });

  it('follows a changed set of operators: new ones are dialled, those gone are left, the others stay', async () => {
    const { agent, connections, streams, latest } = await setUp(['10.0.0.1:3001', '10.0.0.2:3001']);
    for (const stream of streams) stream.welcome();
    await agent.rest();
    connections.use(['10.0.0.2:3001', '10.0.0.3:3001']);
    await agent.rest();
    expect(streams.map(({ address, isClosed }) => `${address} ${String(isClosed)}`)).toEqual([
      '10.0.0.1:3001 true',
      '10.0.0.2:3001 false',
      '10.0.0.3:3001 false',
    ]);
    expect(latest('10.0.0.3:3001').heard).toEqual(['hello']);
  });

  it('remembers the peers that operators tell of and that are not dialled', async () => {
    const { agent, connections, latest } = await setUp();
    latest().welcome();
    latest().say({ $case: 'peers', value: { addresses: ['10.0.0.1:3001', '10.0.0.9:3001'] } });
    await agent.rest();
    expect(connections.knownPeers()).toEqual(['10.0.0.9:3001']);
  });

  it('closes every stream at the end and dials no more', async () => {
    const { agent, connections, streams, latest } = await setUp();
    latest().welcome();
    await agent.rest();
    connections.stop();
    await agent.rest(60_000);
    expect(streams.map(({ isClosed }) => isClosed)).toEqual([true]);
  });

  it('logs the lines that people search for, word for word', async () => {
    const { agent, streams, lines } = await setUp(['10.244.1.5:3001', '10.244.1.6:3001', '10.244.1.7:3001']);
    for (const stream of streams) stream.welcome();
    await agent.rest();
    expect(lines).toEqual([
      'Sandbox base ID: base',
      'Connecting to new scheduler at 10.244.1.5:3001',
      'Connecting to new scheduler at 10.244.1.6:3001',
      'Connecting to new scheduler at 10.244.1.7:3001',
      'Connected to scheduler at 10.244.1.5:3001',
      'Connected to scheduler at 10.244.1.6:3001',
      'Connected to scheduler at 10.244.1.7:3001',
      'Managing connections to 3 scheduler(s): [10.244.1.5:3001 10.244.1.6:3001 10.244.1.7:3001]',
    ]);
  });
});
