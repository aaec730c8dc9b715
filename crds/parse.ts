import { z } from 'zod';
import { objectMetadataSchema, type ObjectMetadata } from './meta.ts';
import { runnerSchema, type Runner } from './runner.ts';
import { sandboxSchema, type Sandbox } from './sandbox.ts';
import { sandboxStatusSchema, type SandboxStatus } from './sandbox-status.ts';
import type { DeepReadonly } from './schema.ts';

/**
 * Objects are parsed once, where they enter a cache. The parse is lenient about what it does not know: fields of a newer version are
 * dropped, what an older version did not write gets its default. It never throws.
 */

export type Parsed<T, Rest = unknown> =
  { readonly ok: true; readonly value: T } | ({ readonly ok: false; readonly message: string } & Rest);

/** What can still be read of a Sandbox whose spec this version cannot read: enough to report it and to delete it. */
export interface UnreadableSandbox {
  readonly metadata?: ObjectMetadata & { readonly namespace: string };
  readonly status?: SandboxStatus;
}

export function parseSandbox(raw: unknown): Parsed<Sandbox, UnreadableSandbox> {
  const result = sandboxSchema.safeParse(raw);
  if (result.success) return { ok: true, value: result.data };
  const { metadata, status } = (typeof raw === 'object' && raw !== null ? raw : {}) as { metadata?: unknown; status?: unknown };
  const readMetadata = objectMetadataSchema.extend({ namespace: z.string().min(1) }).safeParse(metadata);
  const readStatus = sandboxStatusSchema.safeParse(status ?? {});
  return {
    ok: false,
    message: describeIssues(result.error),
    ...(readMetadata.success && { metadata: readMetadata.data }),
    ...(readStatus.success && { status: readStatus.data }),
  };
}

export function parseRunner(raw: unknown): Parsed<Runner> {
  const result = runnerSchema.safeParse(raw);
  return result.success ? { ok: true, value: result.data } : { ok: false, message: describeIssues(result.error) };
}

/** All issues of a parse, each naming its field as kubectl does: `spec.env[0].name: …`. */
export function describeIssues(error: DeepReadonly<Pick<z.ZodError, 'issues'>>): string {
  return error.issues.map(({ path, message }) => describeIssue(fieldOf(path), message)).join('; ');
}

/** Messages of our own rules begin with the field already. */
function describeIssue(field: string, message: string): string {
  return message.startsWith(field) ? message : `${field}: ${message}`;
}

function fieldOf(path: readonly PropertyKey[]): string {
  return (
    path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`)).join('') || 'the object'
  );
}
