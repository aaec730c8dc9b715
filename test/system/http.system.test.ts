import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { text as textOf } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Operator } from '../harness/operator.ts';
import { Caller, type CurlAnswer } from './caller.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

function some<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none');
  return value;
}

interface Fleet {
  readonly instances: readonly { readonly instanceID: string; readonly runnerName: string }[];
  readonly fleet: { readonly slots: number; readonly used: number; readonly reserved: number; readonly free: number };
  readonly complete: boolean;
  readonly missing: readonly string[];
}

describe('the HTTP API of two operator pods over two runners', () => {
  let world: World;
  let caller: Caller;
  let pods: readonly Operator[];
  const pod = (index: number) => some(pods[index % pods.length]);
  const status = async (operator: Operator) => (await caller.curl(operator, '/sandbox/status')).body as Fleet;
  const codeOf = ({ body }: CurlAnswer) => (body as { readonly error?: { readonly code?: string } }).error?.code;
  /** Every pod says so. */
  const everywhere = (what: string, holds: (fleet: Fleet) => boolean) =>
    eventually(
      what,
      async () => ((await Promise.all(pods.map(status))).every(holds) ? true : undefined),
      () => pods.map(({ name }) => name),
    );
  const idle = () => everywhere('every slot is free', ({ complete, fleet }) => complete && fleet.slots === 8 && fleet.free === 8);
  const idOf = ({ body }: CurlAnswer) => (body as { readonly id: string }).id;
  const release = (answer: CurlAnswer, operator: Operator) =>
    caller.curl(operator, `/sandbox/reservations/${idOf(answer)}`, '-X', 'DELETE');

  beforeAll(async () => {
    world = await World.start({ operators: 2, runners: ['runner-1', 'runner-2'] });
    pods = world.cluster.operators;
    caller = await Caller.everything(world.cluster);
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('tells on each pod its own instances, and the slots of the fleet once', async () => {
    await idle();
    for (const operator of pods) {
      const { instances, fleet, missing } = await status(operator);
      const address = operator.address.replace(/[.:]/g, '-');
      expect(instances.map(({ instanceID }) => instanceID.endsWith(`-${address}`))).toEqual([true, true]);
      expect({ slots: fleet.slots, free: fleet.free, missing }).toEqual({ slots: 8, free: 8, missing: [] });
    }
  });

  it('answers ten parallel reservations of the seed through all pods: as many as there are slots, the others wait', async () => {
    await idle();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => caller.post(pod(index), '/sandbox/reserve', { test: 'data', waitSeconds: 1 })),
    );
    const made = answers.filter(({ status: code }) => code === 201);
    const refused = answers.filter(({ status: code }) => code !== 201);
    expect(made.length).toBe(8);
    expect(new Set(made.map(idOf)).size).toBe(8);
    for (const { headers } of made) expect(headers.warning).toBe('299 berth "Unknown fields are passed over: test"');
    for (const answer of refused)
      expect([answer.status, codeOf(answer), answer.headers['retry-after']]).toEqual([503, 'NoSlot', expect.stringMatching(/^\d+$/)]);
    await everywhere('every slot is reserved', ({ fleet }) => fleet.reserved === 8 && fleet.free === 0);
    // Through whichever pod: the id says where.
    const [first, ...others] = made as [CurlAnswer, ...CurlAnswer[]];
    const extended = await caller.post(pod(1), `/sandbox/reservations/${idOf(first)}/extend`, { ttlSeconds: 500 });
    expect((extended.body as { readonly expiresInSeconds: number }).expiresInSeconds).toBeGreaterThan(400);
    for (const [index, one] of [first, ...others].entries()) expect((await release(one, pod(index))).status).toBe(200);
    const gone = await caller.curl(pod(0), `/sandbox/reservations/${idOf(first)}`);
    expect([gone.status, codeOf(gone)]).toEqual([404, 'ReservationGone']);
    await idle();
  });

  it('gives a slot that becomes free to one that waits, and beyond the wait says when to come again', async () => {
    await idle();
    const held = await Promise.all(Array.from({ length: 8 }, (_, index) => caller.post(pod(index), '/sandbox/reserve', {})));
    const waiting = caller.post(pod(1), '/sandbox/reserve', { waitSeconds: 60 });
    await eventually('it waits', async () => (((await status(pod(1))) as Fleet & { waiting: number }).waiting === 1 ? true : undefined));
    await release(some(held[0]), pod(0));
    const given = await waiting;
    expect(given.status).toBe(201);
    await Promise.all([given, ...held.slice(1)].map((answer) => release(answer, pod(0))));
    await idle();
  });

  it('runs a command in a container of its own, and one key runs it once, through whatever pods at once', async () => {
    await idle();
    const task = {
      image: world.image,
      command: ['/bin/sh', '-c', 'read line; echo "got $line"; exit 3'],
      stdin: { text: 'this\n' },
      waitSeconds: 60,
    };
    const answers = await Promise.all(pods.map((operator) => caller.post(operator, '/sandbox/tasks', task, { 'Idempotency-Key': 'once' })));
    for (const answer of answers) {
      expect(answer.status).toBe(201);
      expect(answer.body).toMatchObject({ phase: 'Ended', stdout: { text: 'got this\n' }, result: { outcome: 'Exited', exitCode: 3 } });
    }
    expect(new Set(answers.map(idOf)).size).toBe(1);
    const other = await caller.post(pod(0), '/sandbox/tasks', { ...task, args: ['x'] }, { 'Idempotency-Key': 'once' });
    expect([other.status, codeOf(other)]).toEqual([409, 'IdempotencyConflict']);
    await idle();
  });

  it('follows a task by events, takes its input, and gives its output through another pod', async () => {
    await idle();
    const task = {
      image: world.image,
      command: ['/bin/sh', '-c', 'while read line; do echo "$line"; done; head -c 100000 /dev/zero'],
      streamStdin: true,
    };
    const id = idOf(await caller.post(pod(0), '/sandbox/tasks', task));
    await eventually('it runs', async () =>
      ((await caller.curl(pod(0), `/sandbox/tasks/${id}`)).body as { phase: string }).phase === 'Running' ? true : undefined,
    );
    const following = caller.curl(pod(1), `/sandbox/tasks/${id}/events`);
    const bytes = ['-X', 'POST', '-H', 'Content-Type: application/octet-stream', '--data-binary'];
    expect((await caller.curl(pod(0), `/sandbox/tasks/${id}/input`, ...bytes, 'one\n')).body).toEqual({ takenBytes: 4 });
    expect((await caller.curl(pod(1), `/sandbox/tasks/${id}/input?close=true`, ...bytes, 'two\n')).body).toEqual({ takenBytes: 4 });
    const { headers, body } = await following;
    expect(headers['content-type']).toBe('text/event-stream');
    const events = String(body)
      .split('\n\n')
      .filter((event) => event.startsWith('event: output'));
    const written = events.map((event) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as { base64: string; stream: string });
    const all = Buffer.concat(written.map(({ base64 }) => Buffer.from(base64, 'base64')));
    expect([all.length, all.subarray(0, 8).toString()]).toEqual([100_008, 'one\ntwo\n']);
    expect(String(body)).toContain('"phase":"Ended"');
    const output = await caller.curl(pod(1), `/sandbox/tasks/${id}/output?offset=4`);
    expect([output.status, String(output.body).slice(0, 4), String(output.body).length]).toEqual([200, 'two\n', 100_004]);
    await idle();
  });

  it('goes on with a task when the pod that took it is killed; the retry through another pod gets the result', async () => {
    await idle();
    const task = { image: world.image, command: ['/bin/sh', '-c', 'sleep 5; echo done'], waitSeconds: 60 };
    const key = { 'Idempotency-Key': 'survives' };
    const [first, second] = pods as [Operator, Operator];
    const lost = caller.post(first, '/sandbox/tasks', task, key).then(
      () => 'answered',
      () => 'lost',
    );
    await everywhere('it runs', ({ fleet }) => fleet.used === 1);
    await first.kill();
    expect(await lost).toBe('lost');
    const retried = await caller.post(second, '/sandbox/tasks', task, key);
    expect(retried.body).toMatchObject({
      phase: 'Ended',
      repeated: true,
      stdout: { text: 'done\n' },
      result: { outcome: 'Exited', exitCode: 0 },
    });
    await first.start();
    await world.connected();
    await idle();
  });

  describe('callers', () => {
    it('are asked for a token', async () => {
      const nobody = new Caller(world.cluster, undefined);
      const answer = await nobody.post(pod(0), '/sandbox/reserve', {});
      expect([answer.status, answer.headers['www-authenticate'], codeOf(answer)]).toEqual([401, 'Bearer', 'Unauthenticated']);
      expect((await nobody.curl(pod(0), '/openapi.json')).status).toBe(200);
      const stranger = new Caller(world.cluster, await world.cluster.token({ serviceAccount: 'everything' }));
      expect(codeOf(await stranger.curl(pod(0), '/sandbox/status'))).toBe('Unauthenticated');
    });
    it('may do what RBAC says, and are told what they may not', async () => {
      const reader = await Caller.permitted(world.cluster, 'reader', { fleet: ['get'] });
      expect((await reader.curl(pod(0), '/sandbox/status')).status).toBe(200);
      const refused = await reader.post(pod(1), '/sandbox/reserve', {});
      expect(refused).toMatchObject({
        status: 403,
        body: {
          error: {
            code: 'Forbidden',
            message: 'system:serviceaccount:berth-system:reader may not create sandboxes/reservations.berth.dev in all namespaces.',
            details: { verb: 'create', resource: 'sandboxes/reservations' },
          },
        },
      });
      const made = await caller.post(pod(0), '/sandbox/reserve', {});
      const other = await reader.curl(pod(0), `/sandbox/reservations/${idOf(made)}`);
      expect([other.status, codeOf(other)]).toEqual([403, 'Forbidden']);
      await release(made, pod(0));
    });
    it('leave no token in the log', async () => {
      await caller.curl(pod(0), '/sandbox/status', '-H', 'X-Request-Id: found-in-the-log');
      const log = readFileSync(pod(0).logFile, 'utf8');
      expect(log).toContain('found-in-the-log');
      expect(log).not.toMatch(/eyJhbGciOi/);
    });
  });

  describe('what is no request', () => {
    it.each([
      { when: 'a body of a mebibyte', body: () => `{"test": "${'x'.repeat(1024 * 1024)}"}`, status: 413, code: 'BodyTooLarge' },
      { when: 'deep JSON', body: () => `${'['.repeat(100_000)}${']'.repeat(100_000)}`, status: 400, code: 'JsonTooDeep' },
      { when: 'a form', body: () => 'a=b', type: 'application/x-www-form-urlencoded', status: 415, code: 'UnsupportedMediaType' },
      { when: 'half of JSON', body: () => '{"a":', status: 400, code: 'MalformedJson' },
    ])('is told as $code: $when', async ({ body, type, status: wanted, code }) => {
      const answer = await caller.postFile(pod(0), '/sandbox/reserve', body(), type);
      expect([answer.status, codeOf(answer)]).toEqual([wanted, code]);
    });

    const metric = async (name: string) => {
      const lines = (await (await fetch(`${pod(0).healthUrl}/metrics`)).text()).split('\n');
      return Number(lines.find((line) => line.startsWith(`${name} `))?.split(' ')[1]);
    };
    const say = (words: string, ALPNProtocols: readonly string[] = ['http/1.1']) =>
      new Promise<string>((resolve) => {
        const [host = '', port = ''] = pod(0).address.split(':');
        const ca = readFileSync(world.cluster.authority.caFile);
        const socket = connect({ host, port: Number(port), ca, servername: 'localhost', ALPNProtocols: [...ALPNProtocols] }, () =>
          socket.write(words),
        );
        let heard = '';
        socket.setEncoding('latin1').on('data', (chunk: string) => (heard += chunk));
        socket.on('error', () => undefined).on('close', () => resolve(heard));
        setTimeout(() => socket.destroy(), 300);
      });
    const h2 = async () => {
      const session = connectHttp2(`https://${pod(0).address}`, {
        ca: readFileSync(world.cluster.authority.caFile),
        servername: 'localhost',
      });
      const stream = session.request({ ':method': 'POST', ':path': '/sandbox/reserve', 'content-type': 'application/json' });
      stream.end('{}');
      const answer = await textOf(stream);
      session.destroy();
      return answer;
    };

    it('leaves memory flat and the service going, over and over', async () => {
      const rounds = async (count: number) => {
        for (let round = 0; round < count; round++) {
          const large = caller.postFile(pod(0), '/sandbox/reserve', `{"test": "${'x'.repeat(1024 * 1024)}"}`);
          const garbage = [
            say('\0\x01\x02 no request at all\r\n\r\n'),
            say('POST /sandbox/reserve HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"half'),
            say('GET /sandbox/sta'),
            say(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(1000)}`, ['h2']),
            say('no preface', ['h2']),
          ];
          expect(await h2()).toContain('HttpVersionNotSupported');
          expect(codeOf(await large)).toBe('BodyTooLarge');
          await Promise.all(garbage);
        }
      };
      // So many until the heap has the size that it works with: the engine lets it grow once.
      await rounds(40);
      const [memory, files] = [await metric('process_resident_memory_bytes'), await metric('process_open_fds')];
      await rounds(30);
      expect((await caller.curl(pod(0), '/sandbox/status')).status).toBe(200);
      await eventually('connections are closed', async () => ((await metric('process_open_fds')) <= files + 2 ? true : undefined));
      expect((await metric('process_resident_memory_bytes')) - memory).toBeLessThan(32 * 1024 * 1024);
      await idle();
    });
  });
});
