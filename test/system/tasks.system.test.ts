import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { httpErrorOf, type HttpErrorCode } from '../../operator/http/error-table.ts';
import { demoImage, pushImage } from '../harness/images.ts';
import type { Operator } from '../harness/operator.ts';
import { aSandbox, after } from './a-sandbox.ts';
import { Caller, type CurlAnswer } from './caller.ts';
import { eventually } from './eventually.ts';
import { written } from './lying-on.ts';
import { codeOf, endedTask, idOf, type SeenTask, sumOfSlots, taskOf } from './tasks.ts';
import { pullSecret, startTimeoutMs, World } from './world.ts';

const bytes = ['-X', 'POST', '-H', 'Content-Type: application/octet-stream', '--data-binary'];

describe('tasks through the HTTP API of three operator pods, on real runners', () => {
  let world: World;
  let caller: Caller;
  let turn = 0;
  /** Another one each time: whichever pod is asked, the answer is the same. */
  const pod = (): Operator => {
    const operator = world.cluster.operators[turn++ % world.cluster.operators.length];
    if (operator === undefined) throw new Error('there are operators');
    return operator;
  };
  const run = (task: object, key?: string) =>
    caller.post(pod(), '/sandbox/tasks', { waitSeconds: 60, ...task }, key === undefined ? {} : { 'Idempotency-Key': key });
  const inBox = (script: string, more: object = {}) => run({ sandbox: { name: 'box' }, command: ['sh', '-c', script], ...more });
  const alone = (script: string, more: object = {}) => run({ image: world.image, command: ['sh', '-c', script], ...more });
  const get = (id: string, query = '') => caller.curl(pod(), `/sandbox/tasks/${id}${query}`);
  const post = (id: string, what: string, body: object = {}) => caller.post(pod(), `/sandbox/tasks/${id}/${what}`, body);
  const until = (id: string, phase: SeenTask['phase']) =>
    eventually(`${id} is ${phase}`, async () => {
      const task = taskOf(await get(id));
      return task.phase === phase || task.phase === 'Ended' ? task : undefined;
    });
  const idle = () => sumOfSlots(caller, world.cluster.operators, { slots: 8, free: 8 });

  beforeAll(async () => {
    world = await World.start({ operators: 3, runners: ['runner-1', 'runner-2'], backups: true });
    caller = await Caller.everything(world.cluster);
    for (const name of ['box', 'stopped'])
      await world.user.create(aSandbox(name, { image: world.image, command: after('mkdir -p /data') }));
    for (const name of ['box', 'stopped']) await world.user.untilState({ name }, 'Started');
    await world.user.patch({ name: 'stopped' }, { desiredState: 'Stopped' });
    await world.user.untilState({ name: 'stopped' }, 'Stopped');
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('a slot is reserved where the sandbox runs, and what is run under it is run once, through whatever pod', async () => {
    const { status } = await world.user.sandbox({ name: 'box' });
    const reserved = await caller.post(pod(), '/sandbox/reserve', { sandbox: { name: 'box' }, ttlSeconds: 120 });
    expect(reserved).toMatchObject({ status: 201, body: { runnerName: status.runnerName } });
    const under = { reservationID: idOf(reserved) };
    const script = 'echo run >> /data/under; echo done';
    const [first, again] = [await inBox(script, under), await inBox(script, under)];
    expect(taskOf(first)).toMatchObject({ repeated: false, stdout: { text: 'done\n' }, result: { outcome: 'Exited', exitCode: 0 } });
    expect(taskOf(again)).toMatchObject({ id: idOf(first), repeated: true });
    const other = await inBox('echo other', under);
    expect([other.status, codeOf(other)]).toEqual([409, 'ReservationUsed']);
    const used = await caller.curl(pod(), `/sandbox/reservations/${idOf(reserved)}`);
    expect(used.body).toMatchObject({ expiresInSeconds: 0, taskID: idOf(first).split('.')[0] });
    expect(taskOf(await inBox('cat /data/under')).stdout.text).toBe('run\n');
    await idle();
  });

  it('a command in a sandbox says its exit, its output, what it used, and by what it was ended', async () => {
    expect(taskOf(await inBox('echo out; echo err >&2; exit 7'))).toMatchObject({
      ...{ stdout: { bytes: 4, text: 'out\n' }, stderr: { bytes: 4, text: 'err\n' }, result: { outcome: 'Exited', exitCode: 7 } },
    });
    expect(taskOf(await inBox('kill -9 $$')).result).toMatchObject({ outcome: 'Exited', exitCode: 137, signal: 9 });
    const missing = taskOf(await run({ sandbox: { name: 'box' }, command: ['/no/such/program'] }));
    expect(missing.result).toMatchObject({ outcome: 'StartFailed', reason: 'CommandNotFound' });
    expect(missing.startTime).toBeUndefined();
  });

  describe('limits', () => {
    const forever = 'while :; do :; done';
    it.each([
      { limit: 'CpuTime', limits: { cpuSeconds: 0.3 }, script: forever },
      { limit: 'WallTime', limits: { wallSeconds: 0.5 }, script: 'sleep 1000' },
      { limit: 'Memory', limits: { memoryBytes: 16 * 2 ** 20 }, script: 'exec tail /dev/zero' },
      { limit: 'Output', limits: { outputBytes: 1000 }, script: 'while :; do echo too much; done' },
    ])('a one-shot that goes beyond is killed, and its result names $limit', async ({ limit, limits, script }) => {
      const { result, stdout } = taskOf(await alone(script, { limits }));
      expect(result).toMatchObject({ outcome: 'LimitExceeded', limit, truncated: limit === 'Output' });
      if (limit === 'Output') expect(stdout.bytes).toBeGreaterThanOrEqual(1000);
    });

    it('a one-shot that is refused processes goes on, and is told so', async () => {
      const { result } = taskOf(await alone('for i in 1 2 3 4 5 6 7 8; do sleep 30 & done; exit 0', { limits: { processes: 4 } }));
      expect(result).toMatchObject({ outcome: 'Exited', limit: 'Pids' });
    });

    it.each([
      { limit: 'CpuTime', limits: { cpuSeconds: 0.3 }, script: forever },
      { limit: 'WallTime', limits: { wallSeconds: 0.5 }, script: 'sleep 1000' },
      { limit: 'Output', limits: { outputBytes: 1000 }, script: 'while :; do echo too much; done' },
    ])('a command in a sandbox that goes beyond is killed for $limit, and the sandbox goes on', async ({ limit, limits, script }) => {
      expect(taskOf(await inBox(script, { limits })).result).toMatchObject({ outcome: 'LimitExceeded', limit });
      expect((await world.user.sandbox({ name: 'box' })).status).toMatchObject({ state: 'Started', restartCount: 0 });
    });
  });

  it('its end is waited for, and what it writes is followed, through pods that did not take it', async () => {
    const id = idOf(await inBox('for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; exit 4', { waitSeconds: 0 }));
    const [waited, events] = await Promise.all([get(id, '?waitSeconds=60'), caller.curl(pod(), `/sandbox/tasks/${id}/events`)]);
    expect(taskOf(waited)).toMatchObject({ phase: 'Ended', result: { exitCode: 4 } });
    const parts = String(events.body).split('\n\n');
    const told = (name: string) =>
      parts
        .filter((part) => part.startsWith(`event: ${name}\n`))
        .map((part) => JSON.parse(part.slice(part.indexOf('data: ') + 6)) as object);
    const written = (told('output') as { readonly base64: string }[]).map(({ base64 }) => Buffer.from(base64, 'base64').toString());
    expect(written.join('')).toBe('line 1\nline 2\nline 3\nline 4\nline 5\n');
    expect(told('task').at(-1)).toMatchObject({ phase: 'Ended', result: { exitCode: 4 } });
    // After a lost connection: what was not received yet.
    const rest = await caller.curl(pod(), `/sandbox/tasks/${id}/events?stdoutOffset=28`);
    expect(String(rest.body)).toContain(Buffer.from('line 5\n').toString('base64'));
    expect(String(rest.body)).not.toContain(Buffer.from('line 4\n').toString('base64'));
  });

  it('its stdin is fed, it is sent a signal, and it is cancelled, each through another pod', async () => {
    const reads = idOf(
      await inBox('while read line; do echo "$line"; done', { streamStdin: true, stdin: { text: 'zero\n' }, waitSeconds: 0 }),
    );
    await until(reads, 'Running');
    expect((await caller.curl(pod(), `/sandbox/tasks/${reads}/input`, ...bytes, 'one\n')).body).toEqual({ takenBytes: 4 });
    expect((await caller.curl(pod(), `/sandbox/tasks/${reads}/input?close=true`, ...bytes, 'two\n')).body).toEqual({ takenBytes: 4 });
    expect(taskOf(await get(reads, '?waitSeconds=60')).stdout.text).toBe('zero\none\ntwo\n');

    const trapping = 'trap "echo hup; exit 5" HUP; echo ready; while :; do sleep 0.05; done';
    const ready = (id: string) =>
      eventually('it is ready', async () =>
        String((await caller.curl(pod(), `/sandbox/tasks/${id}/output`)).body) === 'ready\n' ? true : undefined,
      );
    const signalled = idOf(await inBox(trapping, { waitSeconds: 0 }));
    await ready(signalled);
    expect((await post(signalled, 'signal', { signal: 1 })).status).toBe(200);
    expect(taskOf(await get(signalled, '?waitSeconds=60'))).toMatchObject({
      stdout: { text: 'ready\nhup\n' },
      result: { outcome: 'Exited', exitCode: 5 },
    });

    const cancelled = idOf(await alone(trapping, { waitSeconds: 0, graceSeconds: 1 }));
    await ready(cancelled);
    expect((await post(cancelled, 'cancel')).status).toBe(200);
    expect(taskOf(await get(cancelled, '?waitSeconds=60')).result).toMatchObject({ outcome: 'Cancelled' });
    await idle();
  });

  it('files go into a one-shot and out of it', async () => {
    const task = await alone('sh /in/run.sh > /out && head -c 300000 /dev/zero > /large', {
      inputFiles: [
        { path: '/in/run.sh', text: 'echo "made by $0"' },
        { path: '/in/raw', base64: Buffer.from([0, 255, 1]).toString('base64') },
      ],
      outputFiles: ['/out', '/in/raw', '/large', '/nothing'],
    });
    const { id, result } = taskOf(task);
    expect(result?.files).toEqual([
      { path: '/out', size: 19 },
      { path: '/in/raw', size: 3 },
      { path: '/large', size: 300_000 },
      { path: '/nothing', size: 0, problem: 'Missing' },
    ]);
    const file = (query: string) => caller.curl(pod(), `/sandbox/tasks/${id}/file?path=${query}`);
    expect((await file('/out')).body).toBe('made by /in/run.sh\n');
    expect((await file('/out&offset=8')).body).toBe('/in/run.sh\n');
    expect((await file('/large')).headers['content-type']).toBe('application/octet-stream');
    expect(codeOf(await file('/nothing'))).toBe('TaskGone');
  });

  it('inputs of any size are uploaded to where the task will run, through other pods than that which runs it', async () => {
    const large = randomBytes(20 * 2 ** 20);
    const sum = createHash('sha256').update(large).digest('hex');
    const reservationID = idOf(await caller.post(pod(), '/sandbox/reserve', { ttlSeconds: 300 }));
    const upload = async (query: string) => {
      const answer = await caller.postFile(pod(), `/sandbox/uploads?${query}`, large, 'application/octet-stream');
      expect(answer).toMatchObject({ status: 201, body: { sizeBytes: large.length } });
      return idOf(answer);
    };
    const file = { path: '/in/large', upload: await upload(`reservationID=${reservationID}`) };
    const task = { reservationID, inputFiles: [file] };
    const first = await alone('sha256sum /in/large', task);
    expect(taskOf(first).stdout.text).toBe(`${sum}  /in/large\n`);
    // Sent again it is the same task, and the upload went with it.
    expect(taskOf(await alone('sha256sum /in/large', task))).toMatchObject({ id: idOf(first), repeated: true });
    const stdin = { upload: await upload('sandbox=box') };
    expect(taskOf(await inBox('sha256sum', { stdin })).stdout.text).toBe(`${sum}  -\n`);
    const taken = await inBox('sha256sum', { stdin });
    expect([taken.status, codeOf(taken)]).toEqual([409, 'UploadGone']);
    const nowhere = await caller.postFile(pod(), '/sandbox/uploads', large, 'application/octet-stream');
    expect([nowhere.status, codeOf(nowhere)]).toEqual([400, 'InvalidRequest']);
    await idle();
  });

  it('a private image is pulled for a one-shot with the Secrets that it names in its namespace', async () => {
    const credentials = { username: 'puller', password: randomUUID() };
    const guarded = await world.cluster.addRegistry('guarded', { credentials });
    await pushImage(guarded, 'private:1', await demoImage());
    const image = `${guarded.address}/private:1`;
    await world.user.apply(pullSecret('good', guarded.address, credentials));
    const ask = (imagePullSecrets: readonly object[]) => run({ image, command: ['echo', 'pulled'], imagePullSecrets });
    expect(taskOf(await ask([])).result).toMatchObject({ outcome: 'StartFailed', reason: 'ImageFailed' });
    const missing = await ask([{ name: 'good' }, { name: 'none' }]);
    expect([missing.status, codeOf(missing)]).toEqual([400, 'ImagePullSecretInvalid']);
    expect(taskOf(await ask([{ name: 'good' }])).stdout.text).toBe('pulled\n');
    const { logDir } = world.cluster;
    for (const name of readdirSync(logDir)) expect(readFileSync(join(logDir, name), 'utf8').includes(credentials.password)).toBe(false);
    await idle();
  });

  it.each([
    { where: 'in a sandbox', task: { sandbox: { name: 'box' }, command: ['sh', '-c', 'echo run >> /data/keyed; cat /data/keyed'] } },
    { where: 'in a container of its own', task: { command: ['sh', '-c', 'echo run'] } },
  ])('retries with one key run once $where, at once and later, and another request under it is refused', async ({ task }) => {
    const key = randomUUID();
    const body = 'sandbox' in task ? task : { ...task, image: world.image };
    const answers = await Promise.all(world.cluster.operators.map(() => run(body, key)));
    answers.push(await run(body, key));
    for (const answer of answers) expect(taskOf(answer)).toMatchObject({ id: idOf(answers[0]), stdout: { text: 'run\n' } });
    expect(answers.filter((answer) => !taskOf(answer).repeated)).toHaveLength(1);
    const other = await run({ ...body, args: ['other'] }, key);
    expect([other.status, codeOf(other)]).toEqual([409, 'IdempotencyConflict']);
    await idle();
  });

  it('a reservation with a key is made once', async () => {
    const key = { 'Idempotency-Key': randomUUID() };
    const answers = await Promise.all(world.cluster.operators.map(() => caller.post(pod(), '/sandbox/reserve', {}, key)));
    expect(new Set(answers.map(idOf)).size).toBe(1);
    await sumOfSlots(caller, world.cluster.operators, { reserved: 1, free: 7 });
    expect((await caller.curl(pod(), `/sandbox/reservations/${idOf(answers[0])}`, '-X', 'DELETE')).status).toBe(200);
    await idle();
  });

  describe('what can not be done is refused with its code', () => {
    const never = randomUUID();
    const rows: readonly { readonly when: string; readonly code: HttpErrorCode; readonly ask: () => Promise<CurlAnswer> }[] = [
      {
        when: 'a limit that is not kept in a sandbox',
        code: 'LimitUnsupported',
        ask: () => inBox('true', { limits: { memoryBytes: 2 ** 24 } }),
      },
      { when: 'files of a command in a sandbox', code: 'FilesUnsupported', ask: () => inBox('true', { outputFiles: ['/x'] }) },
      { when: 'a sandbox and an image', code: 'InvalidRequest', ask: () => inBox('true', { image: 'demo' }) },
      { when: 'no command in a sandbox', code: 'InvalidRequest', ask: () => run({ sandbox: { name: 'box' } }) },
      { when: 'a sandbox that is not there', code: 'SandboxNotFound', ask: () => run({ sandbox: { name: 'none' }, command: ['true'] }) },
      { when: 'a sandbox that is stopped', code: 'SandboxNotRunning', ask: () => run({ sandbox: { name: 'stopped' }, command: ['true'] }) },
      {
        when: 'a slot where a stopped sandbox was',
        code: 'SandboxNotRunning',
        ask: () => caller.post(pod(), '/sandbox/reserve', { sandbox: { name: 'stopped' } }),
      },
      { when: 'a task that never was', code: 'TaskGone', ask: async () => get(`${never}.${await store()}.runner-1`) },
      { when: 'a task on a disk that is not there', code: 'TaskGone', ask: () => get(`${never}.${never}.runner-1`) },
      { when: 'what is no id', code: 'TaskGone', ask: () => get('no-id') },
      {
        when: 'a reservation that is gone',
        code: 'ReservationGone',
        ask: async () => alone('true', { reservationID: `${never}.${await store()}.runner-1` }),
      },
      {
        when: 'a reservation of another disk',
        code: 'StoreMismatch',
        ask: () => alone('true', { reservationID: `${never}.${never}.runner-1` }),
      },
      { when: 'a runner that is not there', code: 'RunnerUnreachable', ask: () => get(`${never}.${never}.runner-9`) },
      { when: 'a signal to what has ended', code: 'TaskEnded', ask: async () => post(idOf(await inBox('true')), 'signal', { signal: 15 }) },
      { when: 'a signal that is none', code: 'InvalidRequest', ask: async () => post(idOf(await inBox('true')), 'signal', { signal: 99 }) },
      {
        when: 'inputs that are too large for a request',
        code: 'BodyTooLarge',
        ask: () => alone('true', { inputFiles: ['/a', '/b'].map((path) => ({ path, text: 'x'.repeat(40_000) })) }),
      },
    ];
    const store = async () => (await world.user.runner('runner-1')).status.storeID ?? '';

    it.each(rows)('$code: $when', async ({ code, ask }) => {
      const answer = await ask();
      const row = httpErrorOf(code);
      expect([answer.status, codeOf(answer)]).toEqual([row.status, code]);
      expect(answer.headers['retry-after'] !== undefined).toBe(row.retryAfter !== undefined);
    });

    it('NoSlot, when none is free and nobody waits', async () => {
      const held = await Promise.all(Array.from({ length: 8 }, () => caller.post(pod(), '/sandbox/reserve', {})));
      const answers = [
        await alone('true', { queueSeconds: 0 }),
        await inBox('true', { queueSeconds: 0 }),
        await alone('true', { queueSeconds: 1 }),
      ];
      for (const answer of answers)
        expect([answer.status, codeOf(answer), answer.headers['retry-after']]).toEqual([503, 'NoSlot', expect.stringMatching(/^\d+$/)]);
      for (const one of held) await caller.curl(pod(), `/sandbox/reservations/${idOf(one)}`, '-X', 'DELETE');
      await idle();
    });
  });

  it('a sandbox that is being stopped ends its tasks and refuses others, and nothing is left unclear', async () => {
    const { metadata } = await world.user.sandbox({ name: 'box' });
    const long = idOf(await inBox('echo begun; sleep 1000', { waitSeconds: 0 }));
    await until(long, 'Running');
    const isStopped = { now: false };
    const answers: CurlAnswer[] = [];
    const asking = Array.from({ length: 2 }, async () => {
      while (!isStopped.now) answers.push(await inBox('echo late'));
    });
    await eventually('some were run', () => Promise.resolve(answers.length > 4 ? true : undefined));
    await world.user.patch({ name: 'box' }, { desiredState: 'Stopped' });
    await world.user.untilState({ name: 'box' }, 'Stopped');
    await eventually('some were refused', () => Promise.resolve(answers.some(({ status }) => status === 409) ? true : undefined));
    isStopped.now = true;
    await Promise.all(asking);
    expect(taskOf(await get(long, '?waitSeconds=60'))).toMatchObject({ result: { outcome: 'SandboxStopped' } });
    const outputOf = await caller.curl(pod(), `/sandbox/tasks/${long}/output`);
    expect(outputOf.body).toBe('begun\n');
    for (const answer of answers) {
      if (answer.status === 201) {
        const { result } = await endedTask(caller, pod(), answer);
        const isWhole = result?.outcome === 'Exited' && result.exitCode === 0;
        const isStopped = result?.outcome === 'SandboxStopped' || result?.reason === 'SandboxStopped';
        expect({ result, isDefined: isWhole || isStopped }).toMatchObject({ isDefined: true });
      } else expect([answer.status, codeOf(answer)]).toEqual([409, expect.stringMatching(/^Sandbox(NotRunning|Changed)$/)]);
    }
    await world.user.patch({ name: 'box' }, { desiredState: 'Started' });
    await world.user.untilState({ name: 'box' }, 'Started');
    const runner = world.runnerOf(await world.user.sandbox({ name: 'box' }));
    await written(runner, metadata.uid, '/data/under');
    await eventually('tasks run in it again', async () => (taskOf(await inBox('echo again')).stdout.text === 'again\n' ? true : undefined));
    await idle();
  });

  it('a task that meets a sandbox that is paused for a backup waits for the end of the pause', async () => {
    await world.user.create(
      aSandbox('large', {
        image: world.image,
        command: after('head -c 100000000 /dev/urandom > /large; touch /ready'),
        resources: { limits: { cpu: '500m', memory: '256Mi' } },
        backup: { policy: 'Manual' },
      }),
    );
    const { metadata, status } = await world.user.untilState({ name: 'large' }, 'Started');
    const runner = world.runnerOf({ status });
    const task = (script: string) => run({ sandbox: { name: 'large' }, command: ['sh', '-c', script] });
    await eventually('its files are written', async () => (taskOf(await task('test -e /ready')).result?.exitCode === 0 ? true : undefined));
    const isOver = { now: false };
    const answers: CurlAnswer[] = [];
    const asking = Array.from({ length: 3 }, async () => {
      while (!isOver.now) answers.push(await task('echo ran; cat /proc/uptime > /dev/null'));
    });
    await world.user.patch({ name: 'large' }, { backup: { requestID: 'now' } });
    const done = await world.user.until(
      { name: 'large' },
      'is backed up',
      ({ status: now }) => now.backup?.requestID === 'now' && now.backup.operation === undefined,
    );
    isOver.now = true;
    await Promise.all(asking);
    expect(done.status.backup?.history.map(({ takenWhile }) => takenWhile)).toEqual(['Paused']);
    const paused = readFileSync(runner.agent.logFile, 'utf8')
      .split('\n')
      .filter((line) => line.includes('The sandbox was paused for a backup') && line.includes(metadata.uid))
      .map((line) => (JSON.parse(line) as { readonly ms: number }).ms);
    expect(paused).toHaveLength(1);
    const tasks = answers.map(taskOf);
    for (const one of tasks) expect(one).toMatchObject({ stdout: { text: 'ran\n' }, result: { outcome: 'Exited', exitCode: 0 } });
    // One of them was accepted in the pause, and was not started in it.
    const waits = tasks.map(({ acceptedTime, startTime = '', result }) => ({
      startTime,
      acceptedTime,
      ms: Date.parse(result?.finishTime ?? '') - Date.parse(acceptedTime),
    }));
    expect({ waits, longest: Math.max(...waits.map(({ ms }) => ms)) >= (paused[0] ?? 0) / 2 }).toMatchObject({ longest: true });
    await world.user.delete({ name: 'large' });
    await idle();
  });

  it.each([
    { how: 'asked to end', end: 'stop' as const },
    { how: 'killed', end: 'kill' as const },
  ])('tasks survive an agent that is $how and started again, and who waits for them gets their results', async ({ end }) => {
    const { status } = await world.user.sandbox({ name: 'box' });
    const runner = world.runnerOf({ status });
    const script = 'for i in $(seq 1 60); do echo line $i; sleep 0.1; done; exit 6';
    const reserved = idOf(await caller.post(pod(), '/sandbox/reserve', { sandbox: { name: 'box' }, ttlSeconds: 300 }));
    const [slot] = [await caller.post(pod(), '/sandbox/reserve', { sandbox: { name: 'box' }, ttlSeconds: 300 })];
    const key = randomUUID();
    const ids = [
      idOf(await run({ sandbox: { name: 'box' }, command: ['sh', '-c', script], waitSeconds: 0 }, key)),
      idOf(await alone(script, { waitSeconds: 0, reservationID: idOf(slot) })),
    ];
    for (const id of ids) await until(id, 'Running');
    const waiting = ids.map((id) => get(id, '?waitSeconds=60'));
    await runner.agent[end]();
    await runner.agent.start();
    for (const answer of await Promise.all(waiting)) expect(taskOf(answer).result).toMatchObject({ outcome: 'Exited', exitCode: 6 });
    const lines = Array.from({ length: 60 }, (_, n) => `line ${n + 1}\n`).join('');
    for (const id of ids) expect((await caller.curl(pod(), `/sandbox/tasks/${id}/output`)).body).toBe(lines);
    const retried = await run({ sandbox: { name: 'box' }, command: ['sh', '-c', script], waitSeconds: 60 }, key);
    expect(taskOf(retried)).toMatchObject({ id: ids[0], repeated: true, result: { exitCode: 6 } });
    expect((await caller.curl(pod(), `/sandbox/reservations/${reserved}`, '-X', 'DELETE')).status).toBe(200);
    expect((await world.user.sandbox({ name: 'box' })).status).toMatchObject({ state: 'Started', restartCount: status.restartCount });
    await idle();
  });
});
