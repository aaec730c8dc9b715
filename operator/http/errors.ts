import { httpErrorOf, type HttpErrorCode } from './error-table.ts';

/** An answer that is no success, thrown by whoever finds out. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: HttpErrorCode;
  readonly status: number;
  /** Seconds until it is worth another try; undefined where trying again changes nothing. */
  readonly retryAfter: number | undefined;
  /** Facts for programs. Never a secret. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: HttpErrorCode,
    message: string = httpErrorOf(code).message,
    more: { readonly retryAfter?: number; readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    const { status, retryAfter } = httpErrorOf(code);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter === undefined ? undefined : (more.retryAfter ?? retryAfter);
    this.details = more.details ?? {};
  }
}

export function isCode(error: unknown, ...codes: readonly HttpErrorCode[]): error is ApiError {
  return error instanceof ApiError && codes.includes(error.code);
}

/** The body of every answer that is no success. */
export interface ErrorBody {
  readonly error: {
    readonly code: HttpErrorCode;
    readonly message: string;
    readonly requestID?: string;
    /** As the header Retry-After. */
    readonly retryAfterSeconds?: number;
    readonly details?: Readonly<Record<string, unknown>>;
  };
}

export function errorBodyOf({ code, message, retryAfter, details }: ApiError, requestID?: string): ErrorBody {
  return {
    error: {
      code,
      message,
      ...(requestID !== undefined && { requestID }),
      ...(retryAfter !== undefined && { retryAfterSeconds: retryAfter }),
      ...(Object.keys(details).length > 0 && { details }),
    },
  };
}

/** A whole HTTP/1.1 answer for a connection on which no request could be read; the connection ends with it. */
export function rawAnswer(code: HttpErrorCode): string {
  const error = new ApiError(code);
  const body = `${JSON.stringify(errorBodyOf(error))}\n`;
  const retry = error.retryAfter === undefined ? '' : `Retry-After: ${error.retryAfter}\r\n`;
  return `HTTP/1.1 ${error.status} ${code}\r\nContent-Type: application/json\r\n${retry}Content-Length: ${byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
}

const byteLength = (text: string) => new TextEncoder().encode(text).length;
