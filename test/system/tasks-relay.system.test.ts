import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Operator } from '../harness/operator.ts';
import { freePort } from '../harness/ports.ts';
import { aSandbox } from './a-sandbox.ts';
import { Caller } from './caller.ts';
import { Cuttable } from './cuttable.ts';
import { eventually } from './eventually.ts';
import { codeOf, fleetOf, idOf, sumOfSlots, taskOf } from './tasks.ts';
import { startTimeoutMs, World } from './world.ts';

describe('tasks on runners that the asked operator pod is cut off from and another one is not', () => {
  let world: World;
  let caller: Caller;
  let cutOff: Operator;
  let connected: Operator;
  /** Between everybody but callers and each pod. */
  const networks: Cuttable[] = [];

  beforeAll(async () => {
    const ports = { 'operator-1': await freePort(), 'operator-2': await freePort() };
    for (const port of Object.values(ports)) networks.push(await Cuttable.to(port));
    const addresses = networks.map(({ address }) => address).join(',');
    world = await World.start({
      ...{ operators: 2, runners: ['runner-1', 'runner-2'], ports },
      ...{ operatorEnv: { BERTH_PEERS: addresses }, agentEnv: { BERTH_OPERATORS: addresses } },
    });
    const [first, second] = world.cluster.operators;
    if (first === undefined || second === undefined) throw new Error('there are two operators');
    [cutOff, connected] = [first, second];
    caller = await Caller.everything(world.cluster);
    await world.user.create(aSandbox('box', { image: world.image }));
    await world.user.untilState({ name: 'box' }, 'Started');
  }, startTimeoutMs);
  afterAll(async () => {
    for (const network of networks) await network[Symbol.asyncDispose]();
    await world.stop();
  }, startTimeoutMs);

  const cut = async () => {
    networks[0]?.cut();
    await eventually('no agent is connected to the pod', async () => {
      const { instances, missing } = await fleetOf(caller, cutOff);
      return instances.length === 0 && missing.length === 2 ? true : undefined;
    });
  };
  const mend = async () => {
    networks[0]?.mend();
    await sumOfSlots(caller, world.cluster.operators, { slots: 8, free: 8 });
  };
  const inBox = (script: string) => ({ sandbox: { name: 'box' }, command: ['sh', '-c', script], waitSeconds: 60 });
  const bytes = ['-X', 'POST', '-H', 'Content-Type: application/octet-stream', '--data-binary'];

  it('slots are reserved, read, extended, used and released through it', async () => {
    await cut();
    for (const where of [{}, { sandbox: { name: 'box' } }]) {
      const reserved = await caller.post(cutOff, '/sandbox/reserve', { ...where, unknown: 1 });
      expect(reserved).toMatchObject({ status: 201, headers: { warning: expect.stringContaining('unknown') as unknown } });
      const id = idOf(reserved);
      expect(reserved.headers.location).toBe(`/sandbox/reservations/${id}`);
      expect((await caller.curl(cutOff, `/sandbox/reservations/${id}`)).body).toMatchObject({ id });
      const extended = await caller.post(cutOff, `/sandbox/reservations/${id}/extend`, { ttlSeconds: 500 });
      expect((extended.body as { readonly expiresInSeconds: number }).expiresInSeconds).toBeGreaterThan(400);
      expect((await caller.curl(cutOff, `/sandbox/reservations/${id}`, '-X', 'DELETE')).status).toBe(200);
      const gone = await caller.curl(cutOff, `/sandbox/reservations/${id}`);
      expect([gone.status, codeOf(gone)]).toEqual([404, 'ReservationGone']);
    }
    await mend();
  });

  it('tasks are run once, waited for, followed, fed, signalled and cancelled through it, with their output and files', async () => {
    await cut();
    const key = { 'Idempotency-Key': 'through-both' };
    const answers = await Promise.all(world.cluster.operators.map((pod) => caller.post(pod, '/sandbox/tasks', inBox('echo $$'), key)));
    expect(new Set(answers.map(idOf)).size).toBe(1);
    const oneShot = { image: world.image, command: ['sh', '-c', 'echo kept > /out; exit 3'], outputFiles: ['/out'], waitSeconds: 60 };
    const placed = { 'Idempotency-Key': 'one-shot' };
    const first = taskOf(await caller.post(cutOff, '/sandbox/tasks', oneShot, placed));
    expect(first).toMatchObject({ phase: 'Ended', result: { exitCode: 3 } });
    expect(taskOf(await caller.post(connected, '/sandbox/tasks', oneShot, placed))).toMatchObject({ id: first.id, repeated: true });
    expect((await caller.curl(cutOff, `/sandbox/tasks/${first.id}/file?path=/out`)).body).toBe('kept\n');

    const reading = idOf(await caller.post(cutOff, '/sandbox/tasks', { ...inBox('echo ready; cat'), streamStdin: true, waitSeconds: 0 }));
    await eventually('it runs', async () =>
      taskOf(await caller.curl(cutOff, `/sandbox/tasks/${reading}`)).phase === 'Running' ? true : undefined,
    );
    const events = caller.curl(cutOff, `/sandbox/tasks/${reading}/events`);
    const waited = caller.curl(cutOff, `/sandbox/tasks/${reading}?waitSeconds=60`);
    expect((await caller.curl(cutOff, `/sandbox/tasks/${reading}/input?close=true`, ...bytes, 'fed\n')).body).toEqual({ takenBytes: 4 });
    expect(taskOf(await waited)).toMatchObject({ stdout: { text: 'ready\nfed\n' } });
    expect(String((await events).body)).toContain(Buffer.from('fed\n').toString('base64'));
    expect((await caller.curl(cutOff, `/sandbox/tasks/${reading}/output`)).body).toBe('ready\nfed\n');

    for (const [what, body, result] of [
      ['signal', { signal: 9 }, { outcome: 'Exited', signal: 9 }],
      ['cancel', {}, { outcome: 'Cancelled' }],
    ] as const) {
      const id = idOf(await caller.post(cutOff, '/sandbox/tasks', { ...inBox('sleep 1000'), waitSeconds: 0 }));
      await eventually('it runs', async () =>
        taskOf(await caller.curl(cutOff, `/sandbox/tasks/${id}`)).phase === 'Running' ? true : undefined,
      );
      expect((await caller.post(cutOff, `/sandbox/tasks/${id}/${what}`, body)).status).toBe(200);
      expect(taskOf(await caller.curl(cutOff, `/sandbox/tasks/${id}?waitSeconds=60`)).result).toMatchObject(result);
    }
    await mend();
  });

  it('who waits for a task while the pod loses its runner gets the result all the same', async () => {
    const id = idOf(await caller.post(cutOff, '/sandbox/tasks', { ...inBox('sleep 6; exit 4'), waitSeconds: 0 }));
    const waited = caller.curl(cutOff, `/sandbox/tasks/${id}?waitSeconds=60`);
    await eventually('it runs', async () =>
      taskOf(await caller.curl(connected, `/sandbox/tasks/${id}`)).phase === 'Running' ? true : undefined,
    );
    await cut();
    expect(taskOf(await waited)).toMatchObject({ phase: 'Ended', result: { exitCode: 4 } });
    await mend();
  });

  it('who may not is told so there too, and when no pod reaches the runner, when to try again', async () => {
    await cut();
    const reader = await Caller.permitted(world.cluster, 'reader', { fleet: ['get'] });
    const made = await caller.post(cutOff, '/sandbox/reserve', {});
    const refused = await reader.curl(cutOff, `/sandbox/reservations/${idOf(made)}`);
    expect([refused.status, codeOf(refused)]).toEqual([403, 'Forbidden']);
    await caller.curl(cutOff, `/sandbox/reservations/${idOf(made)}`, '-X', 'DELETE');
    networks[1]?.cut();
    await eventually('no agent is connected to the other pod either', async () =>
      (await fleetOf(caller, connected)).instances.length === 0 ? true : undefined,
    );
    for (const body of [{}, { sandbox: { name: 'box' } }]) {
      const nobody = await caller.post(cutOff, '/sandbox/reserve', { ...body, waitSeconds: 0 });
      expect([nobody.status, codeOf(nobody)]).toEqual([503, 'sandbox' in body ? 'RunnerUnreachable' : 'NoRunner']);
      expect(nobody.headers['retry-after']).toMatch(/^\d+$/);
    }
    networks[1]?.mend();
    await mend();
  });
});
