import type { StructuralSchema } from './structural.ts';

/** What the API server, or its budget for CEL, forbids in a schema: one sentence each, naming the field. Empty: the schema is fit. */
export function structuralProblems(schema: StructuralSchema, path = ''): readonly string[] {
  const at = path === '' ? 'the root' : path;
  const { properties, additionalProperties, items } = schema;
  return [
    ...forbiddenKeys(schema).map((key) => `${at}: ${key} is not allowed in a structural schema`),
    ...(schema.type === undefined && !schema['x-kubernetes-int-or-string'] ? [`${at}: has no type`] : []),
    ...(properties && additionalProperties ? [`${at}: has both properties and additionalProperties`] : []),
    ...(schema.type === 'array' && !items ? [`${at}: is a list without items`] : []),
    ...(TYPE_META.has(path) ? [] : unbounded(schema)).map((what) => `${at}: ${what}`),
    ...(path !== '' && path !== '.metadata' && schema.description === undefined
      ? describable(path).map(() => `${at}: has no description`)
      : []),
    ...(schema.pattern !== undefined ? patternProblems(schema.pattern) : []).map((what) => `${at}: ${what}`),
    ...(schema['x-kubernetes-validations'] ?? [])
      .flatMap(({ rule }) => celPatterns(rule).flatMap(patternProblems))
      .map((what) => `${at}: ${what}`),
    ...listProblems(schema).map((what) => `${at}: ${what}`),
    ...Object.entries(properties ?? {}).flatMap(([name, property]) => structuralProblems(property, `${path}.${name}`)),
    ...(items ? structuralProblems(items, `${path}[]`) : []),
    ...(additionalProperties ? structuralProblems(additionalProperties, `${path}{}`) : []),
  ];
}

/** @throws Error that lists every problem. */
export function assertStructural(name: string, schema: StructuralSchema): void {
  const problems = structuralProblems(schema);
  if (problems.length > 0) throw new Error(`The schema of ${name} is not fit for a CustomResourceDefinition:\n  ${problems.join('\n  ')}`);
}

/** Checked by the API server itself. */
const TYPE_META = new Set(['.apiVersion', '.kind']);

const ALLOWED = new Set([
  'description', 'type', 'format', 'enum', 'default', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'minItems', 'maxItems', 'maxProperties',
  'required', 'items', 'properties', 'additionalProperties', 'x-kubernetes-int-or-string', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys',
  'x-kubernetes-validations',
]); // prettier-ignore

function forbiddenKeys(schema: StructuralSchema): readonly string[] {
  return Object.keys(schema).filter((key) => !ALLOWED.has(key));
}

/** Fields are described; the items of lists and the values of maps may be. */
function describable(path: string): readonly string[] {
  return /(\[\]|\{\})$/.test(path) ? [] : [path];
}

function unbounded({
  type,
  format,
  enum: values,
  maxLength,
  maxItems,
  additionalProperties,
  maxProperties,
}: StructuralSchema): readonly string[] {
  return [
    ...(type === 'string' && maxLength === undefined && values === undefined && format === undefined
      ? ['is a string without maxLength']
      : []),
    ...(type === 'array' && maxItems === undefined ? ['is a list without maxItems'] : []),
    ...(additionalProperties !== undefined && maxProperties === undefined ? ['is a map without maxProperties'] : []),
  ];
}

function listProblems(schema: StructuralSchema): readonly string[] {
  if (schema.type !== 'array') return [];
  const keys = schema['x-kubernetes-list-map-keys'] ?? [];
  switch (schema['x-kubernetes-list-type']) {
    case 'map':
      return [
        ...(keys.length === 0 ? ['is a list of type map without keys'] : []),
        ...keys
          .filter((key) => !schema.items?.required?.includes(key))
          .map((key) => `key ${key} of the list is not a required field of its items`),
      ];
    case undefined:
      return ['is a list without x-kubernetes-list-type'];
    default:
      return [];
  }
}

function celPatterns(rule: string): readonly string[] {
  return [...rule.matchAll(/matches\(r'([^']*)'\)/g)].map(([, pattern]) => pattern ?? '');
}

/** What JavaScript reads and RE2 does not, or reads otherwise. */
function patternProblems(pattern: string): readonly string[] {
  return [
    ...(/\(\?(?!:)/.test(pattern) ? [`pattern ${pattern} has a group that RE2 does not know`] : []),
    ...(/\\[1-9k]/.test(pattern) ? [`pattern ${pattern} has a back reference, which RE2 does not know`] : []),
    ...(/\\[swWSbB]/.test(pattern) ? [`pattern ${pattern} has a class that JavaScript and RE2 read differently: spell it out`] : []),
  ];
}
