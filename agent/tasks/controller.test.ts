import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { RecordFile } from '../journal/record-file.client.ts';
import { CopyState, type CopyReport } from '../proto/gen/berth/agent/v1/agent.ts';
import {
  TaskOutcome,
  TaskPhase,
  type SubmitTask,
  type TaskCapacity,
  type TaskReply,
  type TaskRequest,
  type TaskState,
} from '../proto/gen/berth/agent/v1/tasks.ts';
import { TaskController } from './controller.ts';
import { FakeTaskRuntime } from './fake-task-runtime.ts';
import { TaskFiles } from './files.client.ts';
import type { TaskLink } from './peer.ts';
import type { ProcessState } from './runtime.ts';
import { applyTaskRecords, compactTasks, emptyTasks, resultKeptMs } from './reduce.ts';

const format = { empty: emptyTasks, apply: applyTaskRecords, compact: compactTasks } as const;
const copy = { uid: 'u1', epoch: 1, contentVersion: 3, state: CopyState.COPY_STATE_RUNNING } as CopyReport;

function task(taskId: string, of: Partial<SubmitTask> = {}): SubmitTask {
  return {
    ...{ taskId, storeId: 'store-1', caller: 'alice', reservationId: '', keyHash: '', bodyHash: 'body', credentials: [] },
    spec: {
      where: { $case: 'sandbox', value: { uid: 'u1', contentVersion: 0 } },
      ...{ command: ['true'], args: [], env: [{ name: 'SECRET', value: 'hidden' }], workingDir: '', stdin: undefined, streamStdin: false },
      ...{ limits: undefined, inputFiles: [], outputFiles: [], graceSeconds: 0 },
    },
    ...of,
  };
}

describe('the tasks of an agent', () => {
  let directory: string;
  let runtime: FakeTaskRuntime;
  let clock: FakeClock;
  let agents: { end(): Promise<void> }[];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-tasks-'));
    runtime = new FakeTaskRuntime();
    clock = new FakeClock();
    agents = [];
  });
  afterEach(async () => {
    for (const agent of agents) await agent.end();
    await rm(directory, { recursive: true, force: true });
  });

  /** One start of the agent on the same disk and the same runtime. */
  async function anAgent(slots = 2) {
    const journal = await RecordFile.open({ path: join(directory, 'journal'), clock, log: silentLogger, ballastBytes: 1024 }, format);
    const capacities: TaskCapacity[] = [];
    const controller = new TaskController({
      ...{ journal, runtime, clock, log: silentLogger, files: new TaskFiles(directory) },
      copies: {
        inventory: () => ({ copies: runtime.hasSandbox ? [copy] : [], runner: undefined as never, tick: 1, unclaimed: undefined }),
        attach: () => () => undefined,
      },
      identity: { runnerName: 'node-1', storeID: 'store-1', incarnation: 1, bootID: 'boot-1' },
      onCapacity: (capacity) => capacities.push(capacity),
      onFailed: (error) => {
        throw error;
      },
    });
    controller.setSlots(slots, 100);
    await controller.start();
    const agent = {
      capacities,
      journal,
      pod: () => new Pod(controller),
      end: async () => {
        controller.stop();
        await journal.close();
      },
    };
    agents.push(agent);
    return agent;
  }

  class Pod {
    readonly states: TaskState[] = [];
    readonly #replies = new Map<string, (reply: TaskReply['reply']) => void>();
    readonly #link: TaskLink;
    #count = 0;

    constructor(controller: TaskController) {
      this.#link = controller.connect({
        reply: ({ requestId, reply }) => this.#replies.get(requestId)?.(reply),
        event: ({ event }) => {
          if (event?.$case === 'task') this.states.push(event.value);
        },
        dial: () => {
          throw new Error('nothing is transferred here');
        },
      });
    }

    ask(request: TaskRequest['request']): Promise<TaskReply['reply']> {
      const requestId = String(++this.#count);
      const reply = new Promise<TaskReply['reply']>((resolve) => this.#replies.set(requestId, resolve));
      this.#link.request({ requestId, request });
      return reply;
    }

    async code(request: TaskRequest['request']): Promise<string> {
      const reply = await this.ask(request);
      return reply?.$case === 'rejected' ? reply.value.code : (reply?.$case ?? '');
    }

    async submit(value: SubmitTask): Promise<TaskState> {
      const reply = await this.ask({ $case: 'submit', value });
      if (reply?.$case !== 'task') throw new Error(JSON.stringify(reply));
      return reply.value;
    }

    async until(phase: TaskPhase): Promise<TaskState> {
      return soon(() => this.states.find((state) => state.phase === phase));
    }
  }

  it('a command is recorded, started once and told to the end; its slot is free then', async () => {
    const agent = await anAgent();
    const pod = agent.pod();
    await pod.submit(task('t1'));
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    expect(agent.capacities.at(-1)).toMatchObject({ slots: 2, used: 1, reserved: 0, queued: 0 });
    runtime.end('t1', 3);
    expect((await pod.until(TaskPhase.TASK_PHASE_ENDED)).end).toMatchObject({ exitCode: 3, hasOutput: true });
    expect(agent.capacities.at(-1)).toMatchObject({ used: 0 });
    expect(runtime.done).toEqual(['start t1']);
  });

  it('two pods that submit under one key at once make one task; another body is a conflict', async () => {
    const agent = await anAgent();
    const [one, two] = [agent.pod(), agent.pod()];
    const states = await Promise.all([one.submit(task('t1', { keyHash: 'k' })), two.submit(task('t2', { keyHash: 'k' }))]);
    expect(states.map(({ taskId, repeated }) => ({ taskId, repeated }))).toEqual([
      { taskId: 't1', repeated: false },
      { taskId: 't1', repeated: true },
    ]);
    expect(await two.code({ $case: 'submit', value: task('t3', { keyHash: 'k', bodyHash: 'another' }) })).toBe('IdempotencyConflict');
    await one.until(TaskPhase.TASK_PHASE_RUNNING);
    runtime.end('t1', 0);
    await Promise.all([one, two].map((pod) => pod.until(TaskPhase.TASK_PHASE_ENDED)));
    expect(runtime.done).toEqual(['start t1']);
  });

  it('a reservation outlives the agent and is good for one task', async () => {
    const before = await anAgent(1);
    const reply = await before.pod().ask({
      $case: 'ticket',
      value: { ticketId: 'x', caller: 'alice', ageMs: 0, waitMs: 0, sole: true, ttlMs: 60_000 },
    });
    const reservationId = reply?.$case === 'reservation' ? reply.value.reservationId : '';
    expect(reservationId).toMatch(/^[0-9a-f-]{36}\.store-1\.node-1$/);
    await before.end();
    const agent = await anAgent(1);
    const pod = agent.pod();
    expect(await pod.code({ $case: 'submit', value: task('t0') })).toBe('NoSlot');
    await pod.submit(task('t1', { reservationId }));
    expect((await pod.submit(task('t2', { reservationId }))).taskId).toBe('t1');
    expect(await pod.code({ $case: 'submit', value: task('t3', { reservationId, bodyHash: 'another' }) })).toBe('ReservationUsed');
    expect(await pod.ask({ $case: 'release', value: { reservationId } })).toMatchObject({ value: { taskId: 't1' } });
    expect(agent.capacities.at(-1)).toMatchObject({ used: 1, reserved: 0 });
  });

  it('a task that runs is followed by the next agent, and holds its slot meanwhile', async () => {
    const before = await anAgent();
    const pod = before.pod();
    await pod.submit(task('t1'));
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    await before.end();
    const agent = await anAgent();
    const next = agent.pod();
    expect(agent.capacities.at(-1)).toMatchObject({ used: 1 });
    expect(await next.code({ $case: 'watch', value: { taskId: 't1' } })).toBe('task');
    runtime.end('t1', 7);
    expect((await next.until(TaskPhase.TASK_PHASE_ENDED)).end).toMatchObject({ exitCode: 7 });
    expect(runtime.done).toEqual(['start t1']);
  });

  it('a task whose shim gives no answer holds up nothing, and is followed and cancelled when it does', async () => {
    const before = await anAgent();
    const pod = before.pod();
    for (const id of ['t1', 't2']) await pod.submit(task(id));
    await soon(() => (runtime.done.length === 2 ? true : undefined));
    await before.end();
    runtime.silent.add('t1');
    const agent = await anAgent();
    const next = agent.pod();
    for (const taskId of ['t1', 't2']) expect(await next.code({ $case: 'watch', value: { taskId } })).toBe('task');
    runtime.end('t2', 7);
    expect(await next.until(TaskPhase.TASK_PHASE_ENDED)).toMatchObject({ taskId: 't2', end: { exitCode: 7 } });
    expect(agent.capacities.at(-1)).toMatchObject({ used: 1 });
    expect(await next.code({ $case: 'cancel', value: { taskId: 't1' } })).toBe('task');
    await clock.run(10_000);
    runtime.silent.clear();
    await clock.run(10_000);
    await soon(() => {
      clock.advance(1);
      return next.states.find(({ taskId, phase }) => taskId === 't1' && phase === TaskPhase.TASK_PHASE_ENDED);
    });
    expect(next.states.at(-1)?.end).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_CANCELLED });
    expect(runtime.done).toEqual(['start t1', 'start t2']);
  });

  it('a task that was cancelled is killed by the next agent when this one does not come to it', async () => {
    const first = await anAgent();
    const pod = first.pod();
    const { spec } = task('t1');
    await pod.submit(task('t1', { spec: spec && { ...spec, graceSeconds: 5 } }));
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    expect(await pod.code({ $case: 'cancel', value: { taskId: 't1' } })).toBe('task');
    expect(runtime.done).toEqual(['start t1', 'signal 15 t1']);
    await first.end();
    const next = (await anAgent()).pod();
    expect(await next.code({ $case: 'watch', value: { taskId: 't1' } })).toBe('task');
    clock.advance(5_000);
    expect((await next.until(TaskPhase.TASK_PHASE_ENDED)).end).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_CANCELLED, signal: 9 });
    expect(runtime.done).toEqual(['start t1', 'signal 15 t1', 'signal 15 t1']);
  });

  it('a task that is cancelled while it is being started is ended once it runs', async () => {
    const pod = (await anAgent()).pod();
    const start = Promise.withResolvers<undefined>();
    runtime.beforeStart = start.promise;
    await pod.submit(task('t1'));
    await soon(() => (runtime.done.includes('start t1') ? true : undefined));
    expect(await pod.code({ $case: 'cancel', value: { taskId: 't1' } })).toBe('task');
    clock.advance(1_000);
    start.resolve(undefined);
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    await soon(() => {
      clock.advance(1);
      return pod.states.some(({ phase }) => phase === TaskPhase.TASK_PHASE_ENDED) ? true : undefined;
    });
    expect(pod.states.at(-1)?.end).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_CANCELLED, signal: 9 });
  });

  it('a task whose sandbox went while the agent was away is lost, may have run, and is not run again', async () => {
    const before = await anAgent();
    const pod = before.pod();
    await pod.submit(task('t1'));
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    await before.end();
    runtime.processes.clear();
    runtime.hasSandbox = false;
    const agent = await anAgent();
    expect(await agent.pod().ask({ $case: 'watch', value: { taskId: 't1' } })).toMatchObject({
      value: { end: { mayHaveRun: true, reason: 'SandboxStopped' } },
    });
    expect(agent.capacities.at(-1)).toMatchObject({ used: 0 });
    expect(runtime.done).toEqual(['start t1']);
  });

  describe('a command that the next agent finds made, as its start is under way, is taken back first:', () => {
    const startIsUnderWay = async () => {
      const before = await anAgent();
      runtime.isStartHeld = true;
      await before.pod().submit(task('t1'));
      await soon(() => (runtime.done.includes('start t1') ? true : undefined));
      await before.end();
      runtime.isStartHeld = false;
    };
    const theNext = async () => {
      const pod = (await anAgent()).pod();
      const watch = await pod.ask({ $case: 'watch', value: { taskId: 't1' } });
      const end = watch?.$case === 'task' ? watch.value.end : undefined;
      return { pod, ended: async () => end ?? (await pod.until(TaskPhase.TASK_PHASE_ENDED)).end };
    };

    it('it never ran, and is made and started anew', async () => {
      await startIsUnderWay();
      const { pod, ended } = await theNext();
      await pod.until(TaskPhase.TASK_PHASE_RUNNING);
      runtime.end('t1', 3);
      expect(await ended()).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_EXITED, exitCode: 3 });
      expect(runtime.done).toEqual(['start t1', 'withdraw t1', 'start t1']);
    });

    it('it runs, and is followed, also to its end by a cancel that came meanwhile', async () => {
      await startIsUnderWay();
      const found = Promise.withResolvers<ProcessState>();
      runtime.withdrawn = () => found.promise;
      const { pod, ended } = await theNext();
      expect(await pod.code({ $case: 'cancel', value: { taskId: 't1' } })).toBe('task');
      found.resolve({ kind: 'Running', exit: undefined });
      await pod.until(TaskPhase.TASK_PHASE_RUNNING);
      const process = runtime.processes.get('t1');
      if (process !== undefined) process.state = { kind: 'Running', exit: undefined };
      clock.advance(1);
      expect(await ended()).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_CANCELLED, signal: 9 });
      expect(runtime.done).toEqual(['start t1', 'withdraw t1']);
    });

    it('it has ended, and that is told', async () => {
      await startIsUnderWay();
      runtime.withdrawn = () => {
        runtime.processes.delete('t1');
        return Promise.resolve({ kind: 'Stopped', exit: { status: 4, finishMs: 1_000 } });
      };
      expect(await (await theNext()).ended()).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_EXITED, exitCode: 4 });
      expect(runtime.done).toEqual(['start t1', 'withdraw t1']);
    });

    it('that can not be done: it may have run', async () => {
      await startIsUnderWay();
      runtime.withdrawn = () => Promise.reject(new Error('containerd does not answer'));
      const { ended } = await theNext();
      await soon(() => (runtime.done.includes('withdraw t1') ? true : undefined));
      clock.advance(1_000);
      expect(await ended()).toMatchObject({ outcome: TaskOutcome.TASK_OUTCOME_LOST, mayHaveRun: true });
      expect(runtime.done).toEqual(['start t1', 'withdraw t1']);
    });
  });

  it('what may be secret is gone once it has started, and everything when the result was kept long enough', async () => {
    const agent = await anAgent();
    const pod = agent.pod();
    await pod.submit(task('t1'));
    await pod.until(TaskPhase.TASK_PHASE_RUNNING);
    const own = join(directory, 'tasks', 't1');
    await soon(async () => ((await readdir(own)).includes('spec') ? undefined : true));
    runtime.end('t1', 0);
    await pod.until(TaskPhase.TASK_PHASE_ENDED);
    await soon(async () => ((await readdir(own)).toSorted().join() === 'stderr,stdout' ? true : undefined));
    clock.jump(resultKeptMs + 60_000);
    clock.advance(30_000);
    await soon(async () => ((await readdir(join(directory, 'tasks'))).length === 0 ? true : undefined));
    expect(await pod.code({ $case: 'watch', value: { taskId: 't1' } })).toBe('TaskGone');
  });

  it('a request that is refused leaves nothing', async () => {
    const agent = await anAgent(0);
    const pod = agent.pod();
    expect(await pod.code({ $case: 'submit', value: task('t1') })).toBe('NoSlot');
    expect(await pod.code({ $case: 'submit', value: task('t1', { storeId: 'another' }) })).toBe('StoreMismatch');
    runtime.hasSandbox = false;
    expect(await pod.code({ $case: 'submit', value: task('t1') })).toBe('SandboxNotRunning');
    expect(await readdir(join(directory, 'tasks'))).toEqual([]);
    expect(agent.journal.state()).toEqual(emptyTasks);
  });
});

/** Real files take real time: looks again until there is something. */
async function soon<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const end = performance.now() + 20_000; performance.now() < end;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('it did not happen');
}
