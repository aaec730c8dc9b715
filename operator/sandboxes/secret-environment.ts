import type { EnvironmentVariable } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { SandboxSpec } from '../../crds/index.ts';
import type { MissingEnvironment } from '../lifecycle/snapshot.ts';

/** One variable of spec.env that comes from a Secret. */
export interface SecretReference {
  /** Name of the variable. */
  readonly variable: string;
  readonly secret: string;
  readonly key: string;
  /** The variable is left out when Secret or key are not there. */
  readonly isOptional: boolean;
}

/** The variables of a sandbox that come from Secrets, or why one of them does not. */
export type SecretEnvironment =
  | { readonly kind: 'Ready'; readonly variables: readonly EnvironmentVariable[] }
  | MissingEnvironment
  /** It runs as ordered, so that nobody asked: what came of it can not be sent. */
  | { readonly kind: 'NotRead' };

/** The Secrets by name; undefined for one that does not exist or may not be read. */
export type SecretsByName = ReadonlyMap<string, object | undefined>;

/** MAX_ARG_STRLEN of Linux, in which name, `=` and the final NUL lie, too. */
const longestVariable = 131_072;

export function secretReferences({ env = [] }: Pick<SandboxSpec, 'env'>): readonly SecretReference[] {
  return env.flatMap(({ name, valueFrom }) => {
    if (valueFrom === undefined) return [];
    const { name: secret, key, optional } = valueFrom.secretKeyRef;
    return [{ variable: name, secret, key, isOptional: optional }];
  });
}

/** Takes the variables out of the Secrets. Nothing of their content is in any message. */
export function environmentFrom(references: readonly SecretReference[], secrets: SecretsByName): SecretEnvironment {
  const read = references.map((reference) => readVariable(reference, secrets.get(reference.secret)));
  const missing = read.find((result) => result?.kind === 'Missing');
  if (missing !== undefined) return missing;
  return { kind: 'Ready', variables: read.filter((result) => result?.kind === 'Variable').map(({ name, value }) => ({ name, value })) };
}

type Read = { readonly kind: 'Variable'; readonly name: string; readonly value: string } | MissingEnvironment | undefined;

function readVariable(reference: SecretReference, secret: object | undefined): Read {
  const { variable, isOptional } = reference;
  if (secret === undefined) {
    return isOptional ? undefined : missing('EnvSecretNotFound', reference, 'does not exist or can not be read');
  }
  const encoded = dataOf(secret)[reference.key];
  if (typeof encoded !== 'string') {
    return isOptional ? undefined : missing('EnvSecretKeyNotFound', reference, `has no key "${reference.key}"`);
  }
  const value = textOf(Buffer.from(encoded, 'base64'));
  const fits = value !== undefined && !value.includes('\0') && Buffer.byteLength(`${variable}=${value}`) < longestVariable;
  if (fits) return { kind: 'Variable', name: variable, value };
  const why = `has in its key "${reference.key}" what no environment variable can hold: bytes that are not UTF-8 text, a NUL byte or more than 128 KiB`;
  return missing('EnvSecretInvalid', reference, why);
}

function missing(reason: MissingEnvironment['reason'], { secret, variable }: SecretReference, what: string): MissingEnvironment {
  return { kind: 'Missing', reason, message: `The Secret "${secret}", from which spec.env takes ${variable}, ${what}.` };
}

function dataOf(secret: object): Readonly<Record<string, unknown>> {
  const { data } = secret as { readonly data?: unknown };
  return typeof data === 'object' && data !== null ? (data as Readonly<Record<string, unknown>>) : {};
}

/** Undefined for what is no UTF-8: that is not read back as it was written. */
function textOf(content: Buffer): string | undefined {
  const text = content.toString('utf8');
  return Buffer.from(text).equals(content) ? text : undefined;
}
