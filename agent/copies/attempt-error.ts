import { BerthError } from '../../process/errors.ts';
import type { AttemptErrorCode } from './runtime.ts';

/**
 * Why a copy could not be made ready or started: certain, and no process ran. `message` is one sentence for a person and never holds a
 * secret; the runtime's own text is in `details.said`.
 */
export class AttemptError extends BerthError {
  declare readonly code: AttemptErrorCode;

  constructor(
    code: AttemptErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(code, message, options);
  }
}
