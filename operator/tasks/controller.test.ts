import { describe, expect, it } from '@jest/globals';
import { FakeApi } from '../../kube/fake-api.ts';
import { KubeError } from '../../kube/errors.ts';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { ApiError } from '../http/errors.ts';
import { Reservations } from '../reservations/controller.ts';
import { ModelledAgent, ModelledLink } from './a-modelled-agent.ts';
import type { Agents } from './agents.client.ts';
import { Tasks, type Submission } from './controller.ts';
import { KeyClaims } from './key-claims.client.ts';
import { submitBody } from './schemas.ts';
import { Transfers } from './transfers.server.ts';

/** A value that is there. */
function some<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none');
  return value;
}

/** Pods that share an API server and agents. */
function setUp(slots: Readonly<Record<string, number>>, pods = 1) {
  const clock = new FakeClock();
  const api = new FakeApi();
  const agents = Object.entries(slots).map(([name, count]) => new ModelledAgent(name, count));
  const all = Array.from({ length: pods }, () => {
    const link = new ModelledLink(agents);
    const openRunners = () =>
      agents.filter(({ runnerName }) => !link.cut.has(runnerName)).map((agent) => ({ runnerName: agent.runnerName, slots: agent.state }));
    const reservations = new Reservations({ agents: link, openRunners, clock, log: silentLogger });
    const tasks = new Tasks({
      agents: link as unknown as Agents,
      reservations,
      keys: new KeyClaims({ transport: api, namespace: 'berth-system', clock, log: silentLogger }),
      transfers: new Transfers(link, clock),
      storeOf: (name) => agents.find(({ runnerName }) => runnerName === name && !link.cut.has(name))?.storeID,
      sandboxOf: ({ name }) =>
        name === 'box'
          ? Promise.resolve({ uid: 'u', contentVersion: 3, runnerName: 'r1' })
          : Promise.reject(new ApiError('SandboxNotFound')),
      credentialsIn: (namespace, named) =>
        Promise.resolve(named.map(({ name }) => ({ host: `${namespace}.registry`, username: name, password: 'secret' }))),
      clock,
    });
    return { link, tasks };
  });
  const claims = () => api.objects({ group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true }).length;
  return { clock, api, agents, pods: all, claims, pod: (index: number) => some(all[index]) };
}
const submission = (body: object, idempotencyKey?: string, caller = 'ann'): Submission => ({
  ...{ caller, idempotencyKey, signal: new AbortController().signal },
  body: submitBody.parse(body),
});
const oneShot = { image: 'i', command: ['a'] };
const inBox = { sandbox: { name: 'box' }, command: ['a'] };
const turns = async () => {
  for (let turn = 0; turn < 200; turn++) await Promise.resolve();
};
const tasksOf = (agents: readonly ModelledAgent[]) => agents.flatMap(({ tasks }) => [...tasks.keys()]);

describe('submitting a task', () => {
  it('runs a one-shot where a slot is free, without a reservation', async () => {
    const { pod, agents, claims } = setUp({ r1: 0, r2: 1 });
    const { id } = await pod(0).tasks.submit(submission(oneShot));
    expect([id.runnerName, id.storeID, tasksOf(agents)]).toEqual(['r2', '5-r2', [id.uuid]]);
    expect([claims(), agents[1]?.reservations.size]).toEqual([0, 0]);
  });
  it('gives the agent what the Secrets hold that it names in its namespace', async () => {
    const { pod } = setUp({ r1: 1 });
    const { link } = pod(0);
    const given: unknown[] = [];
    const ask = link.ask.bind(link);
    link.ask = (runnerName, asked) => {
      if (asked.$case === 'submit') given.push(...asked.value.credentials);
      return ask(runnerName, asked);
    };
    await pod(0).tasks.submit(submission({ ...oneShot, namespace: 'team', imagePullSecrets: [{ name: 'pull' }] }));
    expect(given).toEqual([{ host: 'team.registry', username: 'pull', password: 'secret' }]);
  });
  it('waits for a slot, and runs it there', async () => {
    const { pod, agents } = setUp({ r1: 1 });
    const { id: first } = await pod(0).tasks.submit(submission(oneShot));
    const second = pod(0).tasks.submit(submission(oneShot));
    await turns();
    agents[0]?.end(first.uuid);
    const { id } = await second;
    expect(tasksOf(agents)).toEqual([first.uuid, id.uuid]);
  });
  it('runs in a sandbox where that is, and nowhere else', async () => {
    const { pod, agents } = setUp({ r1: 1, r2: 4 });
    const { id } = await pod(0).tasks.submit(submission(inBox));
    expect(id.runnerName).toBe('r1');
    await expect(pod(0).tasks.submit(submission({ ...inBox, queueSeconds: 0 }))).rejects.toMatchObject({ code: 'NoSlot', status: 503 });
    await expect(pod(0).tasks.submit(submission({ ...inBox, sandbox: { name: 'other' } }))).rejects.toMatchObject({
      code: 'SandboxNotFound',
    });
    expect(tasksOf(agents).length).toBe(1);
  });
  it('runs once under a reservation', async () => {
    const { pod, agents } = setUp({ r1: 1 }, 2);
    agents[0]?.reservations.set('1.5-r1.r1', { caller: 'ann', taskID: '' });
    const body = { ...oneShot, reservationID: '1.5-r1.r1' };
    const first = await pod(0).tasks.submit(submission(body));
    const second = await pod(1).tasks.submit(submission(body));
    expect([second.id, second.state.repeated, tasksOf(agents).length]).toEqual([first.id, true, 1]);
    await expect(pod(0).tasks.submit(submission({ ...oneShot, reservationID: '2.5-r1.r1' }))).rejects.toMatchObject({
      code: 'ReservationGone',
    });
    await expect(pod(0).tasks.submit(submission({ ...oneShot, reservationID: 'nonsense' }))).rejects.toMatchObject({
      code: 'ReservationGone',
    });
  });
  it('says when nobody knows whether it was done, and of which task', async () => {
    const { pod } = setUp({ r1: 1 });
    pod(0).link.mute.add('r1');
    const asked = pod(0).tasks.submit(submission(inBox));
    await expect(asked).rejects.toMatchObject({
      code: 'OutcomeUnknown',
      status: 503,
      details: { taskID: expect.stringMatching(/\.5-r1\.r1$/) as unknown },
    });
  });
});

describe('the same key', () => {
  it('runs a one-shot once, through whatever pods and however often', async () => {
    const { pods, agents, claims } = setUp({ r1: 4, r2: 4, r3: 4 }, 3);
    const answers = await Promise.all([...pods, ...pods].map(({ tasks }) => tasks.submit(submission(oneShot, 'k'))));
    expect(new Set(answers.map(({ id }) => id.uuid)).size).toBe(1);
    expect(tasksOf(agents).length).toBe(1);
    expect(agents.reduce((sum, { state }) => sum + state.reserved, 0)).toBe(0);
    expect(claims()).toBe(1);
  });
  it('is that of one caller', async () => {
    const { pod, agents } = setUp({ r1: 4 });
    await pod(0).tasks.submit(submission(oneShot, 'k', 'ann'));
    await pod(0).tasks.submit(submission(oneShot, 'k', 'bob'));
    expect(tasksOf(agents).length).toBe(2);
  });
  it('for another request is a conflict, and how long one waits makes it no other', async () => {
    const { pod } = setUp({ r1: 4 });
    const { id } = await pod(0).tasks.submit(submission(oneShot, 'k'));
    await expect(pod(0).tasks.submit(submission({ ...oneShot, args: ['b'] }, 'k'))).rejects.toMatchObject({
      code: 'IdempotencyConflict',
      status: 409,
    });
    expect((await pod(0).tasks.submit(submission({ ...oneShot, waitSeconds: 0, queueSeconds: 3 }, 'k'))).id).toEqual(id);
  });
  it('can not be claimed while the API server is away, and nothing is run', async () => {
    const { pod, api, agents } = setUp({ r1: 4 });
    api.intercept = () => {
      throw new KubeError('Unreachable', 'it is away');
    };
    await expect(pod(0).tasks.submit(submission(oneShot, 'k'))).rejects.toMatchObject({
      code: 'ClaimUnavailable',
      status: 503,
      retryAfter: 2,
    });
    expect(tasksOf(agents)).toEqual([]);
  });
  it('finishes what a pod that ended began: the slot was written down, and nothing sent', async () => {
    const { pod, api, agents } = setUp({ r1: 4 }, 2);
    pod(0).link.ask = (runnerName, asked) =>
      asked.$case === 'submit' ? new Promise(() => undefined) : ModelledLink.prototype.ask.call(pod(0).link, runnerName, asked);
    void pod(0).tasks.submit(submission(oneShot, 'k'));
    await turns();
    expect(api.requests.filter(({ verb }) => verb === 'patch').length).toBe(1);
    await pod(1).tasks.submit(submission(oneShot, 'k'));
    expect([tasksOf(agents).length, agents[0]?.state]).toEqual([1, expect.objectContaining({ used: 1, reserved: 0 })]);
  });
  it('is placed anew when the slot was given up before anything ran', async () => {
    const { pod, agents } = setUp({ r1: 4 }, 2);
    pod(0).link.ask = (runnerName, asked) =>
      asked.$case === 'submit' ? new Promise(() => undefined) : ModelledLink.prototype.ask.call(pod(0).link, runnerName, asked);
    void pod(0).tasks.submit(submission(oneShot, 'k'));
    await turns();
    agents[0]?.reservations.clear();
    const { id } = await pod(1).tasks.submit(submission(oneShot, 'k'));
    expect(tasksOf(agents)).toEqual([id.uuid]);
  });
  it('reserves one slot', async () => {
    const { pods, agents } = setUp({ r1: 4 }, 2);
    const reserve = (index: number) => {
      const reservations = new Reservations({
        agents: some(pods[index]).link,
        openRunners: () => agents.map((agent) => ({ runnerName: agent.runnerName, slots: agent.state })),
        ...{ clock: new FakeClock(), log: silentLogger },
      });
      const request = { caller: 'ann', ttlMs: 1, waitMs: 1, signal: new AbortController().signal };
      return pods[index]?.tasks.reserveOnce('k', 'ann', 'h', () => reservations.reserve(request));
    };
    const [one, other] = await Promise.all([reserve(0), reserve(1)]);
    expect(one).toEqual(other);
    await turns();
    expect(agents[0]?.state).toMatchObject({ reserved: 1 });
  });
  it('is forgotten when it is old and its task is over', async () => {
    const { pod, clock, agents } = setUp({ r1: 4 });
    const { id } = await pod(0).tasks.submit(submission(oneShot, 'k'));
    clock.advance(16 * 60_000);
    expect((await pod(0).tasks.submit(submission(oneShot, 'k'))).id).toEqual(id);
    agents[0]?.end(id.uuid);
    expect((await pod(0).tasks.submit(submission(oneShot, 'k'))).id).not.toEqual(id);
  });
});

describe('waiting for a task', () => {
  it('ends when it ends, or when the wait does', async () => {
    const { pod, clock, agents } = setUp({ r1: 4 });
    const { id } = await pod(0).tasks.submit(submission(oneShot));
    const signal = new AbortController().signal;
    const short = pod(0).tasks.wait(id, 1_000, signal);
    const long = pod(0).tasks.wait(id, 60_000, signal);
    await turns();
    clock.advance(1_000);
    expect(await short).toMatchObject({ taskId: id.uuid, phase: 2 });
    agents[0]?.end(id.uuid);
    const ended = agents[0]?.tasks.get(id.uuid);
    pod(0).tasks.event('r1', { $case: 'task', value: some(ended) });
    expect(await long).toMatchObject({ phase: 3 });
    expect(await pod(0).tasks.wait(id, 60_000, signal)).toMatchObject({ phase: 3 });
  });
  it('asks nobody when it was just submitted, and misses no end that was told in the same turn', async () => {
    const { pod, clock, agents } = setUp({ r1: 4 });
    const { tasks, link } = pod(0);
    const { id, state } = await tasks.submit(submission(oneShot));
    agents[0]?.end(id.uuid);
    tasks.event('r1', { $case: 'task', value: some(agents[0]?.tasks.get(id.uuid)) });
    link.cut.add('r1');
    const signal = new AbortController().signal;
    expect(await tasks.wait(id, 60_000, signal, { known: state })).toMatchObject({ phase: 3 });
    // Who is told with another that watches already, too.
    const first = tasks.wait(id, 60_000, signal, { known: state });
    tasks.event('r1', { $case: 'task', value: some(agents[0]?.tasks.get(id.uuid)) });
    expect(await tasks.wait(id, 60_000, signal, { known: state })).toMatchObject({ phase: 3 });
    expect(await first).toMatchObject({ phase: 3 });
    // In a later turn nobody knows any more.
    clock.advance(1);
    const late = tasks.wait(id, 1_000, signal, { known: state });
    clock.advance(1_000);
    expect(await late).toMatchObject({ phase: 2 });
  });
  it('goes on through a lost connection', async () => {
    const { pod, clock, agents } = setUp({ r1: 4 });
    const { id } = await pod(0).tasks.submit(submission(oneShot));
    const waiting = pod(0).tasks.wait(id, 60_000, new AbortController().signal);
    await turns();
    pod(0).link.lose('r1');
    await turns();
    agents[0]?.end(id.uuid);
    pod(0).link.cut.clear();
    await clock.run(1_000);
    expect(await waiting).toMatchObject({ phase: 3 });
  });
  it('says that there is no such task, and no such disk any more', async () => {
    const { pod } = setUp({ r1: 4 });
    const id = { uuid: 'a', storeID: '5-r1', runnerName: 'r1' };
    await expect(pod(0).tasks.get(id)).rejects.toMatchObject({ code: 'TaskGone', status: 404 });
    await expect(pod(0).tasks.get({ ...id, storeID: 'older' })).rejects.toMatchObject({ code: 'TaskGone' });
    await expect(pod(0).tasks.get({ ...id, runnerName: 'r9' })).rejects.toMatchObject({ code: 'RunnerUnreachable', retryAfter: 1 });
  });
});
