import { describe, expect, it } from '@jest/globals';
import { noLimits } from './a-task.ts';
import { verdictOf, type TaskEnding } from './verdict.ts';

const ending = (status: number | undefined, of: Partial<TaskEnding> = {}): TaskEnding => ({
  exit: status === undefined ? undefined : { status, finishMs: 1 },
  ...{ killedFor: undefined, sandboxEnded: false, oomKills: 0, pidsRefused: false, isMeasured: true, limits: noLimits, outputBytes: 0 },
  usage: { cpuTimeUs: 0, memoryPeakBytes: 0, wallTimeUs: 0 },
  ...of,
});
const cpu = { limits: { ...noLimits, cpuTimeMs: 100 }, usage: { cpuTimeUs: 100_001, memoryPeakBytes: 0, wallTimeUs: 0 } };
const output = { limits: { ...noLimits, outputBytes: 10 }, outputBytes: 11 };
const killed = 137;

describe('what is told of how a task ended', () => {
  it.each([
    { when: 'it ended well', given: ending(0), want: { outcome: 'Exited', exitCode: 0, signal: 0, limit: '' } },
    { when: 'it failed', given: ending(3), want: { outcome: 'Exited', exitCode: 3, signal: 0, limit: '' } },
    { when: 'a signal ended it', given: ending(139), want: { outcome: 'Exited', exitCode: 139, signal: 11, limit: '' } },
    { when: 'somebody killed it', given: ending(killed), want: { outcome: 'Exited', exitCode: killed, signal: 9, limit: '' } },
    { when: 'it was cancelled', given: ending(143, { killedFor: 'Cancel' }), want: { outcome: 'Cancelled', exitCode: 143, signal: 15 } },
    { when: 'it was cancelled and ended well', given: ending(0, { killedFor: 'Cancel' }), want: { outcome: 'Cancelled', exitCode: 0 } },
    {
      when: 'it was killed for its wall time',
      given: ending(killed, { killedFor: 'WallTime' }),
      want: { outcome: 'LimitExceeded', limit: 'WallTime', signal: 9 },
    },
    {
      when: 'it ended by itself before it was killed',
      given: ending(0, { killedFor: 'WallTime' }),
      want: { outcome: 'Exited', limit: '' },
    },
    {
      when: 'the kernel ended it for cpu time',
      given: ending(152, cpu),
      want: { outcome: 'LimitExceeded', limit: 'CpuTime', signal: 24 },
    },
    { when: 'it was over its cpu time when it ended', given: ending(0, cpu), want: { outcome: 'LimitExceeded', limit: 'CpuTime' } },
    {
      when: 'it seemed to be over its cpu time, as sampled',
      given: ending(0, { ...cpu, isMeasured: false }),
      want: { outcome: 'Exited', limit: '' },
    },
    { when: 'it wrote too much and ended', given: ending(0, output), want: { outcome: 'LimitExceeded', limit: 'Output' } },
    {
      when: 'the kernel killed it for memory',
      given: ending(killed, { oomKills: 1 }),
      want: { outcome: 'LimitExceeded', limit: 'Memory' },
    },
    {
      when: 'the kernel killed a child of it for memory',
      given: ending(1, { oomKills: 1 }),
      want: { outcome: 'Exited', exitCode: 1, limit: 'Memory' },
    },
    { when: 'it could not fork and failed', given: ending(2, { pidsRefused: true }), want: { outcome: 'Exited', limit: 'Pids' } },
    { when: 'it could not fork and did well', given: ending(0, { pidsRefused: true }), want: { outcome: 'Exited', limit: '' } },
    {
      when: 'its sandbox was stopped',
      given: ending(killed, { sandboxEnded: true }),
      want: { outcome: 'SandboxStopped', reason: 'SandboxStopped', mayHaveRun: true },
    },
    {
      when: 'its sandbox was stopped and nobody saw it',
      given: ending(undefined, { sandboxEnded: true }),
      want: { outcome: 'SandboxStopped' },
    },
    { when: 'its sandbox ended after it', given: ending(0, { sandboxEnded: true }), want: { outcome: 'Exited', exitCode: 0 } },
    {
      when: 'nobody saw it',
      given: ending(undefined),
      want: { outcome: 'Lost', reason: 'ProcessLost', mayHaveRun: true },
    },
  ])('$when → $want.outcome', ({ given, want }) => expect(verdictOf(given)).toMatchObject(want));
});
