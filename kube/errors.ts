import { BerthError } from '../process/errors.ts';

/** The codes of errors that a KubeTransport throws. */
export type KubeErrorCode =
  | 'NotFound'
  /** The object changed since it was read (409): read again and decide again. */
  | 'Conflict'
  | 'AlreadyExists'
  /** A resourceVersion or continue token is too old (410): list again. */
  | 'Expired'
  /** The server refuses the object (422). */
  | 'Invalid'
  | 'BadRequest'
  | 'Forbidden'
  | 'Unauthorized'
  | 'TooManyRequests'
  /** The server answered with an error of its own (5xx). */
  | 'ServerError'
  /** No answer: connection refused, reset, TLS failure. A write may or may not have happened. */
  | 'Unreachable'
  /** No answer in time. A write may or may not have happened. */
  | 'Timeout'
  /** The answer is not what the API promises. */
  | 'Malformed';

export class KubeError extends BerthError {
  declare readonly code: KubeErrorCode;
  /** How long the server asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: KubeErrorCode,
    message: string,
    options: {
      readonly cause?: unknown;
      readonly details?: Readonly<Record<string, unknown>>;
      readonly retryAfterMs?: number | undefined;
    } = {},
  ) {
    super(code, message, options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** True for an error of a transport with this code. */
export function isKubeError(error: unknown, code: KubeErrorCode): error is KubeError {
  return error instanceof KubeError && error.code === code;
}

/** The write may have happened although it failed: only reading tells. */
export function isAmbiguous(error: unknown): boolean {
  return (
    isKubeError(error, 'Unreachable') ||
    isKubeError(error, 'Timeout') ||
    isKubeError(error, 'ServerError') ||
    isKubeError(error, 'Malformed')
  );
}

interface StatusBody {
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly code?: unknown;
  readonly details?: { readonly retryAfterSeconds?: unknown; readonly causes?: unknown } | undefined;
}

const byStatus: Readonly<Record<number, KubeErrorCode>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  408: 'Timeout',
  409: 'Conflict',
  410: 'Expired',
  415: 'BadRequest',
  422: 'Invalid',
  429: 'TooManyRequests',
  504: 'Timeout',
};

/** The code for an HTTP status and the `reason` of the Status object. */
function codeOf(status: number, reason: unknown): KubeErrorCode {
  if (reason === 'AlreadyExists') return 'AlreadyExists';
  return byStatus[status] ?? (status >= 500 ? 'ServerError' : 'BadRequest');
}

/** The error for an answer that is not 2xx. `what` names the request: `PATCH sandboxes default/a (status)`. */
export function errorFromStatus(what: string, httpStatus: number, body: unknown, retryAfterMs?: number): KubeError {
  const status: StatusBody = typeof body === 'object' && body !== null ? body : {};
  const code = typeof status.code === 'number' && status.code > 0 ? status.code : httpStatus;
  const text = typeof status.message === 'string' && status.message !== '' ? status.message : `status ${code}`;
  const seconds = status.details?.retryAfterSeconds;
  return new KubeError(codeOf(code, status.reason), `${what}: ${text}`, {
    details: {
      status: code,
      ...(status.reason === undefined ? {} : { reason: status.reason }),
      ...(status.details?.causes === undefined ? {} : { causes: status.details.causes }),
    },
    retryAfterMs: retryAfterMs ?? (typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : undefined),
  });
}
