import type { TaskEntry, TaskFacts, TaskLimits, TaskResult } from './record.ts';

export const noLimits: TaskLimits = {
  ...{ cpuTimeMs: 0, wallTimeMs: 0, memoryBytes: 0, pids: 0, outputBytes: 0, cpuMillis: 0, outputFilesBytes: 0 },
};

export function aTask(of: Partial<TaskFacts> = {}): TaskFacts {
  return {
    ...{
      id: 't1',
      caller: 'alice',
      reservationID: '',
      keyHash: '',
      bodyHash: 'body',
      graceSeconds: 1,
      inputFiles: [],
      outputFiles: [],
      streamsStdin: false,
    },
    place: { kind: 'OneShot' },
    limits: noLimits,
    acceptedMs: 1_000,
    ...of,
  };
}

export const inSandbox = { kind: 'Sandbox', uid: 'u1', epoch: 1, contentVersion: 3 } as const;

export function anEntry(of: Partial<TaskEntry> = {}, task: Partial<TaskFacts> = {}): TaskEntry {
  return { task: aTask(task), started: undefined, result: undefined, ...of };
}

export function aResult(of: Partial<TaskResult> = {}): TaskResult {
  return {
    ...{ outcome: 'Exited', exitCode: 0, signal: 0, limit: '', mayHaveRun: true, reason: '', message: '' },
    ...{ startMs: 2_000, finishMs: 3_000, stdoutBytes: 0, stderrBytes: 0, truncated: false, files: [] },
    usage: { cpuTimeUs: 0, memoryPeakBytes: 0, wallTimeUs: 0 },
    ...of,
  };
}
