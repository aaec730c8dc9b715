import { BerthError } from '../../process/errors.ts';

/** gRPC status codes that decisions depend on. */
export const status = {
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  unavailable: 14,
} as const;

/** The text without the queries of the addresses in it: they hold the state and the signatures of uploads, and say nothing. */
export function withoutQueries(text: string): string {
  return text.replaceAll(/\?[^\s"]*/g, '');
}

/** A call to containerd that was answered with an error, or not at all. `details.said` is containerd's own text, without queries. */
export class ContainerdError extends BerthError {
  /** The gRPC status code. */
  readonly grpcCode: number;
  /** containerd's text. For logs and for classification; may name files of the host. */
  readonly said: string;

  constructor(call: string, grpcCode: number, text: string) {
    const said = withoutQueries(text);
    super('ContainerdFailed', `containerd answered ${call} with: ${said}`, { details: { call, grpcCode, said } });
    this.grpcCode = grpcCode;
    this.said = said;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ContainerdError && error.grpcCode === status.notFound;
}

export function isAlreadyExists(error: unknown): boolean {
  return error instanceof ContainerdError && error.grpcCode === status.alreadyExists;
}

/** Nothing answered, or not in time: what was asked may or may not have happened. */
export function isAmbiguous(error: unknown): boolean {
  return (
    error instanceof ContainerdError &&
    (error.grpcCode === status.unavailable || error.grpcCode === status.deadlineExceeded || error.grpcCode === status.cancelled)
  );
}
