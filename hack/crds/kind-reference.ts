import { API_GROUP_VERSION } from '../../crds/index.ts';
import type { Definition, PrinterColumn } from './definitions.ts';
import type { StructuralSchema } from './structural.ts';

/** The reference page of a kind, made from its schema. */
export function kindReference({ names, description, columns }: Definition, schema: StructuralSchema): string {
  const { spec = {}, status = {} } = schema.properties ?? {};
  return [
    `# ${names.kind}`,
    description,
    `\`apiVersion: ${API_GROUP_VERSION}\`, \`kind: ${names.kind}\`, ${names.namespaced ? 'in a namespace' : 'without a namespace'}, \`kubectl get ${names.shortName}\`.`,
    ...rootRules(schema),
    '## spec',
    spec.description ?? '',
    fieldTable(fields(spec, '')),
    '## status',
    status.description ?? '',
    fieldTable(fields(status, '')),
    '## Columns of `kubectl get`',
    columnTable(columns),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
    .concat('\n');
}

interface Field {
  readonly path: string;
  readonly schema: StructuralSchema;
  readonly required: boolean;
}

function fields(schema: StructuralSchema, prefix: string): readonly Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}${property.type === 'array' ? '[]' : ''}`;
    const inner = property.type === 'array' ? (property.items ?? {}) : property;
    return [{ path, schema: property, required: schema.required?.includes(name) ?? false }, ...fields(inner, `${path}.`)];
  });
}

function fieldTable(all: readonly Field[]): string {
  const rows = all.map(({ path, schema, required }) => {
    const meaning = [schema.description ?? '', constraint(schema), required ? 'Required.' : ''].filter((part) => part !== '').join(' ');
    return row([`\`${path}\``, typeName(schema), defaultText(schema), meaning]);
  });
  return table(['Field', 'Type', 'Default', 'Meaning'], rows);
}

function typeName(schema: StructuralSchema): string {
  if (schema['x-kubernetes-int-or-string']) return 'quantity';
  if (schema.enum) return schema.enum.join(' \\| ');
  if (schema.format === 'date-time') return 'time';
  if (schema.type === 'array') return `list of ${typeName(schema.items ?? {})}s`;
  if (schema.additionalProperties) return `map of ${typeName(schema.additionalProperties)}s`;
  return schema.type ?? '';
}

/** Defaults of objects are those of their fields. */
function defaultText({ default: value }: StructuralSchema): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? `\`${value}\`` : '';
}

function constraint({ minimum, maximum, type, maxItems, maxProperties }: StructuralSchema): string {
  if (type === 'integer' && minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER)
    return `From ${minimum} to ${maximum}.`;
  if (maxItems !== undefined) return `At most ${maxItems}.`;
  if (maxProperties !== undefined) return `At most ${maxProperties}.`;
  return '';
}

function rootRules(schema: StructuralSchema): readonly string[] {
  return (schema['x-kubernetes-validations'] ?? []).map(({ message }) => message);
}

function columnTable(columns: readonly PrinterColumn[]): string {
  const rows = columns.map(({ name, jsonPath, priority, description = '' }) =>
    row([name.toUpperCase(), `\`${jsonPath}\``, priority === 1 ? 'with `-o wide`' : 'always', description]),
  );
  return table(['Column', 'From', 'Shown', 'Meaning'], rows);
}

function table(head: readonly string[], rows: readonly string[]): string {
  return [row(head), row(head.map(() => '---')), ...rows].join('\n');
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
