import { pino } from 'pino';
import type { DestinationStream } from 'pino';
import type { Clock } from './clock.ts';
import { BerthError } from './errors.ts';

export type LogFields = Readonly<Record<string, unknown>>;
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/**
 * Structured log. Messages are constant strings; what varies goes into `fields`. An error goes under the field `err`.
 * Values under the names that `isSecretKey` knows never appear, however deep they are.
 */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger that adds these fields to every line. */
  child(fields: LogFields): Logger;
}

export interface LogOptions {
  /** The binary: field `name` of every line. */
  readonly name: string;
  /** Gives the field `time`. */
  readonly clock: Pick<Clock, 'now'>;
  /** Lines below this level are not written. Default info. */
  readonly level?: LogLevel;
  /** Default standard error, written synchronously so that a crash loses nothing. */
  readonly destination?: DestinationStream;
}

const secretWords =
  /(authorization|cookie|password|passwd|secret|credential|private-?key|client-?key|api-?key|identitytoken|registrytoken|stringdata)/i;
const tokenWord = /^(.*-)?token$|Token$/;
/** Names that sound secret and are not. */
const harmless = new Set(['secretName', 'secretNamespace', 'imagePullSecrets', 'continueToken']);

/** True for the name of a field whose value is never logged. */
export function isSecretKey(key: string): boolean {
  return !harmless.has(key) && (secretWords.test(key) || tokenWord.test(key));
}

/** One JSON object a line. */
export function createLogger(options: LogOptions): Logger {
  const settings = {
    level: options.level ?? 'info',
    base: { name: options.name },
    timestamp: () => `,"time":"${new Date(options.clock.now()).toISOString()}"`,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => redact(fields, 0) as Record<string, unknown>,
    },
    serializers: { err: (value: unknown) => value },
  };
  return wrap(pino(settings, options.destination ?? pino.destination({ dest: 2, sync: true })));
}

/** Says nothing: for tests and the simulation. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};

type PinoLike = Pick<Logger, LogLevel> & { child(fields: object): PinoLike };

function wrap(inner: PinoLike): Logger {
  return {
    debug: (fields, message) => inner.debug(fields, message),
    info: (fields, message) => inner.info(fields, message),
    warn: (fields, message) => inner.warn(fields, message),
    error: (fields, message) => inner.error(fields, message),
    child: (fields) => wrap(inner.child(redact(fields, 0) as object)),
  };
}

const deepest = 8;

/** A copy in which secrets are replaced, errors are plain objects and what lies too deep is cut. */
function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`;
  if (depth >= deepest) return '<too deep>';
  if (value instanceof Error) return redactError(value, depth);
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  const entries = value instanceof Map ? [...value].map(([key, item]) => [String(key), item] as const) : Object.entries(value);
  return Object.fromEntries(
    entries.map(([key, item]) => [key, item !== undefined && isSecretKey(key) ? '<redacted>' : redact(item, depth + 1)]),
  );
}

function redactError(error: Error, depth: number): object {
  return {
    type: error.name,
    ...(error instanceof BerthError ? { code: error.code, details: redact(error.details, depth + 1) } : {}),
    message: error.message,
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}
