import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { mostWaiting } from '../../operator/reservations/controller.ts';
import type { Operator } from '../harness/operator.ts';
import { aSandbox, after } from './a-sandbox.ts';
import { Caller, type CurlAnswer, everything, permittedToken } from './caller.ts';
import { eventually } from './eventually.ts';
import { inside } from './lying-on.ts';
import { codeOf, fleetOf, idOf, sumOfSlots, taskOf } from './tasks.ts';
import { startTimeoutMs, World } from './world.ts';

describe('callers that compete for the slots of real runners, through three operator pods', () => {
  let world: World;
  let ann: Caller;
  let bob: Caller;
  let turn = 0;
  const pods = () => world.cluster.operators;
  const pod = (): Operator => {
    const operator = pods()[turn++ % pods().length];
    if (operator === undefined) throw new Error('there are operators');
    return operator;
  };

  beforeAll(async () => {
    world = await World.start({ operators: 3 });
    [ann, bob] = [await Caller.everything(world.cluster, 'ann'), await Caller.everything(world.cluster, 'bob')];
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const waiting = async () =>
    (await Promise.all(pods().map((operator) => fleetOf(ann, operator)))).reduce((sum, one) => sum + one.waiting, 0);
  const fill = async (slots: number) => {
    await sumOfSlots(ann, pods(), { slots, free: slots });
    const held = await Promise.all(Array.from({ length: slots }, () => ann.post(pod(), '/sandbox/reserve', { ttlSeconds: 600 })));
    return held.map(idOf);
  };
  const release = async (id: string) => {
    expect((await ann.curl(pod(), `/sandbox/reservations/${id}`, '-X', 'DELETE')).status).toBe(200);
  };
  /** Everybody begins to wait, one behind the other. `admitted` has their names in the order in which they got a slot. */
  const queue = async (everybody: readonly (readonly [Caller, string])[], waitSeconds = 60) => {
    const admitted: string[] = [];
    const answers: Promise<CurlAnswer>[] = [];
    for (const [index, [caller, name]] of everybody.entries()) {
      const answer = caller.post(pod(), '/sandbox/reserve', { waitSeconds, ttlSeconds: 600 });
      answers.push(answer);
      void answer.then(({ status }) => status === 201 && admitted.push(name));
      await eventually(`${name} waits`, async () => ((await waiting()) === index + 1 ? true : undefined));
      // Tickets of one caller are served by how long it has waited, told in milliseconds.
      await delay(50);
    }
    return { admitted, answers };
  };
  const until = (admitted: readonly string[], count: number) =>
    eventually(
      `${count} are admitted`,
      () => Promise.resolve(admitted.length >= count ? true : undefined),
      () => admitted,
    );

  it('are admitted in turn, and of one caller the oldest request comes first', async () => {
    const held = await fill(4);
    const names = ['ann 1', 'ann 2', 'ann 3', 'ann 4', 'bob 1', 'bob 2'];
    const { admitted, answers } = await queue(names.map((name) => [name.startsWith('ann') ? ann : bob, name] as const));
    for (const [index, answer] of answers.entries()) {
      const next = held[index] ?? idOf(await answers[names.indexOf(admitted[index - held.length] ?? '')]);
      await release(next);
      await until(admitted, index + 1);
      expect(admitted).toHaveLength(index + 1);
      void answer;
    }
    expect(admitted.filter((name) => name.startsWith('ann'))).toEqual(names.slice(0, 4));
    expect(admitted.filter((name) => name.startsWith('bob'))).toEqual(names.slice(4));
    // Bob came last, and has not waited for all of ann's.
    expect(admitted.slice(0, 4).filter((name) => name.startsWith('bob'))).toHaveLength(2);
    for (const name of admitted.slice(2)) await release(idOf(await answers[names.indexOf(name)]));
    await sumOfSlots(ann, pods(), { slots: 4, free: 4 });
  });

  it('are told when to come again beyond the wait', async () => {
    const held = await fill(4);
    const { answers } = await queue([[bob, 'bob']], 2);
    const late = await answers[0];
    expect([late?.status, late && codeOf(late), late?.headers['retry-after']]).toEqual([503, 'NoSlot', expect.stringMatching(/^\d+$/)]);
    for (const id of held) await release(id);
  });

  it('are refused by a pod in which as many wait as may, with a code and a time, and get their turn when those have left', async () => {
    const held = await fill(4);
    const [crowded] = pods();
    if (crowded === undefined) throw new Error('there are operators');
    const agent = new Agent({ connect: { ca: readFileSync(world.cluster.authority.caFile) } });
    const authorization = `Bearer ${await permittedToken(world.cluster, 'many', everything)}`;
    const ask = (waitSeconds: number, signal?: AbortSignal) =>
      request(`${crowded.url}/sandbox/reserve`, {
        ...{ method: 'POST', dispatcher: agent, headers: { authorization, 'content-type': 'application/json' } },
        body: JSON.stringify({ waitSeconds, ttlSeconds: 600 }),
        ...(signal !== undefined && { signal }),
      });
    const leave = new AbortController();
    const answered: number[] = [];
    // Whose time is over asks again: on a slow machine it may be before the last has come.
    const wait = async () => {
      while (!leave.signal.aborted) {
        const { statusCode, body } = await ask(60, leave.signal);
        await body.dump();
        answered.push(statusCode);
      }
    };
    const crowd = Array.from({ length: mostWaiting }, () => wait().catch(() => undefined));
    await eventually(
      'as many wait as may',
      async () => ((await fleetOf(ann, crowded)).waiting === mostWaiting ? true : undefined),
      () => answered,
    );
    const refused = await eventually('one more is refused', async () => {
      const answer = await ask(1);
      if (answer.statusCode === 429) return answer;
      expect(answer.statusCode).toBe(503);
      await answer.body.dump();
      return undefined;
    });
    expect(refused.headers['retry-after']).toMatch(/^\d+$/);
    expect(await refused.body.json()).toMatchObject({ error: { code: 'TooManyWaiting' } });

    leave.abort();
    await Promise.all(crowd);
    const { admitted, answers } = await queue([[bob, 'bob']]);
    for (const id of held) await release(id);
    await until(admitted, 1);
    await release(idOf(await answers[0]));
    await sumOfSlots(ann, pods(), { slots: 4, free: 4 });
    await agent.destroy();
  });

  it('do not wait beside a runner that has room: one that comes takes those that wait', async () => {
    const held = await fill(4);
    const { admitted, answers } = await queue([ann, ann, bob, bob].map((caller, index) => [caller, `waiter ${index}`] as const));
    await world.cluster.addRunner('runner-2');
    await until(admitted, 4);
    for (const answer of answers) expect((await answer).body).toMatchObject({ runnerName: 'runner-2' });
    // Cordoned it gets nobody any more; uncordoned those that wait meanwhile.
    await world.user.patchRunner('runner-2', { unschedulable: true });
    for (const answer of answers) await release(idOf(await answer));
    const cordoned = await queue([ann, bob].map((caller, index) => [caller, `later ${index}`] as const));
    await world.user.patchRunner('runner-2', { unschedulable: false });
    await until(cordoned.admitted, 2);
    for (const answer of cordoned.answers) await release(idOf(await answer));
    for (const id of held) await release(id);
    await sumOfSlots(ann, pods(), { slots: 8, free: 8 });
  });

  it('see no error in a rolling restart of all operator pods when they honour Retry-After, and nothing is lost or done twice', async () => {
    await world.user.create(aSandbox('box', { image: world.image, command: after('mkdir -p /data') }));
    const { metadata, status } = await world.user.untilState({ name: 'box' }, 'Started');
    const reservation = idOf(await ann.post(pod(), '/sandbox/reserve', { ttlSeconds: 600 }));
    const isOver = { now: false };
    const done: string[] = [];
    const errors: unknown[] = [];
    /** What the answer says of the task: it is over one way or the other, or it is asked again after so many milliseconds. */
    const judge = (key: string, answer: CurlAnswer | undefined): number | 'Over' => {
      // One that does not answer is asked no more: another one is.
      if (answer === undefined) return 0;
      const task = answer.status === 201 ? taskOf(answer) : undefined;
      const retryAfter = answer.headers['retry-after'];
      if (task === undefined && retryAfter !== undefined) return Number(retryAfter) * 1000;
      if (task !== undefined && task.phase !== 'Ended') return 0;
      if (task?.result?.outcome === 'Exited' && task.stdout.text === '1\n') done.push(key);
      else errors.push([answer.status, answer.body]);
      return 'Over';
    };
    const client = async (caller: Caller) => {
      for (let count = 0; !isOver.now; count++) {
        const key = randomUUID();
        const where = count % 2 === 0 ? { sandbox: { name: 'box' } } : { image: world.image };
        const command = ['sh', '-c', `mkdir -p /data; echo ${key} >> /data/done; grep -c ${key} /data/done`];
        const ask = () =>
          caller.post(pod(), '/sandbox/tasks', { ...where, command, waitSeconds: 20 }, { 'Idempotency-Key': key }).catch(() => undefined);
        for (let next = judge(key, await ask()); next !== 'Over'; next = judge(key, await ask())) await delay(next);
      }
    };
    const clients = [ann, bob, ann].map(client);
    const more = async (count: number) => {
      const [before, failed] = [done.length, errors.length];
      await eventually(`${count} more are done`, () =>
        Promise.resolve(done.length >= before + count || errors.length > failed ? true : undefined),
      );
    };
    await more(5);
    for (const operator of pods()) {
      await operator.restart();
      await more(5);
    }
    isOver.now = true;
    await Promise.all(clients);
    expect(errors).toEqual([]);
    const ran = (await inside(world.runnerOf({ status }), metadata.uid, 'cat', '/data/done')).trim().split('\n');
    expect(new Set(ran).size).toBe(ran.length);
    expect(ran.filter((key) => !done.includes(key))).toEqual([]);
    expect((await ann.curl(pod(), `/sandbox/reservations/${reservation}`)).body).toMatchObject({ id: reservation });
    await release(reservation);
    await world.user.delete({ name: 'box' });
    await sumOfSlots(ann, pods(), { slots: 8, free: 8 });
  });
});
