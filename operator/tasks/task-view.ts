import type { z } from 'zod';
import { TaskOutcome, TaskPhase, type Reservation, type TaskEnd, type TaskState } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { parsePlacedID, type PlacedID } from './ids.ts';
import type { reservationSchema, taskSchema } from './schemas.ts';

export type TaskView = z.output<typeof taskSchema>;
export type ReservationView = z.output<typeof reservationSchema>;

/** A task as callers see it. */
export function taskViewOf(id: PlacedID, idText: string, state: TaskState): TaskView {
  const { end } = state;
  return {
    id: idText,
    runnerName: id.runnerName,
    storeID: id.storeID,
    phase: phases[state.phase] ?? 'Accepted',
    repeated: state.repeated,
    acceptedTime: timeOf(state.acceptedTimeMs),
    ...(state.startTimeMs > 0 && { startTime: timeOf(state.startTimeMs) }),
    stdout: { bytes: state.stdoutBytes, ...(end?.hasOutput === true && contentOf(end.stdout)) },
    stderr: { bytes: state.stderrBytes, ...(end?.hasOutput === true && contentOf(end.stderr)) },
    ...(end !== undefined && { result: resultOf(end) }),
  };
}

function resultOf(end: TaskEnd): TaskView['result'] {
  const { cpuTimeUs = 0, wallTimeUs = 0, memoryPeakBytes = 0 } = end.usage ?? {};
  return {
    outcome: outcomes[end.outcome] ?? 'Unknown',
    exitCode: end.exitCode,
    ...(end.signal > 0 && { signal: end.signal }),
    ...(end.limit !== '' && { limit: end.limit }),
    ...(end.outcome === TaskOutcome.TASK_OUTCOME_LOST && { mayHaveRun: end.mayHaveRun }),
    ...(end.reason !== '' && { reason: end.reason }),
    ...(end.message !== '' && { message: end.message }),
    finishTime: timeOf(end.finishTimeMs),
    truncated: end.truncated,
    usage: { cpuSeconds: cpuTimeUs / 1e6, wallSeconds: wallTimeUs / 1e6, ...(memoryPeakBytes > 0 && { memoryPeakBytes }) },
    files: end.files.map(({ path, size, problem }) => ({ path, size, ...(problem !== '' && { problem }) })),
    keptForSeconds: end.keptForMs / 1000,
  };
}

const phases: Readonly<Partial<Record<TaskPhase, TaskView['phase']>>> = {
  [TaskPhase.TASK_PHASE_ACCEPTED]: 'Accepted',
  [TaskPhase.TASK_PHASE_RUNNING]: 'Running',
  [TaskPhase.TASK_PHASE_ENDED]: 'Ended',
};

const outcomes: Readonly<Partial<Record<TaskOutcome, NonNullable<TaskView['result']>['outcome']>>> = {
  [TaskOutcome.TASK_OUTCOME_EXITED]: 'Exited',
  [TaskOutcome.TASK_OUTCOME_LIMIT_EXCEEDED]: 'LimitExceeded',
  [TaskOutcome.TASK_OUTCOME_CANCELLED]: 'Cancelled',
  [TaskOutcome.TASK_OUTCOME_SANDBOX_STOPPED]: 'SandboxStopped',
  [TaskOutcome.TASK_OUTCOME_START_FAILED]: 'StartFailed',
  [TaskOutcome.TASK_OUTCOME_LOST]: 'Lost',
};

export function reservationViewOf({ reservationId: id, expiresInMs, taskId }: Reservation): ReservationView {
  const { runnerName = '', storeID = '' } = parsePlacedID(id) ?? {};
  return { id, runnerName, storeID, expiresInSeconds: expiresInMs / 1000, ...(taskId !== '' && { taskID: taskId }) };
}

function contentOf(bytes: Uint8Array): { readonly text: string } | { readonly base64: string } {
  const text = new TextDecoder('utf-8').decode(bytes);
  const isText = !text.includes('\ufffd') && !text.includes('\0');
  return isText ? { text } : { base64: Buffer.from(bytes).toString('base64') };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
