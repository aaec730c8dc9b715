/** What an answer of the HTTP API that is no success can be: a row of the table below. */
export interface HttpError {
  readonly status: number;
  /** What it says by itself; an answer may say it more precisely. */
  readonly message: string;
  /** Sent as Retry-After, in seconds, unless the answer knows better. Set exactly for what may succeed later by itself. */
  readonly retryAfter?: number;
}

/** Every code that the HTTP API answers with. A code never changes its meaning; clients decide by it, people read the message. */
export const httpErrors = {
  // What was sent is no request that is served here.
  BadRequest: { status: 400, message: 'This is no HTTP/1.1 request.' },
  TlsRequired: { status: 400, message: 'This port speaks TLS: use https.' },
  GrpcOnly: { status: 400, message: 'This port serves agents (gRPC); the HTTP API has another one.' },
  MalformedJson: { status: 400, message: 'The body is no JSON.' },
  JsonTooDeep: { status: 400, message: 'The JSON in the body is nested deeper than 32 levels.' },
  InvalidRequest: { status: 400, message: 'Something in the request is not as it should be.' },
  NotFound: { status: 404, message: 'There is nothing at this path: /openapi.json lists what there is.' },
  MethodNotAllowed: { status: 405, message: 'This method is not served at this path.' },
  RequestTimeout: { status: 408, message: 'The request did not arrive in time.' },
  LengthUnknown: { status: 411, message: 'The body must come with its length or in chunks.' },
  BodyTooLarge: { status: 413, message: 'The body is larger than is taken here.' },
  UriTooLong: { status: 414, message: 'The path and query are too long.' },
  UnsupportedMediaType: { status: 415, message: 'The body must be JSON: send Content-Type: application/json.' },
  ExpectationFailed: { status: 417, message: 'Nothing but "100-continue" can be expected.' },
  HeadersTooLarge: { status: 431, message: 'The header is larger than 16 KiB.' },
  HttpVersionNotSupported: {
    status: 505,
    message: 'This API speaks HTTP/1.1; HTTP/2 is served for agents (gRPC) only. Offer http/1.1, as curl does with --http1.1.',
  },
  // Who asks.
  Unauthenticated: { status: 401, message: 'A bearer token is needed: send Authorization: Bearer <token>.' },
  Forbidden: { status: 403, message: 'The caller is not permitted to do this.' },
  // Room, and waiting for it.
  TooManyWaiting: { status: 429, message: 'Too many callers wait for a slot already.', retryAfter: 2 },
  QueueFull: { status: 429, message: 'Too many wait for a slot of this runner already.', retryAfter: 2 },
  NoSlot: { status: 503, message: 'No slot became free in the time that the request could wait.', retryAfter: 2 },
  NoRunner: { status: 503, message: 'No runner with slots for tasks is connected to an operator pod that can be reached.', retryAfter: 2 },
  OfferExpired: { status: 503, message: 'The slot that was offered was not taken in time.', retryAfter: 1 },
  // Runners.
  RunnerUnreachable: {
    status: 503,
    message: 'The runner is not connected to any operator pod that can be reached: try again later.',
    retryAfter: 1,
  },
  RunnerRefused: { status: 503, message: 'The runner refused it.', retryAfter: 5 },
  AgentEnding: { status: 503, message: 'The agent of the runner is being stopped.', retryAfter: 2 },
  DiskFull: { status: 503, message: 'There is no room on the disk of the runner.', retryAfter: 10 },
  TransferUnavailable: { status: 503, message: 'The data can not be transferred now.', retryAfter: 1 },
  OutcomeUnknown: {
    status: 503,
    message:
      'Nobody can say yet whether it was done. Sent again with the same Idempotency-Key, or under the same reservation, it is not done twice.',
    retryAfter: 1,
  },
  // Reservations and tasks.
  ReservationGone: { status: 404, message: 'There is no such reservation: it expired, was released, or never was.' },
  ReservationUsed: { status: 409, message: 'Another task was run under the reservation.' },
  IdempotencyConflict: { status: 409, message: 'The Idempotency-Key was used for another request.' },
  ClaimUnavailable: { status: 503, message: 'The Idempotency-Key can not be claimed now: the API server does not answer.', retryAfter: 2 },
  StoreMismatch: { status: 409, message: 'The runner has another disk now: what lay on the old one is not there.' },
  SandboxNotFound: { status: 404, message: 'There is no such sandbox.' },
  SandboxNotRunning: { status: 409, message: 'The sandbox does not run.' },
  SandboxUnavailable: { status: 503, message: 'The sandbox can not be looked up now: the API server does not answer.', retryAfter: 2 },
  SandboxChanged: { status: 409, message: 'The sandbox was started anew meanwhile.' },
  SandboxPaused: { status: 503, message: 'The sandbox is paused for a backup.', retryAfter: 5 },
  LimitUnsupported: { status: 400, message: 'The limit can not be kept where the task runs.' },
  FilesUnsupported: { status: 400, message: 'Files go in and out of one-shots only.' },
  InvalidTask: { status: 400, message: 'The task is not as it should be.' },
  ImagePullSecretInvalid: { status: 400, message: 'A Secret in imagePullSecrets does not exist, or holds no credentials for registries.' },
  SecretUnavailable: { status: 503, message: 'The Secrets can not be read now: the API server does not answer.', retryAfter: 2 },
  UploadGone: { status: 409, message: 'An input was not uploaded, or too long ago.' },
  TaskGone: { status: 404, message: 'There is no such task, or its result was kept long enough.' },
  TaskEnded: { status: 409, message: 'The task has ended.' },
  TaskNotStarted: { status: 409, message: 'The task has not started yet.' },
  // This pod.
  Internal: { status: 500, message: 'Something went wrong here that should not; the log has it under the request id.' },
  AuthUnavailable: { status: 503, message: 'Who asks can not be checked now: the API server does not answer.', retryAfter: 2 },
  TooManyConnections: { status: 503, message: 'This operator pod has too many connections.', retryAfter: 1 },
  NotReady: {
    status: 503,
    message: 'This operator pod has just started and does not know the cluster yet: ask another one.',
    retryAfter: 1,
  },
  ShuttingDown: { status: 503, message: 'This operator pod is shutting down: ask another one.', retryAfter: 1 },
} as const satisfies Readonly<Record<string, HttpError>>;

export type HttpErrorCode = keyof typeof httpErrors;

/** The row of a code. */
export function httpErrorOf(code: HttpErrorCode): HttpError {
  return httpErrors[code];
}
