import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { oneShotID } from '../../agent/containerd/one-shot.ts';
import { type AgentFailpoint, agentFailpoints } from '../../agent/failpoints.ts';
import { aConfig, anImage, anOrder, toRemove, toStop } from '../../agent/copies/an-order.ts';
import { CopyState, type Hello } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { type SubmitTask, TaskOutcome, TaskPhase, type TaskSpec, TransferKind } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { canBeFrozen, cgroupExists, freezeCgroup, thawCgroup } from '../harness/cgroups.ts';
import { CrashablePart } from '../harness/crash.ts';
import { systemNamespace } from '../harness/identity.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { freePort } from '../harness/ports.ts';
import type { Runner } from '../harness/runner.ts';
import { after } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { inside, lyingOn, nothing } from './lying-on.ts';
import { TaskHub } from './task-hub.ts';
import { startTimeoutMs, World } from './world.ts';

const outcomes = {
  exited: TaskOutcome.TASK_OUTCOME_EXITED,
  limit: TaskOutcome.TASK_OUTCOME_LIMIT_EXCEEDED,
  cancelled: TaskOutcome.TASK_OUTCOME_CANCELLED,
  stopped: TaskOutcome.TASK_OUTCOME_SANDBOX_STOPPED,
  startFailed: TaskOutcome.TASK_OUTCOME_START_FAILED,
};

const noLimits = {
  ...{ cpuTimeMs: 0, wallTimeMs: 0, memoryBytes: 0, pids: 0, outputBytes: 0, cpuMillis: 0, outputFilesBytes: 0 },
};
const MiB = 2 ** 20;

describe('tasks at an agent that gets its requests from a test, with a real containerd', () => {
  let world: World;
  let hub: TaskHub;
  let runner: Runner;
  let hello: Hello;
  let agent: CrashablePart;
  let before: readonly string[];
  /** A sandbox that runs throughout. */
  const uid = randomUUID();

  beforeAll(async () => {
    const port = await freePort();
    world = await World.start({ operators: 0, failpoints: true, agentEnv: { BERTH_OPERATORS: `127.0.0.1:${port}` } });
    const name = `berth-operator.${systemNamespace}.svc`;
    hub = await TaskHub.listen(`127.0.0.1:${port}`, await world.cluster.authority.issue('hub', 'berth-operator', [name]));
    runner = world.cluster.runner('runner-1');
    hello = await hub.connected();
    agent = new CrashablePart(runner.agent, world.cluster.stateDir);
    await runner.agent.restart();
    hello = await hub.connected(hello);
    await startSandbox(uid);
    // The image is there, and with it the shim of the sandbox.
    expect((await run(['true'])).end).toMatchObject({ exitCode: 0 });
    before = await living();
  }, startTimeoutMs);
  afterAll(async () => {
    hub.close();
    await world.stop();
  }, startTimeoutMs);

  /** What lives as long as a task does: its result is kept, and the journal. */
  const living = async () =>
    (await livingOn(runner))
      .filter((line) => !line.includes('/agent/tasks') && !line.includes('/agent/journal'))
      .map((line) => line.replace(/^process \d+/, 'process'));
  const nothingIsLeft = async () => {
    const last: { left: readonly string[] } = { left: [] };
    await eventually(
      'nothing is left',
      async () => {
        last.left = added(before, await living());
        return last.left.length === 0 ? true : undefined;
      },
      () => last.left,
    );
  };
  const startSandbox = async (of: string, order = 1, contentVersion = 1) => {
    const amounts = { cpuMillis: 50, memoryBytes: 64 * MiB, diskBytes: MiB };
    const config = aConfig({
      ...{
        image: world.image,
        command: after('mkdir -p /data'),
        requests: amounts,
        limits: { ...amounts, cpuMillis: 1000 },
        pidsLimit: 64,
      },
      env: [{ name: 'GREETING', value: 'hello' }],
    });
    hub.order(
      anOrder({ uid: of, name: 'by-hand', storeId: hello.storeId, bootId: hello.bootId, order, contentVersion, config, source: anImage }),
    );
    await told(of, CopyState.COPY_STATE_RUNNING, order);
  };
  const told = (of: string, state: CopyState, order: number) =>
    eventually(
      `${of} is told in state ${state}`,
      () => {
        const last = hub.reports.findLast((report) => report.uid === of);
        return Promise.resolve(last?.state === state && last.order === order ? last : undefined);
      },
      () => hub.reports.findLast((report) => report.uid === of),
    );
  const spec = (where: TaskSpec['where'], command: readonly string[], of: Partial<TaskSpec>): TaskSpec => ({
    ...{ where, command: [...command], args: [], env: [], workingDir: '', stdin: undefined, streamStdin: false },
    ...{ limits: undefined, inputFiles: [], outputFiles: [], graceSeconds: 1, ...of },
  });
  const here = (): TaskSpec['where'] => ({ $case: 'sandbox', value: { uid, contentVersion: 0 } });
  const alone = (): TaskSpec['where'] => ({
    $case: 'oneShot',
    value: { image: world.image, imagePullPolicy: 'IfNotPresent', namespace: 'default', runAsUser: undefined, runAsGroup: undefined },
  });
  const task = (what: TaskSpec, of: Partial<SubmitTask> = {}): SubmitTask => ({
    ...{ taskId: randomUUID(), storeId: hello.storeId, caller: 'alice', reservationId: '', keyHash: '', bodyHash: 'body', credentials: [] },
    spec: what,
    ...of,
  });
  const submit = async (value: SubmitTask) => {
    const reply = await hub.ask({ $case: 'submit', value });
    if (reply.$case !== 'task') throw new Error(`the task was not accepted: ${JSON.stringify(reply)}`);
    return reply.value;
  };
  const finish = async (value: SubmitTask) => {
    const { taskId } = await submit(value);
    return await hub.ended(taskId);
  };
  /** In the sandbox. */
  const run = (command: readonly string[], of: Partial<TaskSpec> = {}) => finish(task(spec(here(), command, of)));
  const sh = (script: string, of: Partial<TaskSpec> = {}) => run(['sh', '-c', script], of);
  /** In a container of its own. */
  const runAlone = (script: string, of: Partial<TaskSpec> = {}) => finish(task(spec(alone(), ['sh', '-c', script], of)));
  const running = (taskId: string) =>
    eventually('it runs', () => Promise.resolve(hub.told(taskId).find(({ phase }) => phase === TaskPhase.TASK_PHASE_RUNNING)));
  const slots = () => hub.capacities.at(-1);

  describe('a command in a sandbox', () => {
    it('says its exit code and its output, each stream by itself, and is what the main program is', async () => {
      const { end } = await sh('echo out $GREETING $MORE; echo err >&2; pwd; id -u; exit 3', {
        env: [{ name: 'MORE', value: 'more' }],
        workingDir: '/tmp',
      });
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 3, signal: 0, limit: '', hasOutput: true });
      expect(end?.stdout.toString()).toBe('out hello more\n/tmp\n0\n');
      expect(end?.stderr.toString()).toBe('err\n');
    });

    it('has the capabilities, the filter and no privileges, as the sandbox', async () => {
      const own = await sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
      const sandbox = await inside(runner, uid, 'sh', '-c', "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/1/status");
      expect(own.end?.stdout.toString()).toBe(`${sandbox}\n`);
    });

    it('ends by a signal that it is sent', async () => {
      const { taskId } = await submit(task(spec(here(), ['sleep', '1000'], {})));
      await running(taskId);
      expect(await hub.code({ $case: 'signal', value: { taskId, signal: 10 } })).toBe('task');
      expect((await hub.ended(taskId)).end).toMatchObject({ outcome: outcomes.exited, signal: 10, exitCode: 138 });
      expect(await hub.code({ $case: 'signal', value: { taskId, signal: 10 } })).toBe('TaskEnded');
    });

    it('that is cancelled is asked to end, and killed when it does not', async () => {
      const polite = await submit(
        task(spec(here(), ['sh', '-c', 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'], { graceSeconds: 60 })),
      );
      const stubborn = await submit(task(spec(here(), ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.1; done'], {})));
      for (const { taskId } of [polite, stubborn]) {
        await eventually('it is ready', async () => ((await hub.output(taskId, { follow: false })).stdout === '' ? undefined : true));
        await hub.ask({ $case: 'cancel', value: { taskId } });
      }
      expect((await hub.ended(polite.taskId)).end).toMatchObject({ outcome: outcomes.cancelled, exitCode: 7 });
      expect((await hub.ended(stubborn.taskId)).end).toMatchObject({ outcome: outcomes.cancelled, signal: 9 });
    });

    it.each([
      { what: 'is not there', command: ['/no/such/program'], reason: 'CommandNotFound' },
      { what: 'can not be executed', command: ['/etc/passwd'], reason: 'CommandNotExecutable' },
    ])('never runs when the program $what, and says so', async ({ command, reason }) => {
      expect((await run(command)).end).toMatchObject({ outcome: outcomes.startFailed, reason, mayHaveRun: false });
    });

    it('reads what it is given: at once, uploaded, or as it comes', async () => {
      const inline = await run(['cat'], { stdin: { content: { $case: 'inline', value: Buffer.from('some words') } } });
      expect(inline.end?.stdout.toString()).toBe('some words');
      const [uploadId, large] = [randomUUID(), randomBytes(3 * MiB)];
      await hub.push({ kind: TransferKind.TRANSFER_KIND_UPLOAD, uploadId }, large, true);
      const uploaded = await run(['sha256sum'], { stdin: { content: { $case: 'uploadId', value: uploadId } } });
      expect(uploaded.end?.stdout.toString()).toBe(`${sha256(large)}  -\n`);
      const { taskId } = await submit(
        task(spec(here(), ['sha256sum'], { streamStdin: true, stdin: { content: { $case: 'inline', value: Buffer.from('begin ') } } })),
      );
      await running(taskId);
      await hub.push({ kind: TransferKind.TRANSFER_KIND_STDIN, taskId }, large, false);
      await hub.push({ kind: TransferKind.TRANSFER_KIND_STDIN, taskId }, Buffer.alloc(0), true);
      expect((await hub.ended(taskId)).end?.stdout.toString()).toBe(`${sha256(Buffer.concat([Buffer.from('begin '), large]))}  -\n`);
    });

    it('writes as much as its limit allows and a slow reader misses nothing of it', async () => {
      const { taskId, end, stdoutBytes } = await sh('head -c 5000000 /dev/zero | tr "\\0" x; echo end >&2');
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 0, truncated: false, hasOutput: false });
      expect(stdoutBytes).toBe(5_000_000);
      const { stdout, stderr } = await hub.output(taskId);
      expect(stdout.length).toBe(5_000_000);
      expect(stderr).toBe('end\n');
      expect((await hub.output(taskId, { stdoutOffset: 4_999_990, stderrOffset: 4 })).stdout).toBe('xxxxxxxxxx');
    });

    it('that leaves a program running which holds its output ends all the same', async () => {
      const { end } = await sh('(sleep 600; echo late) & echo started');
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 0 });
      expect(end?.stdout.toString()).toBe('started\n');
      await inside(runner, uid, 'killall', 'sleep');
      await nothingIsLeft();
    });

    it.each([
      { limit: 'Output', limits: { outputBytes: 1000 }, script: 'while :; do echo too much; done' },
      { limit: 'WallTime', limits: { wallTimeMs: 300 }, script: 'sleep 1000 & sleep 1000' },
      { limit: 'CpuTime', limits: { cpuTimeMs: 200 }, script: '(while :; do :; done) & wait' },
    ])('is killed with all that it started for its limit: $limit', async ({ limit, limits, script }) => {
      const { end, taskId } = await sh(script, { limits: { ...noLimits, ...limits } });
      expect(end).toMatchObject({ outcome: outcomes.limit, limit, signal: 9 });
      if (limit === 'Output') expect((await hub.output(taskId)).stdout.length).toBe(1000);
      await nothingIsLeft();
    });

    it.each([
      { code: 'LimitUnsupported', of: { limits: { ...noLimits, memoryBytes: 64 * MiB } } },
      { code: 'FilesUnsupported', of: { outputFiles: ['/data/x'] } },
      { code: 'UploadGone', of: { stdin: { content: { $case: 'uploadId' as const, value: 'nothing' } } } },
      { code: 'InvalidTask', of: { workingDir: 'here' } },
    ])('is refused with $code and leaves no trace', async ({ code, of }) => {
      const value = task(spec(here(), ['true'], of));
      expect(await hub.code({ $case: 'submit', value })).toBe(code);
      expect(await hub.code({ $case: 'watch', value: { taskId: value.taskId } })).toBe('TaskGone');
    });

    it('is refused where its sandbox does not run, or runs under another start', async () => {
      const away: TaskSpec['where'] = { $case: 'sandbox', value: { uid: randomUUID(), contentVersion: 0 } };
      const other: TaskSpec['where'] = { $case: 'sandbox', value: { uid, contentVersion: 2 } };
      expect(await hub.code({ $case: 'submit', value: task(spec(away, ['true'], {})) })).toBe('SandboxNotRunning');
      expect(await hub.code({ $case: 'submit', value: task(spec(other, ['true'], {})) })).toBe('SandboxChanged');
      expect(await hub.code({ $case: 'submit', value: task(spec(here(), ['true'], {}), { storeId: 'another' }) })).toBe('StoreMismatch');
    });

    it('runs once for a key, whichever task it is submitted as; another body is a conflict', async () => {
      const keyHash = randomUUID();
      const first = task(spec(here(), ['sh', '-c', 'echo run >> /data/once'], {}), { keyHash });
      const second = { ...first, taskId: randomUUID() };
      const [one, two] = await Promise.all([submit(first), submit(second)]);
      expect(two.taskId).toBe(one.taskId);
      expect((await submit(second)).repeated).toBe(true);
      expect(await hub.code({ $case: 'submit', value: { ...second, bodyHash: 'another' } })).toBe('IdempotencyConflict');
      await hub.ended(one.taskId);
      expect(await inside(runner, uid, 'cat', '/data/once')).toBe('run');
    });

    it('ends with its sandbox when that is stopped', async () => {
      const other = randomUUID();
      await startSandbox(other);
      const { taskId } = await submit(
        task(spec({ $case: 'sandbox', value: { uid: other, contentVersion: 1 } }, ['sh', '-c', 'echo begun; sleep 1000'], {})),
      );
      await running(taskId);
      hub.order(toStop(2, { uid: other, name: 'by-hand', storeId: hello.storeId, bootId: hello.bootId, graceSeconds: 1 }));
      await told(other, CopyState.COPY_STATE_STOPPED, 2);
      expect((await hub.ended(taskId)).end).toMatchObject({ outcome: outcomes.stopped, reason: 'SandboxStopped', mayHaveRun: true });
      expect((await hub.output(taskId)).stdout).toBe('begun\n');
      hub.order(toRemove(3, { uid: other, name: 'by-hand', storeId: hello.storeId, bootId: hello.bootId, graceSeconds: 1 }));
      await told(other, CopyState.COPY_STATE_ABSENT, 3);
      expect(await lyingOn(runner, other)).toEqual(nothing);
    });
  });

  describe('a one-shot', () => {
    it('runs in a container of its own, is told what it used, and leaves nothing', async () => {
      const { taskId, end } = await runAlone('echo out; echo err >&2; head -c 20000000 /dev/zero | sha256sum >/dev/null; exit 4');
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 4 });
      expect([end?.stdout.toString(), end?.stderr.toString()]).toEqual(['out\n', 'err\n']);
      expect(end?.usage?.cpuTimeUs).toBeGreaterThan(1_000);
      expect(end?.usage?.memoryPeakBytes).toBeGreaterThan(100_000);
      await nothingIsLeft();
      const { containers, snapshots, tasks, cgroups, files } = await lyingOn(runner, taskId);
      expect({ containers, snapshots, tasks, cgroups }).toEqual({ containers: [], snapshots: [], tasks: [], cgroups: [] });
      await eventually('only its output is kept', () =>
        Promise.resolve(files.filter((path) => /stdin|spec|exit|in-/.test(path)).length === 0 ? true : undefined),
      );
    });

    it('has files that it is given, and files of it are kept', async () => {
      const [uploadId, large] = [randomUUID(), randomBytes(1 * MiB)];
      await hub.push({ kind: TransferKind.TRANSFER_KIND_UPLOAD, uploadId }, large, true);
      const { taskId, end } = await runAlone(
        'sh /work/run.sh; cp /work/large /tmp/copy; echo changed >> /work/run.sh; ln -s /tmp/copy /work/link',
        {
          inputFiles: [
            {
              path: '/work/run.sh',
              content: { content: { $case: 'inline', value: Buffer.from('echo I run; mkdir -p /work/dir') } },
              mode: 0o755,
            },
            { path: '/work/large', content: { content: { $case: 'uploadId', value: uploadId } }, mode: 0 },
          ],
          outputFiles: ['/tmp/copy', '/work/link', '/work/run.sh', '/work/dir', '/nothing'],
        },
      );
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 0 });
      expect(end?.stdout.toString()).toBe('I run\n');
      expect(end?.files).toEqual([
        { path: '/tmp/copy', size: MiB, problem: '' },
        { path: '/work/link', size: MiB, problem: '' },
        { path: '/work/run.sh', size: 38, problem: '' },
        { path: '/work/dir', size: 0, problem: 'NotRegular' },
        { path: '/nothing', size: 0, problem: 'Missing' },
      ]);
      expect((await hub.file(taskId, '/tmp/copy')).equals(large)).toBe(true);
      expect((await hub.file(taskId, '/work/run.sh')).toString()).toBe('echo I run; mkdir -p /work/dirchanged\n');
    });

    it.each([
      { limit: 'CpuTime', limits: { cpuTimeMs: 300 }, script: 'while :; do :; done' },
      { limit: 'WallTime', limits: { wallTimeMs: 300 }, script: 'sleep 1000' },
      { limit: 'Memory', limits: { memoryBytes: 16 * MiB }, script: 'exec tail /dev/zero' },
      { limit: 'Output', limits: { outputBytes: 1000 }, script: 'while :; do echo too much; done' },
    ])('is killed for its limit: $limit', async ({ limit, limits, script }) => {
      const { end } = await runAlone(script, { limits: { ...noLimits, ...limits } });
      expect(end).toMatchObject({ outcome: outcomes.limit, limit });
      await nothingIsLeft();
    });

    it('is told that it was refused processes', async () => {
      const script = 'for i in 1 2 3 4 5 6 7 8; do sleep 30 & done; exit 0';
      const { end } = await runAlone(script, { limits: { ...noLimits, pids: 4 } });
      expect(end).toMatchObject({ outcome: outcomes.exited, limit: 'Pids' });
      await nothingIsLeft();
    });

    it('of an image that is not there never runs', async () => {
      const where: TaskSpec['where'] = {
        $case: 'oneShot',
        value: {
          image: `${world.image}-not`,
          imagePullPolicy: 'IfNotPresent',
          namespace: 'default',
          runAsUser: undefined,
          runAsGroup: undefined,
        },
      };
      expect((await finish(task(spec(where, ['true'], {})))).end).toMatchObject({
        outcome: outcomes.startFailed,
        reason: 'ImageFailed',
        mayHaveRun: false,
      });
    });
  });

  describe('slots', () => {
    const ticket = (ticketId: string, of: object = {}) =>
      ({ $case: 'ticket', value: { ticketId, caller: 'alice', ageMs: 0, waitMs: 60_000, sole: true, ttlMs: 60_000, ...of } }) as const;

    it('are reserved, run under once, and told of on every change', async () => {
      const held: string[] = [];
      for (let n = 0; n < 4; n++) {
        const reply = await hub.ask(ticket(randomUUID()));
        if (reply.$case !== 'reservation') throw new Error(JSON.stringify(reply));
        expect(reply.value.reservationId).toMatch(new RegExp(`^[0-9a-f-]{36}\\.${hello.storeId}\\.${runner.name}$`));
        held.push(reply.value.reservationId);
      }
      expect(slots()).toMatchObject({ slots: 4, used: 0, reserved: 4, queued: 0 });
      expect(await hub.code(ticket(randomUUID(), { waitMs: 0 }))).toBe('NoSlot');
      expect(await hub.code({ $case: 'submit', value: task(spec(here(), ['true'], {})) })).toBe('NoSlot');
      const waiting = randomUUID();
      expect(await hub.code(ticket(waiting, { caller: 'bob' }))).toBe('queued');
      const [first = '', second = '', ...others] = held;
      const under = task(spec(here(), ['sh', '-c', 'echo run >> /data/under; cat'], { streamStdin: true }), { reservationId: first });
      const { taskId } = await submit(under);
      await running(taskId);
      expect(slots()).toMatchObject({ slots: 4, used: 1, reserved: 3, queued: 1 });
      expect((await submit({ ...under, taskId: randomUUID() })).taskId).toBe(taskId);
      expect(await hub.code({ $case: 'submit', value: { ...under, taskId: randomUUID(), bodyHash: 'another' } })).toBe('ReservationUsed');
      expect(await hub.ask({ $case: 'getReservation', value: { reservationId: first } })).toMatchObject({ value: { taskId } });
      await hub.ask({ $case: 'release', value: { reservationId: second } });
      await eventually('who waits is offered it', () => Promise.resolve(hub.offers.includes(waiting) ? true : undefined));
      const taken = await hub.ask({ $case: 'take', value: { ticketId: waiting } });
      expect(taken).toMatchObject({ $case: 'reservation', value: { caller: 'bob' } });
      expect(await hub.code({ $case: 'getReservation', value: { reservationId: second } })).toBe('ReservationGone');
      await hub.push({ kind: TransferKind.TRANSFER_KIND_STDIN, taskId }, Buffer.alloc(0), true);
      await hub.ended(taskId);
      for (const reservationId of [...others, taken.$case === 'reservation' ? taken.value.reservationId : '']) {
        expect(await hub.code({ $case: 'extend', value: { reservationId, ttlMs: 120_000 } })).toBe('reservation');
        await hub.ask({ $case: 'release', value: { reservationId } });
      }
      await eventually('all slots are free', () => Promise.resolve(slots()?.used === 0 && slots()?.reserved === 0 ? true : undefined));
      expect(await inside(runner, uid, 'cat', '/data/under')).toBe('run');
    });

    it('are in the status of the Runner', async () => {
      const { taskId } = await submit(task(spec(here(), ['sleep', '1000'], { graceSeconds: 0 })));
      const status = async () =>
        JSON.parse(await world.user.kubectl('get', 'runner', runner.name, '-o', 'jsonpath={.status.tasks}')) as unknown;
      await eventually('it says 1 of 4', async () => (JSON.stringify(await status()).includes('"1/4"') ? true : undefined), status);
      await hub.ask({ $case: 'cancel', value: { taskId } });
      await eventually('it says 0 of 4', async () => (JSON.stringify(await status()).includes('"0/4"') ? true : undefined), status);
    });
  });

  describe('an agent that is away for a while', () => {
    it.each([
      { how: 'asked to end', end: () => runner.agent.stop() },
      { how: 'killed', end: () => runner.agent.kill() },
    ])('and was $how finds its tasks again, with all of their output', async ({ end }) => {
      const script = 'for i in $(seq 1 400); do echo line $i; sleep 0.01; done; exit 5';
      const tasks = [task(spec(here(), ['sh', '-c', script], {})), task(spec(alone(), ['sh', '-c', script], {}))];
      const quick = task(spec(here(), ['sh', '-c', 'sleep 1; exit 6'], {}));
      for (const one of [...tasks, quick]) {
        await submit(one);
        await running(one.taskId);
      }
      const reservation = await hub.ask({
        $case: 'ticket',
        value: { ticketId: randomUUID(), caller: 'alice', ageMs: 0, waitMs: 0, sole: true, ttlMs: 300_000 },
      });
      await end();
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      await runner.agent.start();
      hello = await hub.connected(hello);
      expect((await hub.ended(quick.taskId)).end).toMatchObject({ outcome: outcomes.exited, exitCode: 6 });
      for (const { taskId } of tasks) {
        expect((await hub.ended(taskId)).end).toMatchObject({ outcome: outcomes.exited, exitCode: 5 });
        const lines = (await hub.output(taskId)).stdout.trimEnd().split('\n');
        expect(lines).toEqual(Array.from({ length: 400 }, (_, n) => `line ${n + 1}`));
      }
      const reservationId = reservation.$case === 'reservation' ? reservation.value.reservationId : '';
      expect(await hub.code({ $case: 'release', value: { reservationId } })).toBe('reservation');
      await eventually('all slots are free', () => Promise.resolve(slots()?.used === 0 && slots()?.reserved === 0 ? true : undefined));
      await nothingIsLeft();
    });
  });

  describe('an agent that is killed between two effects of a task, and started again', () => {
    type CommandFailpoint = Extract<AgentFailpoint, `command.${string}`>;
    const cases: Readonly<Record<CommandFailpoint, readonly ('in the sandbox' | 'alone')[]>> = {
      'command.recorded': ['alone'],
      'command.created': ['in the sandbox', 'alone'],
      'command.started': ['in the sandbox', 'alone'],
      // Below: these never run.
      'command.failed': [],
      'command.exited': ['in the sandbox', 'alone'],
      'command.removed': ['in the sandbox', 'alone'],
      'command.ended': ['in the sandbox', 'alone'],
    };
    const rows = Object.entries(cases).flatMap(([failpoint, places]) => places.map((place) => ({ failpoint, place })));

    it('has a case for every failpoint of tasks', () => {
      expect(Object.keys(cases)).toEqual(agentFailpoints.filter((name) => name.startsWith('command.')));
    });

    it.each(rows)('runs a task $place once that it died in at $failpoint', async ({ failpoint, place }) => {
      const where = place === 'alone' ? alone() : here();
      const script = 'echo one run; mkdir -p /data; echo run >> /data/crash; cat /data/crash; exit 9';
      const value = task(
        spec(where, ['sh', '-c', `rm -f /data/crash.done; ${script}`], {
          stdin: { content: { $case: 'inline', value: Buffer.from('x') } },
        }),
      );
      if (place !== 'alone') await inside(runner, uid, 'rm', '-f', '/data/crash');
      agent.arm(failpoint);
      const submitted = submit(value);
      await agent.died();
      await runner.agent.start();
      hello = await hub.connected(hello);
      expect((await submitted).taskId).toBe(value.taskId);
      const { end } = await hub.ended(value.taskId);
      expect(end).toMatchObject({ outcome: outcomes.exited, exitCode: 9 });
      expect(end?.stdout.toString()).toBe('one run\nrun\n');
      if (place !== 'alone') expect(await inside(runner, uid, 'cat', '/data/crash')).toBe('run');
      await nothingIsLeft();
    });

    it.each(['in the sandbox', 'alone'] as const)(
      'does not start a task %s again that could not be started: its shim lives on',
      async (place) => {
        const value = task(spec(place === 'alone' ? alone() : here(), ['/no/such/program'], {}));
        agent.arm('command.failed');
        const submitted = submit(value);
        await agent.died();
        await runner.agent.start();
        hello = await hub.connected(hello);
        await submitted;
        expect((await hub.ended(value.taskId)).end).toMatchObject({
          outcome: outcomes.startFailed,
          reason: 'CommandNotFound',
          mayHaveRun: false,
        });
        expect((await run(['true'])).end).toMatchObject({ exitCode: 0 });
        await nothingIsLeft();
      },
    );

    it.each([
      { until: 'containerd has given it up', goesOn: async () => Promise.resolve() },
      { until: 'the next agent has asked for it', goesOn: () => new Promise<void>((resolve) => setTimeout(resolve, 3_000)) },
    ])('runs a task alone that containerd was making, and goes on making when $until', async ({ until, goesOn }) => {
      const value = task(spec(alone(), ['sh', '-c', 'echo run >> /tmp/ran; cat /tmp/ran; exit 9'], {}));
      const id = oneShotID(value.taskId);
      const bundle = () =>
        readdirSync(runner.taskStateDir).some((namespace) => existsSync(join(runner.taskStateDir, namespace, id))) ? true : undefined;
      // The OCI runtime waits for the first process of the container.
      const cgroup = `${runner.cgroupParent}/${id}`;
      freezeCgroup(runner.cgroupParent);
      try {
        const submitted = submit(value);
        await eventually('it is being made', () => Promise.resolve(canBeFrozen(cgroup) || undefined));
        // It alone: the next agent begins with containers of its own.
        freezeCgroup(cgroup);
        thawCgroup(runner.cgroupParent, cgroup);
        await runner.agent.kill();
        if (until === 'containerd has given it up')
          await eventually(until, () => Promise.resolve(bundle() === undefined ? true : undefined));
        await runner.agent.start();
        hello = await hub.connected(hello);
        await goesOn();
        if (cgroupExists(cgroup)) thawCgroup(cgroup);
        await submitted;
      } finally {
        thawCgroup(runner.cgroupParent);
        if (cgroupExists(cgroup)) thawCgroup(cgroup);
      }
      const { end } = await hub.ended(value.taskId);
      expect({ ...end, stdout: end?.stdout.toString() }).toMatchObject({ outcome: outcomes.exited, exitCode: 9, stdout: 'run\n' });
      await nothingIsLeft();
    });
  });
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
