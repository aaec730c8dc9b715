import { z } from 'zod';

/** JSON schema as a CustomResourceDefinition holds it. */
export interface StructuralSchema {
  readonly description?: string;
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly items?: StructuralSchema;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly additionalProperties?: StructuralSchema;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string; readonly message: string; readonly fieldPath?: string }[];
}

/** What zod writes: the same keys and a few that a CRD forbids. */
type WrittenSchema = Omit<StructuralSchema, 'items' | 'properties' | 'additionalProperties'> & {
  readonly items?: WrittenSchema;
  readonly properties?: Readonly<Record<string, WrittenSchema>>;
  readonly additionalProperties?: WrittenSchema;
  readonly anyOf?: unknown;
  readonly propertyNames?: unknown;
};

/** In the order in which they are written, description first as in `kubectl explain`. */
const KEYS = [
  'description',
  'type',
  'format',
  'enum',
  'default',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'pattern',
  'minItems',
  'maxItems',
  'maxProperties',
  'x-kubernetes-int-or-string',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-validations',
  'required',
] as const satisfies readonly (keyof StructuralSchema)[];

const MAX_INT32 = 2_147_483_647;

/**
 * The structural schema of a whole object: apiVersion, kind and metadata are left to the API server, status gets no defaults (the operator
 * writes what it knows, and nothing else is to appear there). The result is checked by `assertStructural` before it is written.
 */
export function structuralSchema(manifest: z.ZodType, description: string): StructuralSchema {
  const written = z.toJSONSchema(manifest, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'throw',
    cycles: 'throw',
    reused: 'inline',
  }) as WrittenSchema;
  const { spec = {}, status = {} } = written.properties ?? {};
  const root = node(written);
  return {
    ...root,
    description,
    required: (root.required ?? []).filter((name) => name === 'spec'),
    properties: {
      apiVersion: { type: 'string', description: 'Group and version of this object.' },
      kind: { type: 'string', description: 'Kind of this object.' },
      // Only so that a rule can name the field.
      metadata: { type: 'object', properties: { name: { type: 'string', maxLength: 253, description: 'Name of this object.' } } },
      spec: node(spec),
      status: withoutDefaults(node(status)),
    },
  };
}

function node(written: WrittenSchema): StructuralSchema {
  const known = Object.fromEntries(KEYS.filter((key) => written[key] !== undefined).map((key) => [key, written[key]])) as StructuralSchema;
  return {
    ...known,
    ...(known.type === 'integer' && integer(written)),
    ...(written.items && { items: node(written.items) }),
    ...(written.properties && { properties: mapValues(written.properties, node) }),
    ...(written.additionalProperties && { additionalProperties: node(written.additionalProperties) }),
  };
}

/** zod writes the bounds of what JavaScript can hold; a CRD says it by the format. */
function integer({ minimum, maximum }: WrittenSchema): StructuralSchema {
  const bounded = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  return {
    format: bounded && maximum <= MAX_INT32 ? 'int32' : 'int64',
    ...(minimum !== undefined && { minimum }),
    ...(maximum !== undefined && { maximum }),
  };
}

function withoutDefaults({ default: _, ...schema }: StructuralSchema): StructuralSchema {
  return {
    ...schema,
    ...(schema.items && { items: withoutDefaults(schema.items) }),
    ...(schema.properties && { properties: mapValues(schema.properties, withoutDefaults) }),
  };
}

function mapValues<From, To>(record: Readonly<Record<string, From>>, change: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
