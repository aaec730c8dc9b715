import { BerthError } from '../process/errors.ts';

/** The codes of errors that a RegistryClient throws. */
export type RegistryErrorCode =
  /** The registry said, as registries say it, that it has no such manifest or blob. */
  | 'NotFound'
  /** What the registry has is not what the digest or the manifest says. */
  | 'Corrupt'
  /** The credentials, or the lack of them, do not suffice. */
  | 'Unauthorized'
  /** The registry does not do this at all, such as deleting where that is turned off. */
  | 'Unsupported'
  /** Nobody can say now: no answer, an error of the registry's own, or an answer that is none of a registry. */
  | 'Unavailable';

/** Messages name the repository and the digest, and say what to do. Never a secret, nor any text that the other end sent. */
export class RegistryError extends BerthError {
  declare readonly code: RegistryErrorCode;
  /** Asking again may help. */
  readonly mayPass: boolean;
  /** The registry as a whole gives no answers now: not only to this question. */
  readonly isOutage: boolean;
  /** How long the registry asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: RegistryErrorCode,
    message: string,
    options: {
      readonly cause?: unknown;
      readonly mayPass?: boolean;
      readonly isOutage?: boolean;
      readonly retryAfterMs?: number | undefined;
    } = {},
  ) {
    super(code, message, options.cause === undefined ? {} : { cause: options.cause });
    this.mayPass = options.mayPass ?? false;
    this.isOutage = options.isOutage ?? false;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export function isRegistryError(error: unknown, code: RegistryErrorCode): error is RegistryError {
  return error instanceof RegistryError && error.code === code;
}

/** Why no answer came, by the code of the system, of TLS or of the HTTP client. */
export function noAnswer(what: string, cause: unknown): RegistryError {
  if (cause instanceof RegistryError) return cause;
  const code = codeOf(cause);
  if (untrusted.has(code)) {
    const advice = 'add the authority that certifies it to the CA file of backups, or correct the certificate';
    return new RegistryError('Unavailable', `${what}: the certificate of the registry is not accepted (${code}): ${advice}.`, {
      cause,
      isOutage: true,
    });
  }
  if (notTls.has(code)) {
    const advice = 'if it speaks plain HTTP on purpose, name its host as one that does';
    return new RegistryError('Unavailable', `${what}: the registry does not speak TLS (${code}): ${advice}.`, { cause, isOutage: true });
  }
  return new RegistryError('Unavailable', `${what}: the registry gives no answer (${code}).`, { cause, mayPass: true, isOutage: true });
}

/** What a status other than success means. `errorCode` is that of the body in the form of the distribution specification. */
export function refusal(what: string, status: number, errorCode: string | undefined, retryAfterMs?: number): RegistryError {
  const said = `status ${status}${errorCode === undefined ? '' : `, ${errorCode}`}`;
  if (status === 404 && errorCode !== undefined && isUnknown(errorCode))
    return new RegistryError('NotFound', `${what}: the registry does not have it (${errorCode}).`);
  if (status === 401 || status === 403)
    return new RegistryError('Unauthorized', `${what}: the registry refuses (${said}): give credentials that may do this.`);
  if (status === 405 || errorCode === 'UNSUPPORTED')
    return new RegistryError('Unsupported', `${what}: the registry does not do this (${said}): allow it in the registry's configuration.`);
  if (status === 408 || status === 429 || status >= 500)
    return new RegistryError('Unavailable', `${what}: the registry can not answer now (${said}).`, {
      // 500 is what a registry says that can not read this one thing from its store.
      ...{ mayPass: true, isOutage: status !== 500 },
      retryAfterMs,
    });
  return new RegistryError('Unavailable', `${what}: this is no answer of a registry (${said}): look what serves this address.`);
}

/** MANIFEST_UNKNOWN, NAME_UNKNOWN, BLOB_UNKNOWN, NOT_FOUND, and what some registries make of them; not UNKNOWN, which says nothing. */
function isUnknown(code: string): boolean {
  return /._UNKNOWN$|NOT_FOUND$/.test(code);
}

const untrusted: ReadonlySet<string> = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_SIGNATURE_FAILURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);
const notTls: ReadonlySet<string> = new Set(['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG']);

function codeOf(cause: unknown): string {
  const { code, name } = (cause ?? {}) as { readonly code?: unknown; readonly name?: unknown };
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'unknown';
}
