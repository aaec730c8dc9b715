import type { TaskRejection } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import { httpErrors, type HttpErrorCode } from '../http/error-table.ts';
import { ApiError } from '../http/errors.ts';

/** What the API answers when an agent refused, having done nothing. A code that this version does not know is the runner's trouble. */
export function rejectionOf({ code, message, retryAfterMs, taskId }: TaskRejection): ApiError {
  const known: HttpErrorCode = code in httpErrors ? (code as HttpErrorCode) : 'RunnerRefused';
  return new ApiError(known, message === '' ? undefined : message, {
    ...(retryAfterMs > 0 && { retryAfter: Math.ceil(retryAfterMs / 1000) }),
    details: { ...(known !== code && { agentCode: code }), ...(taskId !== '' && { taskID: taskId }) },
  });
}
