import { describe, expect, it } from '@jest/globals';
import { httpErrors } from './error-table.ts';
import { errorsOf, openApiOf } from './open-api.ts';
import { matchRoute, type Route } from './route.ts';
import { routes } from './routes.ts';

const two = [
  { method: 'GET', path: '/a/{id}' },
  { method: 'DELETE', path: '/a/{id}' },
  { method: 'POST', path: '/a/{id}/{other}' },
] as const;

describe('matchRoute', () => {
  it.each([
    { ask: 'GET /a/b', want: { kind: 'Found', route: two[0], params: { id: 'b' } } },
    { ask: 'HEAD /a/b', want: { kind: 'Found', route: two[0], params: { id: 'b' } } },
    { ask: 'POST /a/b%20c/d', want: { kind: 'Found', route: two[2], params: { id: 'b c', other: 'd' } } },
    { ask: 'PUT /a/b', want: { kind: 'OtherMethod', allowed: ['GET', 'HEAD', 'DELETE'] } },
    { ask: 'GET /a/', want: { kind: 'NotFound' } },
    { ask: 'GET /a', want: { kind: 'NotFound' } },
    { ask: 'GET /a/%zz', want: { kind: 'NotFound' } },
    { ask: 'GET /b/b', want: { kind: 'NotFound' } },
  ])('$ask → $want.kind', ({ ask, want }) => {
    const [method = '', path = ''] = ask.split(' ');
    expect(matchRoute(two, method, path)).toEqual(want);
  });
});

describe('the routes', () => {
  const all: readonly Route[] = Object.values(routes);
  it.each(Object.entries(routes))('%s is listed under its id', (id, route) => expect(route.id).toBe(id));
  it('are each at a place of their own', () => {
    const places = all.map(({ method, path }) => `${method} ${path.replace(/\{\w+\}/g, '{}')}`);
    expect(new Set(places).size).toBe(places.length);
  });
  it('describe every parameter of their path', () => {
    for (const { path, params } of all) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      expect(Object.keys(params?.shape ?? {})).toEqual(named);
    }
  });
  it('are all in the document, with every error that they may answer', () => {
    const { paths } = openApiOf(all, '1') as { readonly paths: Record<string, Record<string, { readonly responses: object }>> };
    for (const route of all) {
      const responses = Object.keys(paths[route.path]?.[route.method.toLowerCase()]?.responses ?? {});
      const statuses = [...Object.keys(route.answers), ...errorsOf(route).map((code) => String(httpErrors[code].status))];
      expect(new Set(responses)).toEqual(new Set(statuses));
    }
  });
});

describe('the table of errors', () => {
  it.each(Object.entries(httpErrors))('%s is one that HTTP knows, and says when to try again where that helps', (_, row) => {
    expect(row.status).toBeGreaterThanOrEqual(400);
    expect('retryAfter' in row).toBe([429, 503].includes(row.status));
    expect(row.message).toMatch(/\.$/);
  });
});
