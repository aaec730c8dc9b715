import type { StructuralSchema } from './structural.ts';

/** What the API server, or its budget for CEL, forbids in a schema: one sentence each, naming the field. Empty: the schema is fit. */
export function structuralProblems(schema: StructuralSchema, path = ''): readonly string[] {
  const { properties = {}, additionalProperties, items } = schema;
  return [
    ...nodeProblems(schema, path).map((problem) => `${path === '' ? 'the root' : path}: ${problem}`),
    ...Object.entries(properties).flatMap(([name, property]) => structuralProblems(property, `${path}.${name}`)),
    ...(items ? structuralProblems(items, `${path}[]`) : []),
    ...(additionalProperties ? structuralProblems(additionalProperties, `${path}{}`) : []),
  ];
}

function nodeProblems(schema: StructuralSchema, path: string): readonly string[] {
  return [
    ...forbiddenKeys(schema).map((key) => `${key} is not allowed in a structural schema`),
    ...(schema.type === undefined && !schema['x-kubernetes-int-or-string'] ? ['has no type'] : []),
    ...(schema.properties && schema.additionalProperties ? ['has both properties and additionalProperties'] : []),
    ...(isField(path) && schema.description === undefined ? ['has no description'] : []),
    ...(TYPE_META.has(path) ? [] : unbounded(schema)),
    ...patterns(schema).flatMap(patternProblems),
    ...listProblems(schema),
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

/** Fields are described; the root, metadata, the items of lists and the values of maps need not be. */
function isField(path: string): boolean {
  return path !== '' && path !== '.metadata' && !/(\[\]|\{\})$/.test(path);
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
  if (!schema.items) return ['is a list without items'];
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

/** The regular expressions of a schema and of its CEL rules. */
function patterns({ pattern, 'x-kubernetes-validations': rules = [] }: StructuralSchema): readonly string[] {
  const inRules = rules.flatMap(({ rule }) => [...rule.matchAll(/matches\(r'([^']*)'\)/g)].map(([, text]) => text ?? ''));
  return pattern === undefined ? inRules : [pattern, ...inRules];
}

/** What JavaScript reads and RE2 does not, or reads otherwise. */
function patternProblems(pattern: string): readonly string[] {
  return [
    ...(/\(\?(?!:)/.test(pattern) ? [`pattern ${pattern} has a group that RE2 does not know`] : []),
    ...(/\\[1-9k]/.test(pattern) ? [`pattern ${pattern} has a back reference, which RE2 does not know`] : []),
    ...(/\\[swWSbB]/.test(pattern) ? [`pattern ${pattern} has a class that JavaScript and RE2 read differently: spell it out`] : []),
  ];
}
