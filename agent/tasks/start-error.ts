import { BerthError } from '../../process/errors.ts';
import type { AttemptError } from '../copies/attempt-error.ts';
import type { AttemptErrorCode } from '../copies/runtime.ts';
import type { TaskEndReason } from './codes.ts';

/** Why a task could not be started: certain, and nothing of it ran. `message` is one sentence for a person and never holds a secret. */
export class TaskStartError extends BerthError {
  declare readonly code: TaskEndReason;

  constructor(code: TaskEndReason, message: string, cause?: unknown) {
    super(code, message, { cause });
  }
}

const reasons: Partial<Record<AttemptErrorCode, TaskEndReason>> = {
  CommandMissing: 'CommandNotFound',
  CommandNotFound: 'CommandNotFound',
  CommandNotExecutable: 'CommandNotExecutable',
  WorkingDirNotFound: 'WorkingDirNotFound',
  OutOfDisk: 'OutOfDisk',
  ImageNotFound: 'ImageFailed',
  ImageUnauthorized: 'ImageFailed',
  ImageNotPresent: 'ImageFailed',
  ImageUnsuitable: 'ImageFailed',
  ImagePullFailed: 'ImageFailed',
  RegistryUnavailable: 'ImageFailed',
};

/** What hinders the main program of a sandbox, in the words of tasks. */
export function startErrorOf(error: AttemptError): TaskStartError {
  return new TaskStartError(reasons[error.code] ?? 'RuntimeFailed', error.message, error);
}
