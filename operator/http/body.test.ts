import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { check, readJson, warningOf } from './body.ts';

const json = 'application/json';
const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);

describe('readJson', () => {
  it.each([
    { when: 'there is no body', body: '', type: undefined, want: {} },
    { when: 'it is JSON', body: '{"test": "data"}', type: json, want: { test: 'data' } },
    { when: 'the type says how it is encoded', body: '{"a":"ü"}', type: 'Application/JSON; Charset="UTF-8"', want: { a: 'ü' } },
    { when: 'the type is one that is written as JSON', body: '[]', type: 'application/problem+json', want: [] },
    { when: 'it is as deep as it may be', body: nested(32), type: json, want: JSON.parse(nested(32)) as unknown },
  ])('reads a body when $when', ({ body, type, want }) => expect(readJson(Buffer.from(body), type)).toEqual(want));

  it.each([
    { when: 'no type is said', body: '{}', type: undefined, code: 'UnsupportedMediaType' },
    { when: 'it is a form', body: 'a=b', type: 'application/x-www-form-urlencoded', code: 'UnsupportedMediaType' },
    { when: 'it is text', body: '{}', type: 'text/json', code: 'UnsupportedMediaType' },
    { when: 'it is in another encoding', body: '{}', type: 'application/json; charset=utf-16', code: 'UnsupportedMediaType' },
    { when: 'it is no JSON', body: '{"a":', type: json, code: 'MalformedJson' },
    { when: 'it is no UTF-8', body: '"\xff"', type: json, code: 'MalformedJson' },
    { when: 'it is too deep', body: nested(33), type: json, code: 'JsonTooDeep' },
    { when: 'it is deep and large', body: nested(120_000), type: json, code: 'JsonTooDeep' },
  ])('refuses a body with $code when $when', ({ body, type, code }) => {
    expect(() => readJson(Buffer.from(body, 'latin1'), type)).toThrow(expect.objectContaining({ code }));
  });
});

describe('check', () => {
  const schema = z.object({
    seconds: z.int().max(10).default(5),
    image: z.object({ name: z.string() }).optional(),
    any: z.record(z.string(), z.string()).optional(),
  });
  const rows: readonly { when: string; input: object; value: object; unknown: readonly string[] }[] = [
    { when: 'nothing is unknown', input: { seconds: 1, any: { x: 'y' } }, value: { seconds: 1, any: { x: 'y' } }, unknown: [] },
    { when: 'a field is unknown', input: { test: 'data' }, value: { seconds: 5 }, unknown: ['test'] },
    {
      when: 'a field in a field is',
      input: { image: { name: 'a', tag: 1 } },
      value: { seconds: 5, image: { name: 'a' } },
      unknown: ['image.tag'],
    },
    { when: 'it has the name of a method', input: { constructor: 1 }, value: { seconds: 5 }, unknown: ['constructor'] },
  ];
  it.each(rows)('reads a value when $when', ({ input, value, unknown }) =>
    expect(check(schema, input, 'body')).toEqual({ value, unknown }),
  );

  it('names every field that is wrong', () => {
    expect(() => check(schema, { seconds: 11, image: { name: 1 } }, 'body')).toThrow(
      'The body is not as it should be. seconds: Too big: expected number to be <=10; image.name: Invalid input: expected string, received number.',
    );
  });
  it('says what is wrong with the whole', () => {
    expect(() => check(schema, [], 'body')).toThrow(
      'The body is not as it should be. the body: Invalid input: expected object, received array.',
    );
  });
});

describe('warningOf', () => {
  it.each([
    { unknown: [], want: undefined },
    { unknown: ['test'], want: '299 berth "Unknown fields are passed over: test"' },
    { unknown: ['a"b\r\nx: y\\'], want: '299 berth "Unknown fields are passed over: a?b??x: y?"' },
    { unknown: 'abcdefghij'.split(/(?=.)/), want: '299 berth "Unknown fields are passed over: a, b, c, d, e, f, g, h and 2 more"' },
  ])('$unknown', ({ unknown, want }) => expect(warningOf(unknown)).toBe(want));
});
