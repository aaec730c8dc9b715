import { beforeEach, describe, expect, it } from '@jest/globals';
import { CopyState, Wanted, type Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { FakeClock, settle } from '../../process/fake-clock.ts';
import { silentLogger, type Logger } from '../../process/log.ts';
import { ScriptedAgent, aReport, aRunnerReport } from '../../test/builders/scripted-agent.ts';
import { Hub, type FleetListener } from './controller.ts';
import { copyKey } from './facts.ts';
import type { AgentAuthenticator, Authentication } from './stream.ts';

const order = (number: number, uid = 'u'): Order => ({
  uid,
  namespace: 'default',
  name: uid,
  epoch: 1,
  order: number,
  storeId: 'store-r1',
  bootId: 'boot-r1',
  wanted: Wanted.WANTED_STOPPED,
  contentVersion: 0,
  source: undefined,
  config: undefined,
  graceSeconds: 1,
  credentials: [],
  secretEnv: [],
  backup: undefined,
});

describe('the hub', () => {
  let clock: FakeClock;
  let lines: string[];
  let told: unknown[];
  let answer: (token: string | undefined) => Promise<Authentication>;
  let hub: Hub;

  beforeEach(() => {
    clock = new FakeClock();
    lines = [];
    told = [];
    answer = (token) => Promise.resolve({ kind: 'Authenticated', identity: { nodeName: token ?? 'r1', expiresAt: undefined } });
    const log: Logger = { ...silentLogger, info: (_, message) => void lines.push(message), child: () => log };
    const authenticator: AgentAuthenticator = { authenticate: (token) => answer(token) };
    const own = { operatorName: 'operator-1', operatorVersion: '1.0', operatorID: 'operator-1_x' };
    hub = new Hub({ clock, log, ...own, authenticator });
    const listener: FleetListener = {
      copiesChanged: (runnerName, uids) => void told.push([runnerName, ...uids]),
      runnerChanged: (runnerName, what) => void told.push([runnerName, what]),
    };
    hub.subscribe(listener);
  });

  async function connected(runnerName = 'r1', options: ConstructorParameters<typeof ScriptedAgent>[1] = {}): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(runnerName, { token: runnerName, ...options }).dial(hub);
    await settle();
    return agent;
  }

  it('welcomes an agent, and says so in the words that people search for', async () => {
    const agent = await connected();
    expect(agent.heard).toEqual([
      {
        $case: 'welcome',
        value: { version: 1, capabilities: [], operatorName: 'operator-1', operatorVersion: '1.0', operatorId: 'operator-1_x' },
      },
    ]);
    expect(lines).toContain('Sandbox agent-r1-10-0-0-1-3001 connected successfully');
    expect(hub.instances()).toEqual([
      { instanceID: 'agent-r1-10-0-0-1-3001', runnerName: 'r1', agentID: 'agent-r1', storeID: 'store-r1', incarnation: 1, ageMs: 0 },
    ]);
  });

  it.each([
    { when: 'its token is of another node', hello: {}, token: 'r2', want: 'PermissionDenied', says: /node "r2".*runner "r1"/ },
    {
      when: 'it is too new',
      hello: { minVersion: 2, maxVersion: 3 },
      token: 'r1',
      want: 'FailedPrecondition',
      says: /speaks 2 to 3, operator 1.0 speaks 1/,
    },
    { when: 'it is too old', hello: { minVersion: 0, maxVersion: 0 }, token: 'r1', want: 'FailedPrecondition', says: /Upgrade/ },
    { when: 'it does not say which store', hello: { storeId: '' }, token: 'r1', want: 'InvalidArgument', says: /storeId/ },
  ])('refuses an agent clearly when $when', async ({ hello, token, want, says }) => {
    const agent = await connected('r1', { hello, token });
    expect(agent.ended).toEqual({ code: want, message: expect.stringMatching(says) });
    expect([agent.isWelcome, hub.instances(), hub.facts('r1')]).toEqual([false, [], undefined]);
  });

  it('refuses a token that is not valid, and says that it can not tell when it can not', async () => {
    answer = () => Promise.resolve({ kind: 'Refused', code: 'Unauthenticated', message: 'No.' });
    expect((await connected()).ended).toEqual({ code: 'Unauthenticated', message: 'No.' });
    answer = () => Promise.reject(new Error('the API server is away'));
    expect((await connected()).ended).toMatchObject({ code: 'Unavailable' });
  });

  it('ends a stream that says no Hello, and one whose token nobody checks', async () => {
    const silent = new ScriptedAgent('r1');
    hub.accept(silent);
    answer = () => new Promise(() => undefined);
    const unchecked = await connected('r2');
    clock.advance(9_999);
    expect([silent.ended, unchecked.ended]).toEqual([undefined, undefined]);
    clock.advance(1);
    expect([silent.ended?.code, unchecked.ended?.code]).toEqual(['InvalidArgument', 'Unavailable']);
    expect(clock.timers).toBe(0);
  });

  it('does not end a stream that was welcomed in time', async () => {
    const agent = await connected();
    clock.advance(60_000);
    expect(agent.ended).toBeUndefined();
  });

  it('keeps no more than 1024 streams that nobody has welcomed: those that say nothing go first, then new ones are refused', async () => {
    const silent = Array.from({ length: 1024 }, () => new ScriptedAgent('r0'));
    for (const stream of silent) hub.accept(stream);
    expect((await connected('r1')).isWelcome).toBe(true);
    expect(silent.map(({ ended }) => ended?.code)).toEqual(['ResourceExhausted', ...Array.from({ length: 1023 }, () => undefined)]);
    answer = () => new Promise(() => undefined);
    const asking = await Promise.all(Array.from({ length: 1024 }, (_, n) => connected(`a${n}`)));
    expect([silent, asking].map((streams) => streams.filter(({ ended }) => ended !== undefined).length)).toEqual([1024, 0]);
    expect((await connected('r2')).ended).toMatchObject({ code: 'ResourceExhausted' });
    clock.advance(10_000);
    answer = (token) => Promise.resolve({ kind: 'Authenticated', identity: { nodeName: token ?? '', expiresAt: undefined } });
    expect((await connected('r3')).isWelcome).toBe(true);
  });

  it('ends the stream with the token, unless a new one came', async () => {
    answer = (token) =>
      Promise.resolve({ kind: 'Authenticated', identity: { nodeName: 'r1', expiresAt: clock.now() + (token === 'new' ? 9_000 : 1_000) } });
    const agent = await connected();
    agent.say({ $case: 'tokenRenewal', value: { token: 'new' } });
    await settle();
    clock.advance(8_999);
    expect(agent.ended).toBeUndefined();
    clock.advance(1);
    expect(agent.ended).toMatchObject({ code: 'Unauthenticated' });
  });

  it('ends the stream when its token was revoked, and not when nobody can tell', async () => {
    const agent = await connected();
    const good = answer;
    answer = () => Promise.reject(new Error('the API server is away'));
    await clock.run(300_000);
    answer = good;
    await clock.run(300_000);
    expect(agent.ended).toBeUndefined();
    answer = () => Promise.resolve({ kind: 'Refused', code: 'Unauthenticated', message: 'The Node is gone.' });
    await clock.run(299_999);
    expect(agent.ended).toBeUndefined();
    await clock.run(1);
    expect(agent.ended).toEqual({ code: 'Unauthenticated', message: 'The token is not valid any more: The Node is gone.' });
    expect(clock.timers).toBe(0);
  });

  it('checks the newest token again', async () => {
    const agent = await connected();
    const asked: unknown[] = [];
    const good = answer;
    answer = (token) => {
      asked.push(token);
      return good('r1');
    };
    await clock.run(200_000);
    agent.say({ $case: 'tokenRenewal', value: { token: 'newer' } });
    await clock.run(299_000);
    expect(asked).toEqual(['newer']);
    await clock.run(1_000);
    expect(asked).toEqual(['newer', 'newer']);
  });

  it('ends the stream when the new token is of another node, and keeps it when the new token is merely bad', async () => {
    const agent = await connected();
    const good = answer;
    answer = () => Promise.resolve({ kind: 'Refused', code: 'Unauthenticated', message: 'No.' });
    agent.say({ $case: 'tokenRenewal', value: { token: 'bad' } });
    await settle();
    expect(agent.ended).toBeUndefined();
    answer = good;
    agent.say({ $case: 'tokenRenewal', value: { token: 'r2' } });
    await settle();
    expect(agent.ended).toMatchObject({ code: 'PermissionDenied' });
  });

  it.each([
    { when: 'anything before the Hello', say: (agent: ScriptedAgent) => agent.report() },
    { when: 'a second Hello', say: (agent: ScriptedAgent) => agent.say({ $case: 'hello', value: agent.hello }) },
  ])('ends a stream that says $when', async ({ when, say }) => {
    const agent = new ScriptedAgent('r1', { token: 'r1' });
    if (when.startsWith('a second')) agent.dial(hub);
    else {
      const receiver = hub.accept(agent);
      receiver.received({ message: { $case: 'report', value: { seq: 1, copies: [], runner: undefined, tick: 1 } } });
    }
    await settle();
    say(agent);
    expect(agent.ended).toMatchObject({ code: 'InvalidArgument' });
  });

  it('knows a runner from its complete inventory on, also one in parts, and tells whom it is about', async () => {
    const agent = await connected();
    const part = (copies: ReturnType<typeof aReport>[], last: boolean) =>
      agent.say({ $case: 'inventory', value: { seq: 7, copies, runner: last ? aRunnerReport : undefined, last, tick: 1 } });
    part([aReport('a', 1)], false);
    expect(hub.facts('r1')).toMatchObject({ isConnected: true, isComplete: false, copies: new Map() });
    part([aReport('b', 2)], true);
    const facts = hub.facts('r1');
    expect(facts).toMatchObject({ isComplete: true, storeID: 'store-r1', capacity: { cpuMillis: 8_000 } });
    expect([...(facts?.copies.keys() ?? [])]).toEqual(['a/1', 'b/2']);
    expect(told).toEqual([
      ['r1', 'a', 'b'],
      ['r1', 'Connected'],
    ]);
  });

  it('takes reports in sequence, and tells of those that a new inventory no longer names', async () => {
    const agent = await connected();
    agent.inventory(aReport('a', 1), aReport('b', 1));
    agent.report(aReport('a', 1, { state: CopyState.COPY_STATE_RUNNING, order: 4 }));
    expect(hub.facts('r1')?.copies.get(copyKey('a', 1))).toMatchObject({ state: 'Running', order: 4 });
    told.length = 0;
    agent.inventory(aReport('a', 1));
    expect(told[0]).toEqual(['r1', 'a', 'b']);
    expect(hub.facts('r1')?.copies.size).toBe(1);
  });

  it.each([
    { when: 'a report is missing', seq: 3 },
    { when: 'a report comes twice', seq: 1 },
  ])('drops the stream when $when, so that the agent begins with an inventory', async ({ seq }) => {
    const agent = await connected();
    agent.inventory();
    agent.say({ $case: 'report', value: { seq, copies: [aReport('a', 1)], runner: undefined, tick: 1 } });
    expect(agent.ended).toMatchObject({ code: 'Aborted' });
    expect(hub.facts('r1')).toMatchObject({ isConnected: false, isComplete: false });
    expect(hub.facts('r1')?.copies.size).toBe(0);
    agent.report(aReport('b', 1));
    expect(hub.facts('r1')?.copies.size).toBe(0);
  });

  it('keeps what was proven when the connection breaks, and forgets it with the store', async () => {
    const agent = await connected();
    agent.inventory(aReport('a', 1, { order: 3 }));
    agent.drop();
    expect(hub.facts('r1')).toMatchObject({ isConnected: false, isComplete: false });
    expect(hub.facts('r1')?.copies.has('a/1')).toBe(true);
    await connected('r1', { hello: { incarnation: 2 } });
    expect(hub.facts('r1')).toMatchObject({ isConnected: true, isComplete: false, incarnation: 2 });
    expect(hub.facts('r1')?.copies.has('a/1')).toBe(true);
    await connected('r1', { hello: { storeId: 'other' } });
    expect(hub.facts('r1')?.copies.size).toBe(0);
  });

  it('a newer stream of a runner replaces the older one, and the older one says nothing any more', async () => {
    const [old, next] = [await connected(), await connected('r1', { hello: { incarnation: 2 } })];
    expect(old.ended).toMatchObject({ code: 'Aborted' });
    next.inventory(aReport('a', 1));
    old.inventory(aReport('b', 1));
    old.drop();
    expect([...(hub.facts('r1')?.copies.keys() ?? [])]).toEqual(['a/1']);
    expect(hub.facts('r1')?.isConnected).toBe(true);
  });

  it('an agent that dials two addresses of this pod has two instances, and the newest stream speaks until it ends', async () => {
    const first = await connected();
    const second = await connected('r1', { hello: { instanceId: 'agent-r1-fd00-1' } });
    first.inventory(aReport('b', 1));
    second.inventory(aReport('a', 1));
    expect([first.ended, second.ended]).toEqual([undefined, undefined]);
    expect(hub.instances().map(({ instanceID }) => instanceID)).toEqual(['agent-r1-10-0-0-1-3001', 'agent-r1-fd00-1']);
    expect([...(hub.facts('r1')?.copies.keys() ?? [])]).toEqual(['a/1']);
    first.drop();
    expect(hub.facts('r1')).toMatchObject({ isConnected: true, isComplete: true });
    const third = await connected();
    second.drop();
    expect([third.ended, hub.facts('r1')?.isConnected]).toEqual([undefined, true]);
    await connected('r1', { hello: { instanceId: 'agent-r1-fd00-1' } });
    hub.instances();
    await connected('r1', { hello: { instanceId: 'agent-r1-fd00-1' } });
    expect(third.ended).toBeUndefined();
    const restarted = await connected('r1', { hello: { incarnation: 2, agentId: 'new', instanceId: 'new-10-0-0-1-3001' } });
    expect([third.ended?.code, restarted.ended]).toEqual(['Aborted', undefined]);
    expect(hub.instances().map(({ instanceID }) => instanceID)).toEqual(['new-10-0-0-1-3001']);
  });

  it('begins anew with the stream on the other address when the one that spoke has ended', async () => {
    const first = await connected();
    const second = await connected('r1', { hello: { instanceId: 'agent-r1-fd00-1' } });
    second.drop();
    expect(first.ended).toMatchObject({ code: 'Aborted' });
    expect([hub.instances(), hub.facts('r1')?.isConnected]).toEqual([[], false]);
  });

  it('tells agents of the other operator pods, those that come and those that are there', async () => {
    const early = await connected();
    hub.setPeers(['10.0.0.2:3001']);
    const late = await connected('r2');
    hub.setPeers([]);
    const peers = ({ heard }: ScriptedAgent) => heard.flatMap((message) => (message.$case === 'peers' ? [message.value.addresses] : []));
    expect([peers(early), peers(late)]).toEqual([
      [['10.0.0.2:3001'], []],
      [['10.0.0.2:3001'], []],
    ]);
  });

  it('says when a stream that was welcome has ended, and nothing of others', async () => {
    (await connected()).drop();
    (await connected('r1', { token: 'r2' })).drop();
    expect(lines.filter((line) => line.endsWith('disconnected'))).toEqual(['Sandbox agent-r1-10-0-0-1-3001 disconnected']);
  });

  it('a stream of an older start of the agent does not replace a newer one', async () => {
    const next = await connected('r1', { hello: { incarnation: 2 } });
    const old = await connected('r1', { hello: { incarnation: 1 } });
    expect([next.ended, old.ended?.code]).toEqual([undefined, 'Aborted']);
    expect(hub.facts('r1')?.incarnation).toBe(2);
  });

  it('sends an order once on each stream, again while it is not accepted, and not to who is not there', async () => {
    expect(hub.send('r1', order(1), { isAccepted: false })).toBe(false);
    const agent = await connected();
    const send = (number: number, isAccepted: boolean) => hub.send('r1', order(number), { isAccepted });
    expect([send(1, false), send(1, false), hub.sentOrder('r1', 'u', 1)]).toEqual([true, true, 1]);
    expect(agent.orders).toHaveLength(1);
    clock.advance(10_000);
    send(1, true);
    expect(agent.orders).toHaveLength(1);
    send(1, false);
    expect(agent.orders).toHaveLength(2);
    send(2, false);
    expect(agent.orders.map((one) => one.order)).toEqual([1, 1, 2]);
    agent.drop();
    expect([hub.sentOrder('r1', 'u', 1), send(2, true)]).toEqual([0, false]);
    const again = await connected();
    send(2, true);
    expect(again.orders).toHaveLength(1);
  });

  it('keeps the last refusal of a copy and tells whom it is about', async () => {
    const agent = await connected();
    agent.inventory();
    told.length = 0;
    agent.say({ $case: 'refusal', value: { uid: 'u', epoch: 1, order: 3, code: 'Superseded', message: 'no', highestOrder: 8 } });
    expect(hub.facts('r1')?.refusals.get('u/1')).toEqual({ order: 3, code: 'Superseded', highestOrder: 8 });
    expect(told).toEqual([['r1', 'u']]);
  });

  it('notices when bytes move, by its own clock', async () => {
    const agent = await connected();
    agent.inventory();
    const progress = (bytes: number, order = 1) =>
      agent.report(
        aReport('a', 1, { order, state: CopyState.COPY_STATE_PREPARING, progress: { phase: 'Pulling', bytes, totalBytes: 100 } }),
      );
    const progressAt = () => hub.facts('r1')?.copies.get('a/1')?.progressAt;
    progress(0);
    expect(progressAt()).toBeUndefined();
    clock.advance(1_000);
    progress(10);
    expect(progressAt()).toBe(1_000);
    clock.advance(1_000);
    progress(10);
    expect(progressAt()).toBe(1_000);
    progress(10, 2);
    expect(progressAt()).toBe(1_000);
    clock.advance(1_000);
    progress(4, 2);
    expect(progressAt()).toBe(1_000);
    progress(5, 2);
    expect(progressAt()).toBe(3_000);
  });

  it('ends every stream when it closes, and takes on no more', async () => {
    const agent = await connected();
    hub.close();
    expect(agent.ended).toMatchObject({ code: 'Unavailable' });
    expect((await connected('r2')).ended).toMatchObject({ code: 'Unavailable' });
  });

  it('does not grow with copies that came and went', async () => {
    const agent = await connected();
    agent.inventory();
    for (let n = 0; n < 2_000; n++) agent.report(aReport(`u${n}`, 1, { state: CopyState.COPY_STATE_ABSENT }));
    expect(hub.facts('r1')?.copies.size).toBe(512);
  });
});
