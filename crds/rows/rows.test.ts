import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { describeIssues } from '../index.ts';
import { fieldsCovered, named, tables, tried, type Row } from './index.ts';

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string }[];
}

/** Every field below spec and status, `[]` after the name of a list. */
function fieldsOf(schema: Schema, prefix = ''): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}${property.type === 'array' ? '[]' : ''}`;
    return [path, ...fieldsOf(property.items ?? property, `${path}.`)];
  });
}

function fieldSchema(schema: Schema, field: string): Schema {
  return field.split('.').reduce<Schema>((at, part) => {
    const property = at.properties?.[part.replace('[]', '')] ?? {};
    return property.items ?? property;
  }, schema);
}

const shown = (value: unknown) => (typeof value === 'symbol' ? 'left out' : JSON.stringify(value).slice(0, 60));

describe.each(tables)('$names.kind', ({ manifest, base, rows }) => {
  const schema = z.toJSONSchema(manifest, { target: 'openapi-3.0', io: 'input' }) as Schema;
  const verdict = (object: unknown) => {
    const result = manifest.safeParse(object);
    return result.success ? 'accepted' : describeIssues(result.error);
  };

  it('the base is accepted', () => expect(verdict(base)).toBe('accepted'));

  it('every field of the schema has rows, and every row is about a field of the schema', () => {
    const known = fieldsOf(schema).filter((field) => /^(spec|status)\b/.test(field));
    const covered = rows.flatMap(fieldsCovered).filter((field) => field !== 'metadata.name');
    expect([...new Set(covered)].toSorted()).toEqual(known.toSorted());
  });

  it.each(rows.map((row): [string, Row] => [row.field, row]))('%s has a good and a bad row', (_field, row) => {
    expect(row.good.length).toBeGreaterThan(0);
    expect(row.bad.length).toBeGreaterThan(0);
  });

  it.each(rows.flatMap((row) => row.good.map((value): [string, string, Row, unknown] => [row.field, shown(value), row, value])))(
    '%s takes %s',
    (_field, _shown, row, value) => expect(verdict(tried(base, row, value))).toBe('accepted'),
  );

  it.each(rows.flatMap((row) => row.bad.map((value): [string, string, Row, unknown] => [row.field, shown(value), row, value])))(
    '%s refuses %s and names it',
    (field, _shown, row, value) => expect(verdict(tried(base, row, value))).toContain(named(field)),
  );

  it('fields that may not change say so to the API server', () => {
    const rules = rows
      .filter(({ mayNotBecome }) => mayNotBecome !== undefined)
      .map(({ field }) => fieldSchema(schema, field)['x-kubernetes-validations']);
    expect(rules.every((list) => list?.some(({ rule }) => rule === 'self == oldSelf'))).toBe(true);
  });
});
