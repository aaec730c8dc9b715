import { z } from 'zod';
import type { Route } from './route.ts';

/** Every route of the HTTP API by its id. */
export const routes = {
  getOpenApi: {
    id: 'getOpenApi',
    method: 'GET',
    path: '/openapi.json',
    summary: 'This document.',
    answers: { 200: { description: 'The OpenAPI document of this API.', schema: z.looseObject({}) } },
    errors: [],
  },
} as const satisfies Readonly<Record<string, Route>>;

export type RouteID = keyof typeof routes;
