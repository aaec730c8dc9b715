import type { TaskReply } from '../proto/gen/berth/agent/v1/tasks.ts';
import { taskRejections, type TaskRejectionCode } from './codes.ts';
import type { Refused } from './request.ts';

export const done: TaskReply['reply'] = { $case: 'done', value: {} };

const retryAfterMs: Partial<Record<TaskRejectionCode, number>> = {
  ...{ NoSlot: 1_000, QueueFull: 5_000, AgentEnding: 2_000, DiskFull: 30_000, SandboxPaused: 1_000, TransferUnavailable: 1_000 },
};

export function refusal(code: TaskRejectionCode): Refused {
  return { code, message: taskRejections[code] };
}

/** `taskId`: the task that has the key or the reservation. */
export function rejected(why: TaskRejectionCode | Refused, taskId = ''): TaskReply['reply'] {
  const { code, message } = typeof why === 'string' ? refusal(why) : why;
  return { $case: 'rejected', value: { code, message, retryAfterMs: retryAfterMs[code] ?? 0, taskId } };
}
