import { BerthError } from '../../process/errors.ts';
import type { BackupErrorCode } from '../copies/runtime.ts';

/**
 * Why a backup could not be made or sent; nothing of what was not made is left. `message` is one sentence for a person and never holds a
 * secret; containerd's own text is in `details.said`.
 */
export class BackupError extends BerthError {
  declare readonly code: BackupErrorCode;

  constructor(
    code: BackupErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(code, message, options);
  }
}
