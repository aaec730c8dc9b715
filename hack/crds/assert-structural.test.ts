import { describe, expect, it } from '@jest/globals';
import { structuralProblems } from './assert-structural.ts';
import { definitions, schemaOf } from './definitions.ts';
import type { StructuralSchema } from './structural.ts';

const field = (schema: object): StructuralSchema => ({ type: 'object', properties: { a: { description: 'A field.', ...schema } } });

describe('the schemas of the API', () => {
  it.each(definitions)('$names.kind is structural', (definition) => expect(structuralProblems(schemaOf(definition))).toEqual([]));
});

describe('structural problems', () => {
  it.each([
    { of: 'a reference', schema: { $ref: '#/x' }, problems: ['.a: $ref is not allowed in a structural schema', '.a: has no type'] },
    { of: 'a union', schema: { type: 'object', anyOf: [] }, problems: ['.a: anyOf is not allowed in a structural schema'] },
    { of: 'an unbounded string', schema: { type: 'string' }, problems: ['.a: is a string without maxLength'] },
    {
      of: 'an unbounded map',
      schema: { type: 'object', additionalProperties: { type: 'boolean' } },
      problems: ['.a: is a map without maxProperties'],
    },
    {
      of: 'an unbounded list',
      schema: { type: 'array', items: { type: 'boolean' }, 'x-kubernetes-list-type': 'atomic' },
      problems: ['.a: is a list without maxItems'],
    },
    {
      of: 'a map list whose key may be missing',
      schema: {
        type: 'array',
        maxItems: 1,
        items: { type: 'object' },
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      },
      problems: ['.a: key name of the list is not a required field of its items'],
    },
    {
      of: 'a list of unknown type',
      schema: { type: 'array', maxItems: 1, items: { type: 'boolean' } },
      problems: ['.a: is a list without x-kubernetes-list-type'],
    },
    { of: 'a field without description', schema: { type: 'boolean', description: undefined }, problems: ['.a: has no description'] },
    {
      of: 'a look-ahead',
      schema: { type: 'string', maxLength: 1, pattern: '^(?=a)' },
      problems: ['.a: pattern ^(?=a) has a group that RE2 does not know'],
    },
    {
      of: 'a back reference in CEL',
      schema: { type: 'string', maxLength: 1, 'x-kubernetes-validations': [{ rule: String.raw`self.matches(r'(a)\1')`, message: 'm' }] },
      problems: [String.raw`.a: pattern (a)\1 has a back reference, which RE2 does not know`],
    },
  ])('$of is one', ({ schema, problems }) => expect(structuralProblems(field(schema))).toEqual(problems));
});
