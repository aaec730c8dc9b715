import { VERSION } from '../../process/version.ts';
import { openApiOf } from './open-api.ts';
import type { Operation } from './operation.ts';
import { routes, type RouteID } from './routes.ts';

/** What is done for each route, by its id; that of the document of all of them is here. */
export type Serving = Readonly<Record<Exclude<RouteID, 'getOpenApi'>, Omit<Operation, 'route'>>>;

/** Everything that the HTTP API serves. */
export function apiOperations(serving: Serving): readonly Operation[] {
  const document = openApiOf(Object.values(routes), VERSION);
  const all: Readonly<Record<RouteID, Omit<Operation, 'route'>>> = {
    ...serving,
    getOpenApi: { serve: () => Promise.resolve({ status: 200, body: document }) },
  };
  return Object.values(routes).map((route) => ({ route, ...all[route.id] }));
}
