/**
 * An error that a person or a program can act on.
 * `code` is stable and CamelCase; `message` says what happened, to what, and what to do.
 */
export class BerthError extends Error {
  override readonly name = 'BerthError';
  readonly code: string;
  /** Facts for logs and programs. Never a secret. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    options: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
