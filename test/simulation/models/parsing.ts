import { runnerSchema, sandboxSchema } from '../../../crds/index.ts';

/**
 * Objects of the modelled store are frozen and shared, and what the store admitted was parsed when it was written. So the schemas with which the
 * product reads objects parse each of them once, for all who read it; which value they give is the same.
 */
export function parseOnce(): void {
  remember(sandboxSchema);
  remember(runnerSchema);
}

/** Specs and statuses that came out of their schemas. */
const admitted = new WeakSet();

/** `part` is what a schema made of the spec or the status of an object. */
export function asAdmitted<T extends object>(part: T): T {
  admitted.add(part);
  return part;
}

type ObjectSchema = typeof sandboxSchema | typeof runnerSchema;

const remembering = new WeakSet<ObjectSchema>();

function remember(schema: ObjectSchema): void {
  if (remembering.has(schema)) return;
  remembering.add(schema);
  const known = new WeakMap<object, unknown>();
  const parse: (raw: unknown) => unknown = schema.safeParse.bind(schema);
  const safeParse = (raw: unknown) => {
    if (typeof raw !== 'object' || raw === null || !Object.isFrozen(raw)) return parse(raw);
    const result = known.get(raw) ?? (isAdmitted(raw) ? parsedAround(schema, raw) : parse(raw));
    known.set(raw, result);
    return result;
  };
  Object.assign(schema, { safeParse });
}

/** Only the metadata is not known yet. */
function parsedAround(schema: ObjectSchema, raw: AdmittedObject) {
  const { apiVersion, kind, metadata } = schema.shape;
  const around = { apiVersion: apiVersion.parse(raw.apiVersion), kind: kind.parse(raw.kind), metadata: metadata.parse(raw.metadata) };
  return { success: true, data: { ...around, spec: raw.spec, status: raw.status } };
}

interface AdmittedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: object;
  readonly spec: object;
  readonly status: object;
}

function isAdmitted(raw: object): raw is AdmittedObject {
  const { spec, status } = raw as { readonly spec?: object; readonly status?: object };
  return spec !== undefined && status !== undefined && admitted.has(spec) && admitted.has(status);
}
