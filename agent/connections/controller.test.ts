import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger, type Logger } from '../../process/log.ts';
import { AnAgent } from '../copies/an-agent.ts';
import { anOrder, toStop } from '../copies/an-order.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { AgentMessage, OperatorMessage } from '../proto/gen/berth/agent/v1/agent.ts';
import { Connections } from './controller.ts';
import type { DnsAnswer } from './dns-answer.ts';
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

  welcome({ version = 1, operatorId = this.address }: { readonly version?: number; readonly operatorId?: string } = {}): void {
    this.say({ $case: 'welcome', value: { version, capabilities: [], operatorName: 'operator-1', operatorVersion: '1', operatorId } });
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

interface SetUp {
  readonly addresses?: readonly string[];
  readonly agent?: AnAgent;
  readonly mayLeaveMachine?: boolean;
}

const silence = (why: string): DnsAnswer => ({ kind: 'Silent', why });
const named = (...addresses: readonly string[]): DnsAnswer => ({ kind: 'Named', addresses, isComplete: true });

async function setUp({ addresses = ['10.0.0.1:3001'], agent, mayLeaveMachine = true }: SetUp = {}) {
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
  const warnings: string[] = [];
  const log: Logger = {
    ...silentLogger,
    info: (_: object, line: string) => void lines.push(line),
    warn: (_: object, line: string) => void warnings.push(line),
    error: (_: object, line: string) => void warnings.push(line),
  };
  const clock: FakeClock = copies.clock;
  const dns = { answer: silence('ENOTFOUND') };
  const connections = new Connections({
    ...{ addresses, identity, dialer, token, copies: copies.controller, clock, random: () => 0, log },
    discovery: { resolver: { resolve: () => Promise.resolve(dns.answer) }, mayLeaveMachine },
  });
  connections.start();
  const latest = (address = '10.0.0.1:3001') => {
    const stream = streams.findLast((one) => one.address === address);
    if (stream === undefined) throw new Error(`nobody dialled ${address}`);
    return stream;
  };
  const open = () => streams.filter(({ isClosed }) => !isClosed).map(({ address }) => address);
  return { agent: copies, connections, streams, latest, open, lines, warnings, tokens, clock, dns };
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
    const { agent, latest } = await setUp({ addresses: ['10.0.0.1:3001', '10.0.0.2:3001'] });
    latest('10.0.0.1:3001').welcome();
    latest('10.0.0.2:3001').welcome();
    latest('10.0.0.1:3001').say({ $case: 'order', value: anOrder({ storeId: 'other' }) });
    await agent.rest();
    expect(latest('10.0.0.1:3001').heard).toContain('refusal StoreMismatch');
    expect(latest('10.0.0.2:3001').heard).not.toContain('refusal StoreMismatch');
  });

  it('takes orders from any stream and tells all of them', async () => {
    const { agent, latest } = await setUp({ addresses: ['10.0.0.1:3001', '10.0.0.2:3001'] });
    latest('10.0.0.1:3001').welcome();
    latest('10.0.0.2:3001').welcome();
    latest('10.0.0.1:3001').say({ $case: 'order', value: anOrder() });
    await agent.rest();
    latest('10.0.0.2:3001').say({ $case: 'order', value: toStop(2) });
    await agent.rest();
    for (const address of ['10.0.0.1:3001', '10.0.0.2:3001']) expect(latest(address).heard.at(-1)).toMatch(/STOPPED/);
  });

  it('says on every stream how much it has told on any: streams that have told everything say the same, and one that is behind says less', async () => {
    const { agent, latest } = await setUp({ addresses: ['10.0.0.1:3001', '10.0.0.2:3001'] });
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
    const { latest } = await setUp({ agent });
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
    { what: 'a version that it does not speak', act: (stream: FakeStream) => stream.welcome({ version: 9 }) },
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
    const { agent, streams, latest, connections } = await setUp({ addresses: ['10.0.0.1:3001', '10.0.0.2:3001'] });
    latest('10.0.0.2:3001').welcome();
    const waits: number[] = [];
    for (let n = 1; n <= 9; n++) {
      const [count, from] = [streams.length, agent.clock.monotonic()];
      latest('10.0.0.1:3001').events.closed({ kind: 'Lost', message: 'refused' });
      while (streams.length === count) await agent.rest(10);
      waits.push(agent.clock.monotonic() - from);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
    expect(streams.filter(({ address }) => address === '10.0.0.2:3001')).toHaveLength(1);
    expect(connections.states().map(({ status }) => status)).toEqual(['Lost', 'Connected']);
  });

  it('dials soon again after a connection that lasted', async () => {
    const { agent, streams, latest } = await setUp();
    for (let n = 0; n < 5; n++) {
      latest().welcome();
      await agent.rest(2_000);
      latest().events.closed({ kind: 'Lost', message: 'gone' });
      const count = streams.length;
      await agent.rest(260);
      expect(streams).toHaveLength(count + 1);
    }
  });

  it('asks DNS for the operators of a name again and again: new ones are dialled at once, those gone are left a while later, the others stay', async () => {
    const { agent, dns, streams, open, latest, connections } = await setUp({ addresses: ['berth-operator.berth-system.svc:3001'] });
    dns.answer = named('10.0.0.2', '10.0.0.1');
    await agent.rest(1_000);
    expect(open()).toEqual(['10.0.0.1:3001', '10.0.0.2:3001']);
    for (const stream of streams) stream.welcome();
    dns.answer = named('10.0.0.2', 'fd00::3');
    await agent.rest(5_000);
    expect(open()).toEqual(['10.0.0.1:3001', '10.0.0.2:3001', '[fd00::3]:3001']);
    expect(latest('[fd00::3]:3001').heard).toEqual(['hello']);
    await agent.rest(15_000);
    expect(connections.states().map(({ address }) => address)).toEqual(['10.0.0.2:3001', '[fd00::3]:3001']);
    expect(latest('10.0.0.1:3001').isClosed).toBe(true);
    expect(streams.filter(({ address }) => address === '10.0.0.2:3001')).toHaveLength(1);
  });

  it('keeps its connections while DNS says nothing, and says so once', async () => {
    const { agent, dns, open, warnings, lines, latest } = await setUp({ addresses: ['operators:3001'] });
    await agent.rest();
    expect(warnings).toEqual(['DNS names no operators yet']);
    dns.answer = named('10.0.0.1');
    await agent.rest(1_000);
    latest().welcome();
    for (const answer of [silence('ETIMEOUT'), silence('ENOTFOUND')]) {
      dns.answer = answer;
      await agent.rest(3_600_000);
    }
    expect(open()).toEqual(['10.0.0.1:3001']);
    expect(warnings).toEqual(['DNS names no operators yet', 'DNS names no operators any more, their connections are kept']);
    dns.answer = named('10.0.0.1');
    await agent.rest(10_000);
    expect(lines.filter((line) => line === 'DNS names operators again')).toHaveLength(2);
    dns.answer = { kind: 'Named', addresses: ['fd00::1'], isComplete: false };
    await agent.rest(60_000);
    expect(open()).toEqual(['10.0.0.1:3001', '[fd00::1]:3001']);
  });

  it('looks again soon while a name was never answered', async () => {
    const { agent, dns, open } = await setUp({ addresses: ['operators:3001'] });
    dns.answer = named('10.0.0.1');
    await agent.rest(300);
    expect(open()).toEqual(['10.0.0.1:3001']);
  });

  it('dials the peers that a connected operator tells of, and leaves them a while after nobody tells of them any more', async () => {
    const { agent, open, latest } = await setUp();
    latest().welcome();
    latest().say({ $case: 'peers', value: { addresses: ['10.0.0.1:3001', '10.0.0.9:3001', 'nonsense'] } });
    await agent.rest();
    expect(open()).toEqual(['10.0.0.1:3001', '10.0.0.9:3001']);
    latest('10.0.0.9:3001').welcome();
    await agent.rest(60_000);
    latest().events.closed({ kind: 'Lost', message: 'gone' });
    await agent.rest(14_000);
    expect(open()).toContain('10.0.0.9:3001');
    latest().welcome();
    latest().say({ $case: 'peers', value: { addresses: ['10.0.0.9:3001'] } });
    await agent.rest(60_000);
    expect(latest('10.0.0.9:3001').isClosed).toBe(false);
    latest().say({ $case: 'peers', value: { addresses: [] } });
    await agent.rest(14_000);
    expect(latest('10.0.0.9:3001').isClosed).toBe(false);
    await agent.rest(2_000);
    expect(latest('10.0.0.9:3001').isClosed).toBe(true);
  });

  it('dials nobody on another machine whom it can not verify, whoever names it', async () => {
    const { agent, dns, open, latest, warnings } = await setUp({ addresses: ['127.0.0.1:3001', 'operators:3001'], mayLeaveMachine: false });
    dns.answer = named('10.0.0.1', '127.0.0.2');
    await agent.rest(20_000);
    latest('127.0.0.1:3001').welcome();
    latest('127.0.0.1:3001').say({ $case: 'peers', value: { addresses: ['10.0.0.7:3001', '127.0.0.3:3001'] } });
    await agent.rest();
    expect(new Set(open())).toEqual(new Set(['127.0.0.1:3001', '127.0.0.2:3001', '127.0.0.3:3001']));
    expect(warnings).toContain('Operators on other machines are not dialled without an authority to verify them by');
  });

  it('keeps one stream to an operator that has two addresses, the newest, and takes the other address when that is lost', async () => {
    const { agent, connections, open, latest, streams } = await setUp({ addresses: ['10.0.0.1:3001', '[fd00::1]:3001'] });
    latest('10.0.0.1:3001').welcome({ operatorId: 'one' });
    latest('[fd00::1]:3001').welcome({ operatorId: 'one' });
    await agent.rest(60_000);
    expect(open()).toEqual(['[fd00::1]:3001']);
    expect(connections.states()).toMatchObject([{ address: '[fd00::1]:3001', status: 'Connected' }]);
    expect(streams).toHaveLength(2);
    latest('[fd00::1]:3001').events.closed({ kind: 'Lost', message: 'gone' });
    await agent.rest(5_000);
    latest('10.0.0.1:3001').welcome({ operatorId: 'one' });
    await agent.rest(60_000);
    expect(connections.states()).toMatchObject([{ address: '10.0.0.1:3001', status: 'Connected' }]);
    expect(latest('10.0.0.1:3001').isClosed).toBe(false);
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
    const { agent, streams, lines, latest } = await setUp({ addresses: ['10.244.1.5:3001', '10.244.1.6:3001', '10.244.1.7:3001'] });
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
    lines.length = 0;
    latest('10.244.1.6:3001').events.closed({ kind: 'Lost', message: 'gone' });
    await agent.rest(1_000);
    latest('10.244.1.6:3001').welcome();
    expect(lines).toEqual(['Disconnected from scheduler at 10.244.1.6:3001', 'Connected to scheduler at 10.244.1.6:3001']);
  });

  it('names the operators that are left when one is gone', async () => {
    const { agent, dns, streams, lines } = await setUp({ addresses: ['operators:3001'] });
    dns.answer = named('10.0.0.9', '10.0.0.10');
    await agent.rest(1_000);
    for (const stream of streams) stream.welcome();
    dns.answer = named('10.0.0.10');
    await agent.rest(30_000);
    expect(lines.slice(-3)).toEqual([
      'Managing connections to 2 scheduler(s): [10.0.0.9:3001 10.0.0.10:3001]',
      'Removing connection to scheduler at 10.0.0.9:3001',
      'Managing connections to 1 scheduler(s): [10.0.0.10:3001]',
    ]);
  });
});
