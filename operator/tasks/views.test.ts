import { describe, expect, it } from '@jest/globals';
import { TaskOutcome, TaskPhase, type TaskEnd, type TaskState } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { parsePlacedID, placedID } from './ids.ts';
import { rejectionOf } from './rejections.ts';
import { submitBody } from './schemas.ts';
import { statusOf, type AgentView } from './status.ts';
import { taskSpecOf } from './task-spec.ts';
import { taskViewOf } from './task-view.ts';

describe('ids of what lies on a runner', () => {
  it.each([
    { text: '0a-1.5b-2.runner-1', want: { uuid: '0a-1', storeID: '5b-2', runnerName: 'runner-1' } },
    { text: '0a.5b.node-1.example.org', want: { uuid: '0a', storeID: '5b', runnerName: 'node-1.example.org' } },
    { text: '0a.5b', want: undefined },
    { text: '0a.5b.', want: undefined },
    { text: '0a/.5b.r1', want: undefined },
    { text: `${'a'.repeat(65)}.5b.r1`, want: undefined },
  ])('$text', ({ text, want }) => {
    expect(parsePlacedID(text)).toEqual(want);
    if (want !== undefined) expect(placedID(want)).toBe(text);
  });
});

/** Those of the agent (agent/tasks/codes.ts), which the operator does not import. */
const rejections = (
  'NoSlot QueueFull AgentEnding DiskFull OfferExpired ReservationGone ReservationUsed IdempotencyConflict StoreMismatch SandboxNotRunning SandboxChanged ' +
  'SandboxPaused LimitUnsupported FilesUnsupported InvalidTask UploadGone TaskGone TaskEnded TaskNotStarted TransferUnavailable'
).split(' ');

describe('rejections of agents', () => {
  it.each(rejections)('%s is one of the errors of the API', (code) => {
    expect(rejectionOf({ code, message: '', retryAfterMs: 0, taskId: '' }).code).toBe(code);
  });
  it('keep what the agent says', () => {
    expect(rejectionOf({ code: 'QueueFull', message: 'Full.', retryAfterMs: 1_500, taskId: '' })).toMatchObject({
      status: 429,
      message: 'Full.',
      retryAfter: 2,
    });
    expect(rejectionOf({ code: 'IdempotencyConflict', message: '', retryAfterMs: 0, taskId: 't' })).toMatchObject({
      status: 409,
      details: { taskID: 't' },
    });
    expect(rejectionOf({ code: 'Newer', message: 'No.', retryAfterMs: 0, taskId: '' })).toMatchObject({
      code: 'RunnerRefused',
      details: { agentCode: 'Newer' },
    });
  });
});

describe('statusOf', () => {
  const agent = (runnerName: string, more: Partial<AgentView> = {}): AgentView => ({
    ...{
      instanceID: `a-${runnerName}`,
      runnerName,
      agentID: 'a',
      storeID: `s-${runnerName}`,
      incarnation: 1,
      ageMs: 500,
      startedSandboxes: 1,
    },
    slots: { slots: 4, used: 1, reserved: 1, queued: 0, seq: 7 },
    ...more,
  });
  const operator = { name: 'pod', version: '1' };
  it('adds up what the runners have', () => {
    const { fleet, complete, missing, instances } = statusOf({
      operator,
      agents: [agent('r2'), agent('r1')],
      ready: ['r1', 'r2'],
      waiting: 0,
    });
    expect(fleet).toMatchObject({ slots: 8, used: 2, reserved: 2, free: 4, queued: 0 });
    expect(fleet.runners[0]).toEqual({
      ...{ runnerName: 'r1', storeID: 's-r1', agentID: 'a', incarnation: 1, seq: 7, ageSeconds: 0.5, startedSandboxes: 1 },
      ...{ slots: 4, used: 1, reserved: 1, free: 2, queued: 0 },
    });
    expect([complete, missing, instances.map(({ instanceID }) => instanceID)]).toEqual([true, [], ['a-r1', 'a-r2']]);
  });
  it('counts a disk once, by the newest start of its agent', () => {
    const { fleet, instances } = statusOf({
      ...{ operator, ready: [], waiting: 0 },
      agents: [agent('r1', { storeID: 's', incarnation: 1 }), agent('r1-renamed', { storeID: 's', incarnation: 2 })],
    });
    expect([fleet.slots, fleet.runners.map(({ runnerName }) => runnerName), instances.length]).toEqual([4, ['r1-renamed'], 2]);
  });
  it('names what is missing, and has less than nothing of nothing', () => {
    const shrunk = agent('r1', { slots: { slots: 1, used: 3, reserved: 0, queued: 0, seq: 1 } });
    const status = statusOf({ operator, agents: [shrunk, agent('r2', { slots: undefined })], ready: ['r3', 'r2', 'r1'], waiting: 5 });
    expect(status).toMatchObject({ complete: false, missing: ['r2', 'r3'], waiting: 5, fleet: { free: 0 } });
  });
});

describe('taskSpecOf', () => {
  const body = (more: object) => submitBody.parse(more);
  it('says what the caller says', () => {
    const spec = taskSpecOf(
      body({ image: 'i', stdin: { text: 'ü' }, limits: { cpuSeconds: 0.0015, cpus: 0.5 }, inputFiles: [{ path: '/a', base64: 'AAE=' }] }),
      undefined,
    );
    expect(spec).toMatchObject({
      where: { $case: 'oneShot', value: { image: 'i', imagePullPolicy: 'IfNotPresent', namespace: 'default' } },
      stdin: { content: { $case: 'inline', value: Buffer.from('ü') } },
      limits: { cpuTimeMs: 2, wallTimeMs: 0, cpuMillis: 500, memoryBytes: 0 },
      inputFiles: [{ path: '/a', content: { content: { $case: 'inline', value: Buffer.from([0, 1]) } }, mode: 0o644 }],
    });
    const inSandbox = taskSpecOf(body({ sandbox: { name: 'box' }, command: ['true'] }), { uid: 'u', contentVersion: 3, runnerName: 'r1' });
    expect(inSandbox).toMatchObject({
      where: { $case: 'sandbox', value: { uid: 'u', contentVersion: 3 } },
      command: ['true'],
      stdin: undefined,
    });
  });
  it('takes what was uploaded to the runner where it will run', () => {
    const upload = 'a-1.5-r1.r1';
    const uploaded = { content: { $case: 'uploadId', value: 'a-1' } };
    const files = [{ path: '/a', upload }];
    expect(taskSpecOf(body({ image: 'i', inputFiles: files, reservationID: '1.5-r1.r1' }), undefined)).toMatchObject({
      inputFiles: [{ path: '/a', content: uploaded }],
    });
    const inSandbox = body({ sandbox: { name: 'box' }, command: ['cat'], stdin: { upload } });
    expect(taskSpecOf(inSandbox, { uid: 'u', contentVersion: 3, runnerName: 'r1' })).toMatchObject({ stdin: uploaded });
    expect(() => taskSpecOf(inSandbox, { uid: 'u', contentVersion: 3, runnerName: 'r2' })).toThrow(
      expect.objectContaining({ code: 'UploadGone' }),
    );
  });
  it.each([
    { when: 'an upload is for no runner', given: { image: 'i', stdin: { upload: 'a.5-r1.r1' } }, code: 'InvalidRequest' },
    {
      when: 'secrets are named without an image',
      given: { sandbox: { name: 'b' }, command: ['a'], imagePullSecrets: [{ name: 's' }] },
      code: 'InvalidRequest',
    },
    { when: 'nowhere is named', given: {}, code: 'InvalidRequest' },
    { when: 'two places are named', given: { image: 'i', sandbox: { name: 'b' } }, code: 'InvalidRequest' },
    { when: 'nothing is to be run', given: { sandbox: { name: 'b' } }, code: 'InvalidRequest' },
    {
      when: 'files are to come out of a sandbox',
      given: { sandbox: { name: 'b' }, command: ['a'], outputFiles: ['/a'] },
      code: 'FilesUnsupported',
    },
    { when: 'an input is two things', given: { image: 'i', stdin: { text: 'a', base64: 'AA==' } }, code: 'InvalidRequest' },
    {
      when: 'the inputs are large',
      given: { image: 'i', stdin: { text: 'a'.repeat(40_000) }, inputFiles: [{ path: '/a', text: 'a'.repeat(40_000) }] },
      code: 'BodyTooLarge',
    },
  ])('refuses with $code when $when', ({ given, code }) => {
    expect(() => taskSpecOf(body(given), undefined)).toThrow(expect.objectContaining({ code }));
  });
});

describe('taskViewOf', () => {
  const end: TaskEnd = {
    ...{
      outcome: TaskOutcome.TASK_OUTCOME_LIMIT_EXCEEDED,
      exitCode: 137,
      signal: 9,
      limit: 'CpuTime',
      mayHaveRun: false,
      reason: '',
      message: '',
    },
    ...{
      finishTimeMs: 2_000,
      truncated: false,
      files: [
        { path: '/a', size: 1, problem: '' },
        { path: '/b', size: 0, problem: 'Missing' },
      ],
    },
    usage: { cpuTimeUs: 1_500_000, memoryPeakBytes: 0, wallTimeUs: 2_000_000 },
    ...{ hasOutput: true, stdout: Buffer.from('hi\n'), stderr: Buffer.from([0xff]), keptForMs: 900_000 },
  };
  const state: TaskState = {
    ...{ taskId: 't', phase: TaskPhase.TASK_PHASE_ENDED, caller: 'c', reservationId: '', bodyHash: 'h', repeated: true },
    ...{ acceptedTimeMs: 0, startTimeMs: 1_000, stdoutBytes: 3, stderrBytes: 1, end },
  };
  it('tells how it ended', () => {
    expect(taskViewOf({ uuid: 't', storeID: 's', runnerName: 'r' }, 't.s.r', state)).toEqual({
      ...{ id: 't.s.r', runnerName: 'r', storeID: 's', phase: 'Ended', repeated: true },
      ...{ acceptedTime: '1970-01-01T00:00:00.000Z', startTime: '1970-01-01T00:00:01.000Z' },
      stdout: { bytes: 3, text: 'hi\n' },
      stderr: { bytes: 1, base64: '/w==' },
      result: {
        ...{
          outcome: 'LimitExceeded',
          exitCode: 137,
          signal: 9,
          limit: 'CpuTime',
          finishTime: '1970-01-01T00:00:02.000Z',
          truncated: false,
        },
        usage: { cpuSeconds: 1.5, wallSeconds: 2 },
        files: [
          { path: '/a', size: 1 },
          { path: '/b', size: 0, problem: 'Missing' },
        ],
        keptForSeconds: 900,
      },
    });
  });
});
