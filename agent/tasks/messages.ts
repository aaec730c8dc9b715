import { TaskOutcome as OutcomeMessage, TaskPhase, type TaskEnd, type TaskState } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskEntry, TaskOutcome, TaskResult } from './record.ts';
import { resultKeptMs } from './reduce.ts';

/** The most of an output that comes with the end of a task, stdout and stderr together. */
export const mostInlineOutput = 4_096;

/** How far a task is. */
export interface TaskProgress {
  /** 0: it has not started. */
  readonly startMs: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

/** The output of a task that has ended, when it is small enough to come with it. */
export type InlineOutput = { readonly stdout: Uint8Array; readonly stderr: Uint8Array } | undefined;

const outcomes: Readonly<Record<TaskOutcome, OutcomeMessage>> = {
  Exited: OutcomeMessage.TASK_OUTCOME_EXITED,
  LimitExceeded: OutcomeMessage.TASK_OUTCOME_LIMIT_EXCEEDED,
  Cancelled: OutcomeMessage.TASK_OUTCOME_CANCELLED,
  SandboxStopped: OutcomeMessage.TASK_OUTCOME_SANDBOX_STOPPED,
  StartFailed: OutcomeMessage.TASK_OUTCOME_START_FAILED,
  Lost: OutcomeMessage.TASK_OUTCOME_LOST,
};

/** What pods are told of a task. */
export function stateMessage({ task, result }: TaskEntry, progress: TaskProgress, output: InlineOutput, nowMs: number): TaskState {
  const { id, caller, reservationID, bodyHash, acceptedMs } = task;
  return {
    ...{ taskId: id, caller, reservationId: reservationID, bodyHash, repeated: false, acceptedTimeMs: acceptedMs },
    phase: phaseOf(result, progress),
    startTimeMs: result?.startMs ?? progress.startMs,
    stdoutBytes: result?.stdoutBytes ?? progress.stdoutBytes,
    stderrBytes: result?.stderrBytes ?? progress.stderrBytes,
    end: result === undefined ? undefined : endMessage(result, output, nowMs),
  };
}

function phaseOf(result: TaskResult | undefined, { startMs }: TaskProgress): TaskPhase {
  if (result !== undefined) return TaskPhase.TASK_PHASE_ENDED;
  return startMs === 0 ? TaskPhase.TASK_PHASE_ACCEPTED : TaskPhase.TASK_PHASE_RUNNING;
}

function endMessage(result: TaskResult, output: InlineOutput, nowMs: number): TaskEnd {
  const { exitCode, signal, limit, mayHaveRun, reason, message, finishMs, usage, truncated, files } = result;
  const { cpuTimeUs, memoryPeakBytes, wallTimeUs } = usage;
  return {
    outcome: outcomes[result.outcome],
    ...{ exitCode, signal, limit, mayHaveRun, reason, message, truncated },
    finishTimeMs: finishMs,
    usage: { cpuTimeUs, memoryPeakBytes, wallTimeUs },
    files: [...files],
    hasOutput: output !== undefined,
    stdout: Buffer.from(output?.stdout ?? []),
    stderr: Buffer.from(output?.stderr ?? []),
    keptForMs: Math.max(0, Math.round(resultKeptMs - (nowMs - finishMs))),
  };
}
