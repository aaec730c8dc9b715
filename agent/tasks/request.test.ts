import { describe, expect, it } from '@jest/globals';
import type { SubmitTask, TaskSpec } from '../proto/gen/berth/agent/v1/tasks.ts';
import { readSubmission } from './request.ts';

const inSandbox: TaskSpec['where'] = { $case: 'sandbox', value: { uid: 'u1', contentVersion: 0 } };
const oneShot: TaskSpec['where'] = {
  $case: 'oneShot',
  value: { image: 'demo:1', imagePullPolicy: 'IfNotPresent', namespace: 'default', runAsUser: undefined, runAsGroup: undefined },
};
const noLimits = {
  ...{ cpuTimeMs: 0, wallTimeMs: 0, memoryBytes: 0, pids: 0, outputBytes: 0, cpuMillis: 0, outputFilesBytes: 0 },
};
const inline = (size: number) => ({ content: { $case: 'inline' as const, value: Buffer.alloc(size) } });
const uploaded = (id: string) => ({ content: { $case: 'uploadId' as const, value: id } });
const file = (path: string, content = inline(1), mode = 0) => ({ path, content, mode });

function submission(of: Partial<TaskSpec>, message: Partial<SubmitTask> = {}): SubmitTask {
  return {
    ...{ taskId: 't1', storeId: 's', caller: 'alice', reservationId: '', keyHash: '', bodyHash: 'body', credentials: [] },
    spec: {
      ...{ where: oneShot, command: ['true'], args: [], env: [], workingDir: '', stdin: undefined, streamStdin: false },
      ...{ limits: undefined, inputFiles: [], outputFiles: [], graceSeconds: 0, ...of },
    },
    ...message,
  };
}

describe('a request to run a task', () => {
  it('is read with the limits that hold where it runs', () => {
    const read = readSubmission(
      submission({
        limits: { ...noLimits, cpuTimeMs: 100 },
        stdin: uploaded('up-1'),
        inputFiles: [file('/work/a'), { path: '/work/b', content: uploaded('up-2'), mode: 0o755 }],
        outputFiles: ['/out'],
      }),
    );
    expect(read).toMatchObject({
      task: {
        ...{ id: 't1', caller: 'alice', bodyHash: 'body', inputFiles: ['/work/a', '/work/b'], outputFiles: ['/out'] },
        limits: { cpuTimeMs: 100, wallTimeMs: 600_000, memoryBytes: 512 * 2 ** 20, pids: 128, outputBytes: 16 * 2 ** 20, cpuMillis: 1_000 },
      },
      sandbox: undefined,
      uploads: ['up-1', 'up-2'],
    });
    const there = readSubmission(submission({ where: inSandbox, limits: { ...noLimits, wallTimeMs: 5 } }));
    expect(there).toMatchObject({
      task: { limits: { cpuTimeMs: 0, wallTimeMs: 5, memoryBytes: 0, pids: 0, outputBytes: 16 * 2 ** 20, cpuMillis: 0 } },
      sandbox: { uid: 'u1', contentVersion: 0 },
    });
  });

  it.each([
    { when: 'nothing says where', request: submission({ where: undefined }), code: 'InvalidTask' },
    { when: 'its id could leave its directory', request: submission({}, { taskId: '../t1' }), code: 'InvalidTask' },
    { when: 'it has no hash', request: submission({}, { bodyHash: '' }), code: 'InvalidTask' },
    { when: 'there is no command', request: submission({ where: inSandbox, command: [] }), code: 'InvalidTask' },
    { when: 'an argument has a zero byte', request: submission({ args: ['a\0b'] }), code: 'InvalidTask' },
    { when: 'a variable has no name', request: submission({ env: [{ name: '', value: 'x' }] }), code: 'InvalidTask' },
    { when: 'its directory is not absolute', request: submission({ workingDir: 'work' }), code: 'InvalidTask' },
    { when: 'an input would go up', request: submission({ inputFiles: [file('/work/../etc/passwd')] }), code: 'InvalidTask' },
    { when: 'an input would go into /proc', request: submission({ inputFiles: [file('/proc/1/mem')] }), code: 'InvalidTask' },
    { when: 'two inputs have one path', request: submission({ inputFiles: [file('/a'), file('/a')] }), code: 'InvalidTask' },
    { when: 'an input has a set-user-id bit', request: submission({ inputFiles: [file('/a', inline(1), 0o4755)] }), code: 'InvalidTask' },
    { when: 'an output is no path', request: submission({ outputFiles: ['out'] }), code: 'InvalidTask' },
    {
      when: 'all inputs together are too large',
      request: submission({ stdin: inline(60_000), inputFiles: [file('/a', inline(6_000))] }),
      code: 'InvalidTask',
    },
    { when: 'an upload could leave its directory', request: submission({ stdin: uploaded('../x') }), code: 'InvalidTask' },
    { when: 'a limit is negative', request: submission({ limits: { ...noLimits, wallTimeMs: -1 } }), code: 'InvalidTask' },
    { when: 'nothing could start in its memory', request: submission({ limits: { ...noLimits, memoryBytes: 1000 } }), code: 'InvalidTask' },
    { when: 'its grace is too long', request: submission({ graceSeconds: 4_000 }), code: 'InvalidTask' },
    {
      when: 'a command in a sandbox is to have memory of its own',
      request: submission({ where: inSandbox, limits: { ...noLimits, memoryBytes: 2 ** 26 } }),
      code: 'LimitUnsupported',
    },
    {
      when: 'a command in a sandbox is to have processes of its own',
      request: submission({ where: inSandbox, limits: { ...noLimits, pids: 3 } }),
      code: 'LimitUnsupported',
    },
    {
      when: 'a command in a sandbox is given files',
      request: submission({ where: inSandbox, inputFiles: [file('/a')] }),
      code: 'FilesUnsupported',
    },
    {
      when: 'a command in a sandbox is to give files',
      request: submission({ where: inSandbox, outputFiles: ['/a'] }),
      code: 'FilesUnsupported',
    },
  ])('is refused when $when', ({ request, code }) => expect(readSubmission(request)).toMatchObject({ code }));
});
