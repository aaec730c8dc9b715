import { z } from 'zod';
import { DNS_LABEL, manifestMetadataSchema, objectMetadataSchema } from './meta.ts';
import { API_GROUP_VERSION, SANDBOX_KIND } from './names.ts';
import { sandboxSpecSchema } from './sandbox-spec.ts';
import { sandboxStatusSchema } from './sandbox-status.ts';
import { ruled, type DeepReadonly } from './schema.ts';

export * from './sandbox-spec.ts';
export * from './sandbox-status.ts';

const typeMeta = {
  apiVersion: z.literal(API_GROUP_VERSION),
  kind: z.literal(SANDBOX_KIND.kind),
};

/** A Sandbox as a user applies it. Names are labels of DNS, because the name becomes a host name and part of a repository's. */
export const sandboxManifestSchema = ruled(
  z.object({
    ...typeMeta,
    metadata: manifestMetadataSchema,
    spec: sandboxSpecSchema,
    status: sandboxStatusSchema.optional(),
  }),
  {
    rule: `self.metadata.name.size() <= 63 && self.metadata.name.matches(r'${DNS_LABEL.source}')`,
    check: ({ metadata: { name } }) => name === undefined || (name.length <= 63 && DNS_LABEL.test(name)),
    message: "metadata.name of a Sandbox must be at most 63 lower-case letters, digits and '-'.",
    at: ['metadata', 'name'],
  },
);
export type SandboxManifest = DeepReadonly<z.input<typeof sandboxManifestSchema>>;

/** A Sandbox as the API server stores it, with every default applied. */
export const sandboxSchema = z.object({
  apiVersion: z.literal(API_GROUP_VERSION).default(API_GROUP_VERSION),
  kind: z.literal(SANDBOX_KIND.kind).default(SANDBOX_KIND.kind),
  metadata: objectMetadataSchema.extend({ namespace: z.string().min(1) }),
  spec: sandboxSpecSchema,
  status: sandboxStatusSchema.prefault({}),
});
export type Sandbox = DeepReadonly<z.output<typeof sandboxSchema>>;
